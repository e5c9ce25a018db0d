//! Checks before a release. They need programs of others and the network, so `ci` does not run
//! them.

use std::process::Command;

use crate::shell::{Outcome, cargo, root};

/// Checks licences, advisories, duplicates and sources by `deny.toml`.
pub(crate) fn deny(_: &[&str]) -> Outcome {
    if cargo(["deny", "--version"]).quiet().run().is_err() {
        return Ok(Some(
            "install it with: cargo install cargo-deny --locked".into(),
        ));
    }
    cargo(["deny", "--all-features", "check", "--hide-inclusion-graph"]).run()
}

/// Compares the public interfaces with those of the last tag.
pub(crate) fn semver(_: &[&str]) -> Outcome {
    if cargo(["semver-checks", "--version"]).quiet().run().is_err() {
        return Ok(Some(
            "install it with: cargo install cargo-semver-checks --locked".into(),
        ));
    }
    let Some(tag) = last_tag() else {
        return Ok(Some("there is no tag to compare with".into()));
    };
    cargo(["semver-checks", "--workspace", "--baseline-rev", &tag]).run()
}

/// The last tag before the current commit.
fn last_tag() -> Option<String> {
    let described = Command::new("git")
        .args(["describe", "--tags", "--abbrev=0"])
        .current_dir(root())
        .output()
        .ok()?;
    let tag = String::from_utf8_lossy(&described.stdout).trim().to_owned();
    (described.status.success() && !tag.is_empty()).then_some(tag)
}
