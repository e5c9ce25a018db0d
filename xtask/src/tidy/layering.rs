//! Arrows between crates point down only; tracker-core depends on next to nothing, xtask on
//! nothing.
//!
//! One crate stands above others and is named by them: `workflow-testing` holds the tests of every
//! store, so the crates that have one name it, as a dev-dependency only.

use super::file::File;

/// Every crate, and the crates of this workspace that it may name.
const BELOW: &[(&str, &[&str])] = &[
    ("exact-json", &[]),
    ("tracker-core", &[]),
    ("workflow-events", &["exact-json"]),
    ("tracker-http", &["exact-json", "tracker-core"]),
    (
        "workflow-engine",
        &[
            "exact-json",
            "tracker-core",
            "tracker-http",
            "workflow-events",
        ],
    ),
    (
        TESTING,
        &[
            "exact-json",
            "tracker-core",
            "workflow-events",
            "workflow-engine",
        ],
    ),
    (
        "workflow-sqlite",
        &[
            "tracker-core",
            "tracker-http",
            "workflow-events",
            "workflow-engine",
        ],
    ),
    (
        "workflow-postgres",
        &[
            "tracker-core",
            "tracker-http",
            "workflow-events",
            "workflow-engine",
        ],
    ),
];

/// The crate of tests for stores and workflows.
const TESTING: &str = "workflow-testing";

/// The crates that may name it in their `dev-dependencies`.
const TESTED: &[&str] = &["workflow-engine", "workflow-sqlite", "workflow-postgres"];

/// Dependencies that tracker-core may have; loom only under its cfg.
const CORE: &[&str] = &[
    "async-trait",
    "fastrand",
    "futures",
    "loom",
    "thiserror",
    "tracing",
];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let dependencies = dependencies(&file.text);
        if file.path == "xtask/Cargo.toml" && !dependencies.is_empty() {
            breaches.push("xtask is std only".into());
        }
        let Some(name) = file
            .path
            .strip_prefix("crates/")
            .and_then(|path| path.strip_suffix("/Cargo.toml"))
        else {
            continue;
        };
        if ["bench", "bench-postgres"].contains(&name) {
            continue;
        }
        let Some((_, below)) = BELOW.iter().find(|(candidate, _)| *candidate == name) else {
            breaches.push(format!(
                "{}: xtask/src/tidy/layering.rs does not list the crates below this one",
                file.path
            ));
            continue;
        };
        for (dependency, dev) in dependencies {
            let ours = BELOW.iter().any(|(candidate, _)| *candidate == dependency);
            let itself = dev && dependency == name;
            let tests = dev && dependency == TESTING && TESTED.contains(&name);
            if ours && !itself && !tests && !below.contains(&dependency) {
                breaches.push(format!("{}: {dependency} is not below {name}", file.path));
            }
            if name == "tracker-core" && !dev && !CORE.contains(&dependency) {
                breaches.push(format!(
                    "{}: tracker-core must not depend on {dependency}",
                    file.path
                ));
            }
        }
    }
    breaches
}

/// Lists the names in the dependency tables of a manifest, and whether each is for tests only.
fn dependencies(manifest: &str) -> Vec<(&str, bool)> {
    let mut table = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']');
        } else if table.ends_with("dependencies") && table != "workspace.dependencies" {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('#') {
                found.push((name, table.ends_with("dev-dependencies")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> Vec<String> {
        check(&[File {
            path: path.into(),
            text: text.into(),
        }])
    }

    #[test]
    fn an_arrow_up_is_a_breach_in_every_table() {
        for table in [
            "dependencies",
            "dev-dependencies",
            "target.'cfg(unix)'.dependencies",
        ] {
            let manifest = format!("[{table}]\nworkflow-engine.workspace = true\n");
            let found = breaches("crates/tracker-http/Cargo.toml", &manifest);
            assert_eq!(
                found,
                ["crates/tracker-http/Cargo.toml: workflow-engine is not below tracker-http"]
            );
        }
        assert!(
            breaches(
                "crates/tracker-http/Cargo.toml",
                "[dependencies]\ntracker-core = {}\n"
            )
            .is_empty()
        );
        assert!(
            breaches(
                "crates/tracker-http/Cargo.toml",
                "[dev-dependencies]\ntracker-http = {}\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn the_crate_of_tests_is_named_for_tests_only() {
        let tests = "workflow-testing.workspace = true\n";
        for (path, table, allowed) in [
            ("workflow-engine", "dev-dependencies", true),
            ("workflow-sqlite", "dev-dependencies", true),
            ("workflow-sqlite", "dependencies", false),
            ("workflow-engine", "build-dependencies", false),
            ("tracker-core", "dev-dependencies", false),
        ] {
            let path = format!("crates/{path}/Cargo.toml");
            let found = breaches(&path, &format!("[{table}]\n{tests}"));
            assert_eq!(found.is_empty(), allowed, "{path} {table}");
        }
        let engine = "[dependencies]\nworkflow-engine.workspace = true\n";
        assert!(breaches("crates/workflow-testing/Cargo.toml", engine).is_empty());
        let store = "[dev-dependencies]\nworkflow-sqlite.workspace = true\n";
        assert_eq!(
            breaches("crates/workflow-testing/Cargo.toml", store).len(),
            1
        );
    }

    #[test]
    fn the_core_and_xtask_stay_lean() {
        assert_eq!(
            breaches(
                "crates/tracker-core/Cargo.toml",
                "[dependencies]\ntokio = \"1\"\n"
            )
            .len(),
            1
        );
        assert!(
            breaches(
                "crates/tracker-core/Cargo.toml",
                "[dev-dependencies]\nproptest = \"1\"\n"
            )
            .is_empty()
        );
        assert_eq!(
            breaches("xtask/Cargo.toml", "[dependencies]\nxshell = \"1\"\n").len(),
            1
        );
    }

    #[test]
    fn an_unknown_crate_must_be_placed() {
        assert_eq!(breaches("crates/new-one/Cargo.toml", "").len(), 1);
    }
}
