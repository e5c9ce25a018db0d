//! Rules over the repository: the files at its top, links, sources of packages, and no path of a
//! machine.

use std::path::{Component, Path, PathBuf};

use super::file::File;

const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".editorconfig",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "crates",
    "deny.toml",
    "docs",
    "rust-toolchain.toml",
    "xtask",
];

/// Roots of paths of a machine; split from their slashes, because this file must not name one.
const MACHINE: &[&str] = &["home", "root", "tmp", "work"];

/// The source of every package that is not ours, as cargo writes it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let top = file.path.split('/').next().unwrap_or_default();
        if !TOP.contains(&top) {
            breaches.push(format!(
                "{}: not a file of the top of the repository",
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
        if file.path.ends_with("Cargo.lock") {
            let found = file.text.lines().zip(1..);
            let found = found.filter(|(line, _)| names_another_registry(line));
            breaches.extend(found.map(|(_, number)| {
                format!("{}:{number}: a source that is not the registry", file.path)
            }));
        }
        if file.path.starts_with(".cargo/") && !keeps_the_registry(&file.text) {
            breaches.push(format!("{}: it replaces the registry", file.path));
        }
        // Evidence is a record of a day; its files may have moved since.
        if file.path.ends_with(".md") && !file.path.starts_with("docs/evidence/") {
            let gone = named_sources(&file.text).filter(|named| {
                let end = format!("/{named}");
                !files.iter().any(|f| format!("/{}", f.path).ends_with(&end))
            });
            breaches.extend(gone.map(|named| format!("{}: there is no {named}", file.path)));
        }
        if file.path.ends_with(".md") {
            let dead = links(&file.text).filter(|link| !leads_somewhere(&file.path, link, files));
            breaches.extend(dead.map(|link| {
                format!(
                    "{}: the target of the link {link} does not exist",
                    file.path
                )
            }));
        }
    }
    breaches
}

/// Whether a line of a lock file names a mirror, or a checkout by git.
fn names_another_registry(line: &str) -> bool {
    let source = line.strip_prefix("source = ");
    source.is_some_and(|source| source.trim_matches('"') != REGISTRY)
}

/// Whether a configuration of cargo leaves open where packages come from.
fn keeps_the_registry(text: &str) -> bool {
    let mut tables = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix('['));
    !tables.any(|table| table.starts_with("source") || table.starts_with("registr"))
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

/// Lists the targets of Markdown links, except links in code, to other sites and within the page.
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

/// Lists the source files that a page names in code spans, such as `some-crate/src/lib.rs`.
fn named_sources(text: &str) -> impl Iterator<Item = &str> {
    let spans = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter(|span| {
        let is_path = !span.contains([' ', '*', '<', '{']);
        is_path && span.contains("/src/") && span.ends_with(".rs")
    })
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
            ["docs/a.md: the target of the link missing.md does not exist"]
        );
    }

    #[test]
    fn pages_name_files_that_exist() {
        let text = "see `a/src/b.rs`, `a/src/c.rs` and `c.rs`";
        let files = [file("docs/a.md", text), file("crates/a/src/b.rs", "")];
        assert_eq!(check(&files), ["docs/a.md: there is no a/src/c.rs"]);
        assert!(check(&[file("docs/evidence/a.md", text)]).is_empty());
    }

    #[test]
    fn mirrors_are_breaches() {
        let lock = |source: &str| {
            let text = format!("name = \"a\"\nsource = \"{source}\"\n");
            check(&[file("crates/bench/Cargo.lock", &text)]).len()
        };
        assert_eq!(lock(REGISTRY), 0);
        assert_eq!(lock("sparse+https://mirror.example.com/index/"), 1);
        let config = |text: &str| check(&[file(".cargo/config.toml", text)]).len();
        assert_eq!(config("[alias]\nxtask = \"run\"\n"), 0);
        assert_eq!(config("[source.crates-io]\nreplace-with = \"mirror\"\n"), 1);
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
