//! What review would otherwise have to remember: rules over the repository's own text.

mod layering;
mod repository;
mod source;

use std::fs;

use crate::shell::{Outcome, program, root};

/// A file that git tracks, or would.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Checks every rule and prints every breach.
pub(crate) fn run(_: &[String]) -> Outcome {
    let files = files()?;
    let rules = [layering::check, source::check, repository::check];
    let breaches: Vec<String> = rules.iter().flat_map(|rule| rule(&files)).collect();
    for long in source::long_files(&files) {
        println!("note: {long}");
    }
    breaches.iter().for_each(|breach| eprintln!("{breach}"));
    if breaches.is_empty() {
        Ok(None)
    } else {
        Err(format!("{} breaches", breaches.len()))
    }
}

fn files() -> Result<Vec<File>, String> {
    let listed = program(
        "git",
        "git",
        ["ls-files", "--cached", "--others", "--exclude-standard"],
    )
    .quiet()
    .output()?;
    let read = |path: &str| {
        let bytes = fs::read(format!("{}/{path}", root())).ok()?;
        Some(File {
            path: path.to_owned(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    };
    Ok(listed.lines().filter_map(read).collect())
}
