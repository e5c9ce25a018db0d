//! Rules over the text of the repository, which a reviewer would have to remember otherwise.

mod layering;
mod manifests;
mod modules;
mod prose;
mod repository;
mod source;

mod file;
mod lex;

use crate::shell::Outcome;

/// Checks every rule and prints every breach.
pub(crate) fn run(_: &[&str]) -> Outcome {
    let files = file::all()?;
    let rules = [
        layering::check,
        manifests::check,
        modules::check,
        source::check,
        repository::check,
        prose::check,
    ];
    let breaches: Vec<String> = rules.iter().flat_map(|rule| rule(&files)).collect();
    let notes = [source::long_files, source::wide_lines];
    for note in notes.iter().flat_map(|notes| notes(&files)) {
        println!("note: {note}");
    }
    breaches.iter().for_each(|breach| eprintln!("{breach}"));
    if breaches.is_empty() {
        Ok(None)
    } else {
        Err(format!("{} breaches", breaches.len()))
    }
}
