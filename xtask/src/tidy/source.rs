//! Rules over Rust files: docs at the top, sizes, and names that must not occur.

use super::file::File;
use super::lex;

/// The most lines of a file that ships; more is a second idea.
const MAX_LINES: usize = 400;

/// The most lines of a file of tests, where one idea has many cases.
const MAX_TEST_LINES: usize = 600;

/// The most columns of a line. rustfmt sees to the code; this is for comments and macros.
const MAX_COLUMNS: usize = 100;

/// Start of a path, end of the paths that are exempt, and text that must not occur in the code of
/// such files (comments do not count).
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("crates/tracker-core/src/", "", "std::net"),
    ("crates/tracker-core/src/", "", "std::fs"),
    ("crates/tracker-core/src/", "", "std::env"),
    ("crates/tracker-core/src/", "", "std::thread"),
    ("crates/tracker-core/src/", "", "std::process"),
    ("crates/tracker-core/src/", "", "Instant::now"),
    ("crates/tracker-core/src/", "", "SystemTime::now"),
    ("crates/tracker-core/src/", "", "tokio"),
    ("crates/tracker-core/src/", "", "hyper"),
    ("crates/tracker-core/src/", "sync.rs", "std::sync"),
    ("crates/tracker-core/src/", "sync.rs", "loom::"),
    ("crates/*/src/", "", "println!"),
    ("crates/*/src/", "", "print!("),
    ("crates/*/src/", "", "dbg!"),
    ("crates/*/src/", "", "todo!"),
    ("crates/*/src/", "", "unimplemented!"),
    ("crates/*/tests/", "", "#[ignore"),
    ("crates/*/src/", "", "#[ignore"),
];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        if !file.text.starts_with("//!") && !file.text.starts_with("#![doc = include_str!") {
            breaches.push(format!(
                "{}: the file does not begin with its docs (`//!`)",
                file.path
            ));
        }
        let lines = file.text.lines().count();
        let most = max_lines(&file.path);
        if lines > most {
            breaches.push(format!("{}: {lines} lines are more than {most}", file.path));
        }
        for (line, number) in file.text.lines().zip(1..) {
            breaches.extend(
                breach(&file.path, line).map(|what| format!("{}:{number}: {what}", file.path)),
            );
        }
    }
    for readme in files
        .iter()
        .filter_map(|file| file.path.strip_suffix("/src/lib.rs"))
    {
        if !files
            .iter()
            .any(|file| file.path == format!("{readme}/README.md"))
        {
            breaches.push(format!("{readme}: the crate has no README.md"));
        }
    }
    breaches
}

fn max_lines(path: &str) -> usize {
    if path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.starts_with("crates/workflow-testing/")
    {
        MAX_TEST_LINES
    } else {
        MAX_LINES
    }
}

/// Lists the files that have used up three quarters of their limit.
pub(super) fn long_files(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.map(|file| (file.text.lines().count(), &file.path))
        .filter(|(lines, path)| *lines > max_lines(path) / 4 * 3)
        .map(|(lines, path)| format!("{path} has {lines} lines"))
        .collect()
}

/// Lists the files with lines that are too wide, except lines with a string, an address or a row of
/// a table, which cannot be broken.
pub(super) fn wide_lines(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.filter_map(|file| {
        let strings = lex::lines_with_strings(&file.text);
        let lines = file.text.lines().zip(1..);
        let wide = lines.filter(|(line, number)| is_wide(line) && !strings.contains(number));
        let wide: Vec<usize> = wide.map(|(_, number)| number).collect();
        let first = wide.first()?;
        let count = wide.len();
        let path = &file.path;
        Some(format!(
            "{path}:{first}: {count} lines of more than {MAX_COLUMNS} columns"
        ))
    })
    .collect()
}

fn is_wide(line: &str) -> bool {
    let trimmed = line.trim_start();
    let comment = trimmed.trim_start_matches(['/', '!']).trim_start();
    line.chars().count() > MAX_COLUMNS && !line.contains("://") && !comment.starts_with('|')
}

