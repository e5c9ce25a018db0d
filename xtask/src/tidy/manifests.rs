//! Rules over the manifests of published crates: what a registry shows must be there.

use super::file::File;

/// Lines that the manifest of a published crate contains, by their beginnings.
const REQUIRED: &[&str] = &[
    "description = ",
    "readme = ",
    "keywords = ",
    "categories = ",
    "rust-version.workspace = true",
    "license.workspace = true",
    "[package.metadata.docs.rs]",
];

/// The most keywords that a registry takes.
const MAX_KEYWORDS: usize = 5;

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| is_published(&file.path)) {
        for required in REQUIRED {
            if !file.text.lines().any(|line| line.starts_with(required)) {
                breaches.push(format!("{}: no line `{required}`", file.path));
            }
        }
        let mut lines = file.text.lines();
        let keywords = lines.find(|line| line.starts_with("keywords = "));
        let count = keywords.map_or(0, |line| line.matches(',').count() + 1);
        if count > MAX_KEYWORDS {
            breaches.push(format!("{}: more than {MAX_KEYWORDS} keywords", file.path));
        }
    }
    breaches
}

/// Whether a path is the manifest of a crate that is to be published.
fn is_published(path: &str) -> bool {
    let name = path.strip_prefix("crates/");
    let name = name.and_then(|path| path.strip_suffix("/Cargo.toml"));
    name.is_some_and(|name| !name.starts_with("bench") && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        let path = path.to_owned();
        let text = text.to_owned();
        check(&[File { path, text }]).len()
    }

    #[test]
    fn published_crates_say_what_they_are() {
        let whole = REQUIRED.join("\n");
        assert_eq!(breaches("crates/a/Cargo.toml", &whole), 0);
        assert_eq!(breaches("crates/a/Cargo.toml", ""), REQUIRED.len());
        assert_eq!(breaches("crates/bench/Cargo.toml", ""), 0);
        assert_eq!(breaches("xtask/Cargo.toml", ""), 0);
        let many = whole.replace("keywords = ", "keywords = [1, 2, 3, 4, 5, 6]");
        assert_eq!(breaches("crates/a/Cargo.toml", &many), 1);
    }
}
