//! Rules over Rust files: docs first, sizes, and what may not occur.

use super::file::File;

/// The most lines of a file; more is a second idea.
const MOST_LINES: usize = 400;

/// Files longer than this are listed.
const LONG: usize = 300;

/// What must not occur in the code (not the comments) of files whose path starts so, and ends not
/// so.
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
                "{}: it does not begin with what it is for (`//!`)",
                file.path
            ));
        }
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            breaches.push(format!(
                "{}: {lines} lines are more than {MOST_LINES}",
                file.path
            ));
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
            breaches.push(format!("{readme}: it has no README.md"));
        }
    }
    breaches
}

pub(super) fn long_files(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    let sized = rust
        .map(|file| (file.text.lines().count(), &file.path))
        .filter(|(lines, _)| *lines > LONG);
    sized
        .map(|(lines, path)| format!("{path} has {lines} lines"))
        .collect()
}

fn breach(path: &str, line: &str) -> Option<String> {
    let code = line.split("//").next().unwrap_or_default();
    let within = |prefix: &str| match prefix.split_once('*') {
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let (name, rest) = rest.split_once('/').unwrap_or_default();
            name != "bench" && format!("/{rest}").starts_with(after)
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
        "a test waits for a condition, not for a time; or say why: `// tidy: sleep: ...`".into()
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
        let core = "crates/tracker-core/src/state.rs";
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
            breaches("crates/a/src/b.rs", &"\n".repeat(MOST_LINES)).len(),
            1
        );
        assert_eq!(breaches("crates/a/src/lib.rs", "").len(), 1, "no README");
    }
}
