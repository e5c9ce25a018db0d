//! Words that stop a reader, each with a better one.
//!
//! They are looked for in comments, docs, messages and pages alike.

use super::file::File;

/// What a sentence must not contain, and what to write instead.
const WORDS: &[(&str, &str)] = &[
    ("whoever", "name the one who acts"),
    ("whomever", "name the one who is acted on"),
    ("anew", "again"),
    ("but for", "except for"),
    ("as there", "because there, or a sentence of its own"),
    ("what became of", "the result of"),
    ("are told of", "are notified of"),
];

/// Beginnings of paths that are exempt: they name the words, are a record of a day, or are
/// migrations, whose text never changes.
const EXEMPT: &[&str] = &[
    "xtask/src/tidy/prose.rs",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/evidence/",
    "crates/workflow-postgres/src/sql/migrations/",
    "crates/workflow-sqlite/src/sql/migrations/",
];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let read = files.iter().filter(|file| {
        let text = [".rs", ".md", ".toml", ".sql"];
        let is_exempt = EXEMPT.iter().any(|start| file.path.starts_with(start));
        text.iter().any(|end| file.path.ends_with(end)) && !is_exempt
    });
    read.flat_map(|file| {
        let lines = file.text.lines().zip(1..);
        lines.flat_map(move |(line, number)| {
            let lower = line.to_lowercase();
            let found = WORDS.iter().filter(move |(word, _)| contains(&lower, word));
            found.map(move |(word, better)| {
                let path = &file.path;
                format!("{path}:{number}: \"{word}\"; better: {better}")
            })
        })
    })
    .collect()
}

/// Whether a line contains a word as a whole.
fn contains(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !is_part(before) && !is_part(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_as_a_whole() {
        let found = |line: &str| {
            let path = "docs/a.md".into();
            let text = line.to_owned();
            check(&[File { path, text }]).len()
        };
        assert_eq!(found("Whoever reads this,"), 1);
        assert_eq!(found("all but for one, written anew"), 2);
        assert_eq!(found("a renewed lease; a but form; let anew_id = 1;"), 0);
    }
}
