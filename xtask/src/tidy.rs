//! What review would otherwise have to remember: rules over the repository's own text.

mod layering;
mod modules;
mod repository;
mod source;

mod file;

use crate::shell::Outcome;

/// Checks every rule and prints every breach.
pub(crate) fn run(_: &[String]) -> Outcome {
    let files = file::all()?;
    let rules = [
        layering::check,
        modules::check,
        source::check,
        repository::check,
    ];
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
