//! Examples that run against real files and sockets.
//!
//! The docs of each example say how CI treats it: `//! CI: run`, `//! CI: build` if only a user has
//! the endpoint that the example needs, or `//! CI: postgres` for the step of that name.

use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::shell::{Outcome, cargo, program, root};
use crate::suite;

/// Runs the quickstart, kills it, and starts it again; the second process must recover runs, and
/// its books must balance.
pub(crate) fn quickstart(_: &[&str]) -> Outcome {
    cargo(["build", "--release", "--example", "quickstart"]).run()?;
    let data = "target/quickstart";
    match fs::remove_dir_all(root().join(data)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(format!("{data}: {error}"));
        }
        _ => {}
    }
    let quickstart = || {
        let built = built("release", "quickstart");
        program(&built, "quickstart", ["--data", data])
    };
    // Once the write-ahead log has grown, there are runs to recover.
    let log = root().join(data).join("runs.db-wal");
    quickstart().kill_when(|| fs::metadata(&log).is_ok_and(|log| log.len() > 256 << 10))?;
    let output = quickstart().output()?;
    if !output.contains("recovered ") {
        return Err("the second process recovered nothing from the one that was killed".into());
    }
    let books = output
        .lines()
        .find(|line| line.contains(" accepted = "))
        .ok_or("the output has no books")?;
    if books.contains(" 0 accepted")
        || !books.contains("+ 0 rejected + 0 dropped + 0 returned + 0 pending")
    {
        return Err(format!("not everything was delivered: {books}"));
    }
    Ok(None)
}

/// Builds every example, and runs those that are marked for it, except the quickstart.
pub(crate) fn all(_: &[&str]) -> Outcome {
    build(&["--examples"])?;
    for source in sources()? {
        let text = fs::read_to_string(&source)
            .map_err(|error| format!("{}: {error}", source.display()))?;
        let stem = |path: &Path| {
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let name = match stem(&source).as_str() {
            "main" => source.parent().map(stem).unwrap_or_default(),
            name => name.to_owned(),
        };
        match mark(&text) {
            Some("run") if name != "quickstart" => {
                start(&name)?;
            }
            Some("run" | "build" | "postgres") => {}
            _ => {
                return Err(format!(
                    "{} has no line `//! CI: run`, `build` or `postgres`",
                    source.display()
                ));
            }
        }
    }
    Ok(None)
}

/// Builds and runs an example with the dependencies of the tests; a release build would take
/// minutes.
pub(crate) fn run(name: &str) -> Outcome {
    build(&["--example", name])?;
    start(name)
}

fn start(name: &str) -> Outcome {
    program(&built("debug", name), name, []).run()
}

/// The program of an example.
fn built(profile: &str, name: &str) -> String {
    let folder = root().join("target").join(profile).join("examples");
    let program = folder.join(format!("{name}{EXE_SUFFIX}"));
    program.to_string_lossy().into_owned()
}

/// Selects what `suite` selects, so that no dependency is compiled again.
fn build(examples: &[&str]) -> Outcome {
    let build = ["build"].into_iter().chain(suite::workspace());
    cargo(build.chain(examples.iter().copied())).run()
}

fn mark(text: &str) -> Option<&str> {
    text.lines()
        .take_while(|line| line.starts_with("//!"))
        .find_map(|line| line.strip_prefix("//! CI: "))
}

fn sources() -> Result<Vec<PathBuf>, String> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut sources = Vec::new();
    for example in list(&root().join("crates"))
        .iter()
        .flat_map(|folder| list(&folder.join("examples")))
    {
        if example
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            sources.push(example);
        } else if example.join("main.rs").exists() {
            sources.push(example.join("main.rs"));
        }
    }
    if sources.is_empty() {
        return Err("no example was found".into());
    }
    sources.sort();
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_from_the_docs_only() {
        assert_eq!(
            mark("//! One.\n//!\n//! CI: run\nfn main() {}\n"),
            Some("run")
        );
        assert_eq!(mark("//! One.\nfn main() {}\n//! CI: run\n"), None);
    }
}
