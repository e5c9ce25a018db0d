//! No circle between the modules of a crate, and no arrow up between its folders.
//!
//! A use is a path that is written in the code (`crate::`, `super::`, `self::`, or a name that such
//! a path has brought into scope), and it leads to the file that defines what is named, through all
//! re-exports. Comments, strings and what exists for tests only do not count. Methods that are
//! called on a value are not seen.

mod graph;
mod parse;
mod tree;

use std::collections::{BTreeMap, HashMap};

use super::file::File;
use graph::Edges;
use tree::Tree;

/// Checks every crate.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let by_path: HashMap<&str, &File> = files.iter().map(|f| (f.path.as_str(), f)).collect();
    let roots = files.iter().filter(|file| {
        let library = file.path.replace("/src/main.rs", "/src/lib.rs");
        file.path.ends_with("/src/lib.rs")
            || file.path.ends_with("/src/main.rs") && !by_path.contains_key(library.as_str())
    });
    roots
        .flat_map(|root| {
            let tree = Tree::read(root, &by_path);
            let edges = graph::edges(&tree);
            let mut breaches = arrows_up(&tree, &edges);
            breaches.extend(circles(&edges));
            breaches
        })
        .collect()
}

fn circles(edges: &Edges) -> Vec<String> {
    let describe = |circle: Vec<String>| {
        let uses = circle.windows(2).map(|pair| {
            let line = edges[&(pair[0].clone(), pair[1].clone())];
            format!("\n    {}:{line} uses {}", pair[0], pair[1])
        });
        format!(
            "{}: a circle of modules{}",
            circle[0],
            uses.collect::<String>()
        )
    };
    graph::circles(edges).into_iter().map(describe).collect()
}

/// The uses of a folder by one that its parent declares later.
///
/// A folder is a module with modules in files of their own; the order of the `mod` lines is the
/// order of the arrows, top first. Single files are checked for circles only.
fn arrows_up(tree: &Tree, edges: &Edges) -> Vec<String> {
    let mut breaches = Vec::new();
    for parent in &tree.modules {
        let declared = parent.contents.children.iter();
        let folders: Vec<(&str, Vec<&str>)> = declared
            .filter_map(|name| Some((name.as_str(), folder(tree, *parent.children.get(name)?)?)))
            .collect();
        let place = |file: &str| folders.iter().position(|(_, files)| files.contains(&file));
        let mut up: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
        for ((from, to), line) in edges {
            let (Some(user), Some(used)) = (place(from), place(to)) else {
                continue;
            };
            if used < user {
                let uses = up.entry((user, used)).or_default();
                uses.push(format!("\n    {from}:{line} uses {to}"));
            }
        }
        for ((user, used), uses) in up {
            breaches.push(format!(
                "{}: an arrow up: `{}` uses `{}`, which is declared above it{}",
                parent.file,
                folders[user].0,
                folders[used].0,
                uses.concat()
            ));
        }
    }
    breaches
}

/// The files of a module that is a folder.
fn folder(tree: &Tree, module: usize) -> Option<Vec<&str>> {
    let own = tree.modules[module].file.as_str();
    let within = (0..tree.modules.len()).filter(|&other| tree.is_within(other, module));
    let mut files: Vec<&str> = within
        .map(|other| tree.modules[other].file.as_str())
        .collect();
    files.retain(|file| *file != own);
    if files.is_empty() {
        return None;
    }
    files.push(own);
    Some(files)
}

#[cfg(test)]
mod tests;
