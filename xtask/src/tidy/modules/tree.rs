//! The modules of one crate, and which of them a path leads to.

use std::collections::HashMap;

use super::parse::{self, Contents};
use crate::tidy::file::File;
use crate::tidy::lex;

/// A module and its place in the tree.
#[derive(Debug)]
pub(super) struct Module {
    /// The file that its text is in; a module between braces shares its parent's.
    pub(super) file: String,
    pub(super) parent: Option<usize>,
    pub(super) children: HashMap<String, usize>,
    pub(super) contents: Contents,
}

/// What a path names.
#[derive(Debug, PartialEq)]
pub(super) enum Target {
    /// A module itself.
    Module(usize),
    /// An item that is defined in a module.
    Item(usize),
    /// Something of another crate, or a local name.
    Elsewhere,
}

/// The modules of a crate; the first is its root.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) modules: Vec<Module>,
}

/// `use` may name a `use` that names another; a longer chain is a mistake of this program.
const MAX_ALIASES: usize = 16;

impl Tree {
    /// Reads the modules that the root file declares, and theirs. Files that are declared for tests
    /// only are not reached.
    pub(super) fn read(root: &File, files: &HashMap<&str, &File>) -> Self {
        let mut tree = Self {
            modules: Vec::new(),
        };
        let folder = root.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let contents = parse::contents(&lex::production(&root.text));
        tree.add(contents, &root.path, folder, None, files);
        tree
    }

    fn add(
        &mut self,
        mut contents: Contents,
        file: &str,
        folder: &str,
        parent: Option<usize>,
        files: &HashMap<&str, &File>,
    ) -> usize {
        let inline = std::mem::take(&mut contents.inline);
        let declared = contents.children.clone();
        let index = self.modules.len();
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            children: HashMap::new(),
            contents,
        });
        for name in declared {
            let candidates = [
                format!("{folder}/{name}.rs"),
                format!("{folder}/{name}/mod.rs"),
            ];
            let Some(child) = candidates.iter().find_map(|path| files.get(path.as_str())) else {
                continue;
            };
            let contents = parse::contents(&lex::production(&child.text));
            let folder = format!("{folder}/{name}");
            let child = self.add(contents, &child.path, &folder, Some(index), files);
            self.modules[index].children.insert(name, child);
        }
        for (name, contents) in inline {
            let folder = format!("{folder}/{name}");
            let child = self.add(contents, file, &folder, Some(index), files);
            self.modules[index].children.insert(name, child);
        }
        index
    }

    /// Whether a module is below another.
    pub(super) fn is_within(&self, mut module: usize, ancestor: usize) -> bool {
        while let Some(parent) = self.modules[module].parent {
            if parent == ancestor {
                return true;
            }
            module = parent;
        }
        false
    }

    /// Finds what a path names that is written in `module`.
    pub(super) fn resolve(&self, module: usize, path: &[String]) -> Target {
        self.resolve_within(module, path, MAX_ALIASES)
    }

    fn resolve_within(&self, module: usize, path: &[String], aliases: usize) -> Target {
        let Some((first, rest)) = path.split_first() else {
            return Target::Module(module);
        };
        match first.as_str() {
            "crate" => self.walk(0, rest, aliases).unwrap_or(Target::Item(0)),
            "self" => self
                .walk(module, rest, aliases)
                .unwrap_or(Target::Item(module)),
            "super" => {
                let parent = self.modules[module].parent.unwrap_or(0);
                if rest.first().is_some_and(|next| next == "super") {
                    return self.resolve_within(parent, rest, aliases);
                }
                self.walk(parent, rest, aliases)
                    .unwrap_or(Target::Item(parent))
            }
            _ => self
                .walk(module, path, aliases)
                .unwrap_or(Target::Elsewhere),
        }
    }

    /// Follows a path from a module down; `None` if the module does not know its first name.
    fn walk(&self, from: usize, path: &[String], aliases: usize) -> Option<Target> {
        let Some((name, rest)) = path.split_first() else {
            return Some(Target::Module(from));
        };
        let module = &self.modules[from];
        let alias = module.contents.aliases.get(name).filter(|_| aliases > 0);
        let through_alias = |path: &Vec<String>| match self.resolve_within(from, path, aliases - 1)
        {
            Target::Module(module) => Some(
                self.walk(module, rest, aliases - 1)
                    .unwrap_or(Target::Item(module)),
            ),
            target => Some(target),
        };
        // A function may have the name of its module; a path that ends here means the function.
        if rest.is_empty()
            && let Some(path) = alias
            && let Some(target @ Target::Item(_)) = through_alias(path)
        {
            return Some(target);
        }
        if let Some(&child) = module.children.get(name) {
            return Some(
                self.walk(child, rest, aliases)
                    .unwrap_or(Target::Item(child)),
            );
        }
        if module.contents.defined.contains(name) {
            return Some(Target::Item(from));
        }
        if let Some(path) = alias {
            return through_alias(path);
        }
        let globs = module.contents.globs.iter().filter(|_| aliases > 0);
        globs
            .filter_map(|glob| match self.resolve_within(from, glob, aliases - 1) {
                Target::Module(target) if target != from => self.walk(target, path, aliases - 1),
                _ => None,
            })
            .find(|target| *target != Target::Elsewhere)
    }
}