fn breach(path: &str, line: &str) -> Option<String> {
    let code = line.split("//").next().unwrap_or_default();
    let within = |prefix: &str| match prefix.split_once('*') {
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let (name, rest) = rest.split_once('/').unwrap_or_default();
            !name.starts_with("bench") && format!("/{rest}").starts_with(after)
        }),
        None => path.starts_with(prefix),
    };
    let hit = FORBIDDEN.iter().find(|(prefix, except, what)| {
        within(prefix) && (except.is_empty() || !path.ends_with(except)) && code.contains(what)
    });
    if let Some((_, _, what)) = hit {
        return Some(format!("{what} must not occur here"));
    }
    let sleeps = code.contains("thread::sleep(") || code.contains("time::sleep(");
    let real_sleep = within("crates/*/tests/") && sleeps && !line.contains("// tidy: sleep: ");
    real_sleep.then(|| {
        "a test must wait for a condition, not for a time (or give a reason: `// tidy: sleep: ...`)".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> Vec<String> {
        check(&[File {
            path: path.into(),
            text: format!("//! Docs.\n{text}\n"),
        }])
    }

    #[test]
    fn the_core_is_pure() {
        let core = "crates/tracker-core/src/buffer/state.rs";
        for impure in [
            "use std::net::TcpStream;",
            "let now = Instant::now();",
            "use std::sync::Mutex;",
            "use tokio::x;",
        ] {
            assert_eq!(breaches(core, impure).len(), 1, "{impure}");
            assert!(
                breaches("crates/tracker-http/src/a.rs", impure).is_empty(),
                "{impure}"
            );
        }
        assert!(breaches("crates/tracker-core/src/sync.rs", "use std::sync::Mutex;").is_empty());
        assert!(breaches(core, "/// See tokio.").is_empty());
    }

    #[test]
    fn libraries_do_not_print_and_have_no_stubs() {
        for line in [
            "println!(\"x\");",
            "eprintln!(\"x\");",
            "todo!()",
            "dbg!(x)",
        ] {
            assert_eq!(
                breaches("crates/workflow-engine/src/a.rs", line).len(),
                1,
                "{line}"
            );
            assert!(
                breaches("crates/workflow-engine/examples/a.rs", line).is_empty(),
                "{line}"
            );
            assert!(breaches("crates/bench/src/a.rs", line).is_empty(), "{line}");
        }
    }

    #[test]
    fn tests_do_not_sleep_without_a_reason() {
        let sleep = "tokio::time::sleep(second).await;";
        assert_eq!(breaches("crates/a/tests/b.rs", sleep).len(), 1);
        assert!(
            breaches(
                "crates/a/tests/b.rs",
                &format!("{sleep} // tidy: sleep: the server stalls")
            )
            .is_empty()
        );
        assert_eq!(breaches("crates/a/tests/b.rs", "#[ignore]").len(), 1);
    }

    #[test]
    fn files_say_what_they_are_and_stay_small() {
        let bare = File {
            path: "crates/a/src/b.rs".into(),
            text: "fn a() {}\n".into(),
        };
        assert_eq!(check(&[bare]).len(), 1);
        assert_eq!(
            breaches("crates/a/src/b.rs", &"\n".repeat(MAX_LINES)).len(),
            1
        );
        for tests in ["crates/a/tests/b.rs", "crates/a/src/b/tests.rs"] {
            assert!(breaches(tests, &"\n".repeat(MAX_LINES)).is_empty());
        }
        assert_eq!(
            breaches("crates/a/tests/b.rs", &"\n".repeat(MAX_TEST_LINES)).len(),
            1
        );
        assert_eq!(breaches("crates/a/src/lib.rs", "").len(), 1, "no README");
    }

    #[test]
    fn wide_lines_are_noted_unless_they_cannot_be_broken() {
        let wide = |line: String| {
            let path = "crates/a/src/b.rs".into();
            wide_lines(&[File { path, text: line }]).len()
        };
        let long = "word ".repeat(21);
        assert_eq!(wide(format!("// {long}\n")), 1);
        assert_eq!(wide(format!("/// | {long} |\n")), 0);
        assert_eq!(wide(format!("// see https://host/ {long}\n")), 0);
        assert_eq!(wide(format!("let a = \"\n{long}\n\";\n")), 0);
        assert_eq!(wide(format!("let a = {long};\n")), 1);
    }
}
