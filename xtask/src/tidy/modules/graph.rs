//! Which file of a crate uses which, and the circles among them.

use std::collections::{BTreeMap, VecDeque};

use super::parse::Manner;
use super::tree::{Target, Tree};

/// Every use of one file by another, with the line of the first that was found.
pub(super) type Edges = BTreeMap<(String, String), usize>;

/// Collects the uses between the files of a crate.
///
/// A parent that declares or re-exports what lies below it does not use it; a parent whose code
/// names it does.
pub(super) fn edges(tree: &Tree) -> Edges {
    let mut edges = Edges::new();
    for (index, module) in tree.modules.iter().enumerate() {
        for mention in &module.contents.mentions {
            let Target::Item(target) = tree.resolve(index, &mention.path) else {
                continue;
            };
            let file = &tree.modules[target].file;
            let passed_on = mention.manner == Manner::Reexport && tree.is_within(target, index);
            if *file != module.file && !passed_on {
                let line = edges
                    .entry((module.file.clone(), file.clone()))
                    .or_insert(mention.line);
                *line = mention.line.min(*line);
            }
        }
    }
    edges
}

/// Finds circles, the shortest first, none of which shares a use with another. There is none
/// exactly if the graph has none.
pub(super) fn circles(edges: &Edges) -> Vec<Vec<String>> {
    let mut left: Vec<(&str, &str)> = edges
        .keys()
        .map(|(from, to)| (from.as_str(), to.as_str()))
        .collect();
    let mut found = Vec::new();
    loop {
        let shortest = left
            .iter()
            .filter_map(|&(from, to)| {
                let mut circle = vec![from.to_owned()];
                circle.extend(shortest_path(&left, to, from)?);
                Some(circle)
            })
            .min_by_key(Vec::len);
        let Some(circle) = shortest else {
            return found;
        };
        left.retain(|(from, to)| {
            !circle
                .windows(2)
                .any(|pair| pair[0] == *from && pair[1] == *to)
        });
        found.push(circle);
    }
}

/// The files of the shortest way from one file to another, both included.
fn shortest_path(edges: &[(&str, &str)], from: &str, to: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let mut path = vec![to.to_owned()];
            let mut at = to;
            while at != from {
                at = before[at];
                path.push(at.to_owned());
            }
            path.reverse();
            return Some(path);
        }
        for &(_, next) in edges.iter().filter(|(start, _)| *start == file) {
            if next != from && !before.contains_key(next) {
                before.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}
