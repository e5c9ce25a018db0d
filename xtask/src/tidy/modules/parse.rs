//! What the text of a module declares, imports and names.

use std::collections::{HashMap, HashSet};

use crate::tidy::lex::{Kind, Token, group_end, matches};

/// How a module names something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Manner {
    /// By `pub use`, which passes the thing on.
    Reexport,
    /// By `use`, or by a path in the code.
    Use,
}

/// A path as it is written, and where.
#[derive(Clone, Debug)]
pub(super) struct Mention {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
    pub(super) manner: Manner,
}

/// The contents of one module.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Modules in files of their own, in the order of their `mod` lines.
    pub(super) children: Vec<String>,
    /// Modules between braces.
    pub(super) inline: Vec<(String, Contents)>,
    /// Names of the items that are defined here.
    pub(super) defined: HashSet<String>,
    /// Names that `use` brings into scope, and the paths that they stand for.
    pub(super) aliases: HashMap<String, Vec<String>>,
    /// Paths that are imported with `*`.
    pub(super) globs: Vec<Vec<String>>,
    /// Every path that is named.
    pub(super) mentions: Vec<Mention>,
}

/// Reads the tokens of a module.
pub(super) fn contents(tokens: &[Token]) -> Contents {
    let mut found = Contents::default();
    let mut depth = 0;
    let mut public = false;
    let mut at = 0;
    while at < tokens.len() {
        let Token { kind, line } = tokens[at];
        let next = tokens.get(at + 1).map(|token| token.kind);
        match kind {
            Kind::Other('(' | '[' | '{') => depth += 1,
            Kind::Other(')' | ']' | '}') => depth -= 1,
            Kind::Name("pub") => {
                public = true;
                at += 1;
                if matches(tokens, at, '(') {
                    at = group_end(tokens, at) + 1;
                }
                continue;
            }
            Kind::Name("use") if !matches(tokens, at + 1, '<') => {
                let end = (at..tokens.len())
                    .find(|&end| matches(tokens, end, ';'))
                    .unwrap_or(tokens.len());
                let manner = if public {
                    Manner::Reexport
                } else {
                    Manner::Use
                };
                import(&tokens[at + 1..end], Vec::new(), line, manner, &mut found);
                at = end;
            }
            Kind::Name("mod") => {
                let Some(Kind::Name(name)) = next else {
                    at += 1;
                    continue;
                };
                if matches(tokens, at + 2, '{') {
                    let end = group_end(tokens, at + 2);
                    let inside = contents(&tokens[at + 3..end]);
                    found.inline.push((name.to_owned(), inside));
                    at = end;
                } else {
                    found.children.push(name.to_owned());
                    at += 2;
                }
            }
            Kind::Name("macro_rules") if depth == 0 => {
                if let Some(Kind::Name(name)) = tokens.get(at + 2).map(|token| token.kind) {
                    found.defined.insert(name.to_owned());
                }
                at += 2;
            }
            Kind::Name(
                "struct" | "enum" | "union" | "trait" | "fn" | "type" | "const" | "static",
            ) => {
                if let Some(Kind::Name(name)) = next {
                    if depth == 0 && !["fn", "mut", "unsafe", "async"].contains(&name) {
                        found.defined.insert(name.to_owned());
                    }
                    // The name that follows is a definition, not a mention.
                    at += usize::from(!["fn", "mut", "unsafe", "async"].contains(&name));
                }
            }
            Kind::Name(_) => {
                let (path, length) = path(&tokens[at..]);
                if is_mention(tokens, at, length) {
                    let manner = Manner::Use;
                    found.mentions.push(Mention { path, line, manner });
                }
                at += length - 1;
            }
            _ => {}
        }
        public = false;
        at += 1;
    }
    found
}

/// The path at the beginning of the tokens, and the number of its tokens.
fn path(tokens: &[Token]) -> (Vec<String>, usize) {
    let mut segments = Vec::new();
    let mut length = 0;
    while let Some(Kind::Name(name)) = tokens.get(length).map(|token| token.kind) {
        segments.push(name.to_owned());
        length += 1;
        let continues = tokens.get(length).map(|token| token.kind) == Some(Kind::Separator)
            && matches!(
                tokens.get(length + 1).map(|token| token.kind),
                Some(Kind::Name(_))
            );
        if !continues {
            break;
        }
        length += 1;
    }
    (segments, length)
}

/// Whether a path can name an item: not a field, a method or a local variable, as far as the text
/// shows.
fn is_mention(tokens: &[Token], at: usize, length: usize) -> bool {
    let before = at.checked_sub(1).map(|before| tokens[before].kind);
    let before_that = at.checked_sub(2).map(|before| tokens[before].kind);
    // `..name` is no field.
    let field = before == Some(Kind::Other('.')) && before_that != Some(Kind::Other('.'));
    if field || before == Some(Kind::Separator) {
        return false;
    }
    let Kind::Name(first) = tokens[at].kind else {
        return false;
    };
    let after = tokens.get(at + length).map(|token| token.kind);
    length > 1
        || first.starts_with(char::is_uppercase)
        || matches!(after, Some(Kind::Other('(' | '!') | Kind::Separator))
}

/// Reads one tree of a `use`, which may hold others between braces.
fn import(tree: &[Token], prefix: Vec<String>, line: usize, manner: Manner, found: &mut Contents) {
    // `::name` is another crate.
    if prefix.is_empty() && tree.first().map(|token| token.kind) == Some(Kind::Separator) {
        return;
    }
    let line = tree.first().map_or(line, |token| token.line);
    let (mut segments, length) = path(tree);
    let mut full = prefix;
    // `{self}` is the module itself.
    if segments == ["self"] && !full.is_empty() {
        segments.clear();
    }
    full.append(&mut segments);
    let behind =
        length + usize::from(tree.get(length).map(|token| token.kind) == Some(Kind::Separator));
    match tree.get(behind).map(|token| token.kind) {
        Some(Kind::Other('{')) => {
            let end = group_end(tree, behind);
            for part in parts(&tree[behind + 1..end]) {
                import(part, full.clone(), line, manner, found);
            }
        }
        Some(Kind::Other('*')) => found.globs.push(full),
        other => {
            let alias = match (other, tree.get(behind + 1).map(|token| token.kind)) {
                (Some(Kind::Name("as")), Some(Kind::Name(alias))) => Some(alias.to_owned()),
                (Some(Kind::Name("as")), _) => None,
                _ => full.last().cloned(),
            };
            if let Some(alias) = alias.filter(|alias| alias != "_") {
                found.aliases.insert(alias, full.clone());
            }
            if !full.is_empty() {
                let path = full;
                found.mentions.push(Mention { path, line, manner });
            }
        }
    }
}

/// The parts between the commas of a group.
fn parts<'a, 'b>(group: &'b [Token<'a>]) -> Vec<&'b [Token<'a>]> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < group.len() {
        match group[at].kind {
            Kind::Other('{') => at = group_end(group, at),
            Kind::Other(',') => {
                found.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    found.push(&group[start..]);
    found.retain(|part| !part.is_empty());
    found
}
