//! Rust text as tokens, without comments, the contents of strings, and attributes.

use std::collections::HashSet;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind<'a> {
    /// A name or a keyword.
    Name(&'a str),
    /// `::`.
    Separator,
    /// Any other character, or a stand-in for a literal.
    Other(char),
}

/// A token and the line that it is on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) line: usize,
}

/// Splits a file into tokens, and leaves out what exists for tests only.
pub(crate) fn production(text: &str) -> Vec<Token<'_>> {
    let all = tokens(text);
    let mut kept = Vec::with_capacity(all.len());
    let mut at = 0;
    while at < all.len() {
        let inner = matches(&all, at + 1, '!');
        let open = at + 1 + usize::from(inner);
        if !matches(&all, at, '#') || !matches(&all, open, '[') {
            kept.push(all[at]);
            at += 1;
            continue;
        }
        let end = group_end(&all, open);
        let for_tests = is_test_only(&all[open + 1..end]);
        at = end + 1;
        if for_tests && inner {
            return Vec::new();
        }
        if for_tests {
            at = item_end(&all, at);
        }
    }
    kept
}

/// The lines that a literal occupies in whole or in part: its text is not for this program to
/// break.
pub(crate) fn lines_with_strings(text: &str) -> HashSet<usize> {
    let mut found = HashSet::new();
    each(text, |kind, first, last| {
        if kind == Some(Kind::Other('"')) {
            found.extend(first..=last);
        }
    });
    found
}

/// Whether an attribute is a `cfg` that holds in tests only.
fn is_test_only(attribute: &[Token]) -> bool {
    let name = |at: usize| attribute.get(at).map(|token| token.kind);
    let negated = |at: usize| at >= 2 && name(at - 2) == Some(Kind::Name("not"));
    name(0) == Some(Kind::Name("cfg"))
        && !attribute.iter().any(|t| t.kind == Kind::Name("any"))
        && (0..attribute.len()).any(|at| name(at) == Some(Kind::Name("test")) && !negated(at))
}

/// The position behind the item, the field or the variant that begins at `at`.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let mut is_item = false;
    while let Some(token) = tokens.get(at) {
        match token.kind {
            Kind::Name(
                "fn" | "impl" | "struct" | "enum" | "trait" | "mod" | "use" | "type" | "const"
                | "static",
            ) => is_item = true,
            Kind::Other(';') => return at + 1,
            Kind::Other(',') if !is_item => return at + 1,
            Kind::Other('{') if is_item => return group_end(tokens, at) + 1,
            Kind::Other('(' | '[' | '{') => at = group_end(tokens, at),
            Kind::Other(')' | ']' | '}') => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The position of the bracket that closes the one at `open`.
pub(crate) fn group_end(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Other('(' | '[' | '{') => depth += 1,
            Kind::Other(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

/// Whether the token at a position is this character.
pub(crate) fn matches(tokens: &[Token], at: usize, character: char) -> bool {
    tokens.get(at).map(|token| token.kind) == Some(Kind::Other(character))
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    each(text, |kind, line, _| {
        found.extend(kind.map(|kind| Token { kind, line }));
    });
    found
}

/// Calls `found` with each token, or `None` for a space or a comment, and its first and last line.
fn each<'a>(text: &'a str, mut found: impl FnMut(Option<Kind<'a>>, usize, usize)) {
    let mut line = 1;
    let mut rest = text;
    while !rest.is_empty() {
        let (length, kind) = next(rest);
        let (token, behind) = rest.split_at(length);
        let last = line + token.matches('\n').count();
        found(kind, line, last);
        line = last;
        rest = behind;
    }
}

/// The length of the next token, and the token unless it is a space or a comment.
fn next(rest: &str) -> (usize, Option<Kind<'_>>) {
    let first = rest.chars().next().unwrap_or_default();
    if first.is_whitespace() {
        return (first.len_utf8(), None);
    }
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (comment(rest), None);
    }
    if rest.starts_with("::") {
        return (2, Some(Kind::Separator));
    }
    if let Some(length) = raw_string(rest) {
        return (length, Some(Kind::Other('"')));
    }
    let prefix = ["b\"", "c\"", "\"", "b'", "'"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix));
    if let Some(prefix) = prefix {
        return match prefix.ends_with('"') {
            true => (quoted(rest, prefix.len(), '"'), Some(Kind::Other('"'))),
            false => (character(rest, prefix.len()), Some(Kind::Other('\''))),
        };
    }
    if first.is_alphanumeric() || first == '_' {
        let bare = rest.strip_prefix("r#").unwrap_or(rest);
        let end = bare.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &bare[..end.unwrap_or(bare.len())];
        let kind = if first.is_numeric() {
            Kind::Other('0')
        } else {
            Kind::Name(name)
        };
        return (rest.len() - bare.len() + name.len(), Some(kind));
    }
    (first.len_utf8(), Some(Kind::Other(first)))
}

/// The length of a block comment, which may hold others.
fn comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a raw string such as `r#"..."#`, if the text begins with one.
fn raw_string(rest: &str) -> Option<usize> {
    let body = rest
        .strip_prefix("br")
        .or_else(|| rest.strip_prefix("cr"))
        .or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let opened = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = opened
        .find(&close)
        .map_or(opened.len(), |end| end + close.len());
    Some(rest.len() - opened.len() + length)
}

/// The length of a literal whose text begins at `start`, up to its closing quote.
fn quoted(rest: &str, start: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at < start) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// The length of a character literal, or of a lifetime's apostrophe alone.
fn character(rest: &str, start: usize) -> usize {
    let mut inside = rest[start..].chars();
    match (inside.next(), inside.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(rest, start, '\''),
        _ => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&str> {
        let name = |token: Token<'static>| match token.kind {
            Kind::Name(name) => Some(name),
            _ => None,
        };
        let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
        production(text).into_iter().filter_map(name).collect()
    }

    #[test]
    fn comments_and_strings_are_left_out() {
        let text = "a /* b /* c */ d */ // e\n\"f \\\" g\" r#\"h \" i\"# b'j' '\\'' 'k' l<'m> n";
        assert_eq!(names(text), ["a", "l", "m", "n"]);
        assert_eq!(names("r#type.other"), ["type", "other"]);
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let found = production("/*\n*/ a \"\n\" b");
        let lines: Vec<usize> = found.iter().map(|token| token.line).collect();
        assert_eq!(lines, [2, 2, 3]);
    }

    #[test]
    fn what_is_for_tests_only_is_left_out() {
        assert_eq!(names("a #[cfg(test)] mod b { c } d"), ["a", "d"]);
        assert_eq!(names("#[cfg(all(test, not(loom)))] use b::{c}; d"), ["d"]);
        assert_eq!(names("#[cfg(test)] #[allow(x)] fn b<C, D>() {} d"), ["d"]);
        assert_eq!(names("e { #[cfg(test)] b: C<D>, f }"), ["e", "f"]);
        assert_eq!(names("#![cfg(test)] a"), [""; 0]);
        assert_eq!(names("#[cfg(not(test))] a"), ["a"]);
        assert_eq!(names("#[cfg(any(test, feature = \"b\"))] a"), ["a"]);
    }
}
