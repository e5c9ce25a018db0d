//! Rules over the repository: what lies at its top, links that lead somewhere, no path of a
//! machine.

use std::path::{Component, Path, PathBuf};

use super::file::File;

const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".github",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "crates",
    "docs",
    "xtask",
];

/// Roots of machines' paths; spelt so that this file does not name one.
const MACHINE: &[&str] = &["home", "root", "tmp", "work"];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let top = file.path.split('/').next().unwrap_or_default();
        if !TOP.contains(&top) {
            breaches.push(format!(
                "{}: it does not belong at the top of the repository",
                file.path
            ));
        }
        if file.path != "Cargo.lock" && top != ".ci" {
            let found = file
                .text
                .lines()
                .zip(1..)
                .filter(|(line, _)| names_a_machine(line));
            breaches.extend(
                found.map(|(_, number)| format!("{}:{number}: a path of a machine", file.path)),
            );
        }
        if file.path.ends_with(".md") {
            let dead = links(&file.text).filter(|link| !leads_somewhere(&file.path, link, files));
            breaches.extend(
                dead.map(|link| format!("{}: the link to {link} leads nowhere", file.path)),
            );
        }
    }
    breaches
}

fn names_a_machine(line: &str) -> bool {
    MACHINE.iter().any(|root| {
        let path = format!("/{root}/");
        line.match_indices(&path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "_.-*}".contains(c))
        })
    })
}

/// The targets of Markdown links outside of code, without those to other sites and within the page.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        fenced ^= line.starts_with("```");
        !fenced
    });
    let targets = prose.flat_map(|line| {
        line.split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
    });
    targets.filter(|target| !target.is_empty() && !target.contains("::") && !target.contains("://"))
}

fn leads_somewhere(from: &str, link: &str, files: &[File]) -> bool {
    let joined = Path::new(from).parent().unwrap_or(Path::new("")).join(link);
    let mut target = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir => drop(target.pop()),
            Component::CurDir => {}
            part => target.push(part),
        }
    }
    files
        .iter()
        .any(|file| Path::new(&file.path).starts_with(&target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn dead_links_are_breaches() {
        let text = "[a](architecture.md) [b](../README.md#x) [c](missing.md) [d](https://x.org/y) [e](#f) [`g`](a::b)";
        let files = [
            file("docs/a.md", text),
            file("docs/architecture.md", ""),
            file("README.md", ""),
        ];
        assert_eq!(
            check(&files),
            ["docs/a.md: the link to missing.md leads nowhere"]
        );
    }

    #[test]
    fn strays_and_machine_paths_are_breaches() {
        assert_eq!(check(&[file("notes.txt", "")]).len(), 1);
        let machine = format!("open /{}/me/file", MACHINE[0]);
        assert_eq!(check(&[file("docs/a.md", &machine)]).len(), 1);
        assert!(
            check(&[file(
                "docs/a.md",
                "see docs/work/plan and https://x.org/home/"
            )])
            .is_empty()
        );
        assert!(check(&[file("docs/a.md", "crates/*/tmp/x")]).is_empty());
    }
}
