//! The tests of workflow-postgres, which start a PostgreSQL of their own, and its example.

use std::path::Path;

use crate::examples;
use crate::shell::{Outcome, cargo};
use crate::suite::{self, POSTGRES, Selection};

/// The flag of the long form.
pub(crate) const LONG: &str = "--long";

/// Runs the tests and the example; `--long` runs the tests alone, longer and in release mode.
pub(crate) fn run(flags: &[&str]) -> Outcome {
    if !cfg!(unix) {
        return Ok(Some("its tests are written for Unix".into()));
    }
    if std::env::var_os("WF_TEST_PG_URL").is_none() && !is_installed() {
        return Ok(Some(
            "apt-get install postgresql, or set WF_TEST_PG_URL".into(),
        ));
    }
    if flags.contains(&LONG) {
        let package = ["test", "--package", POSTGRES, "--all-features"];
        let long = ["--lib", "--tests", "--release", "--", "--nocapture"];
        let one_by_one = ["--test-threads=1"];
        cargo(package.into_iter().chain(long).chain(one_by_one))
            .env("WF_LONG", "1")
            .run()?;
    } else {
        suite::programs(Selection::Only(POSTGRES), ["--lib", "--bins", "--tests"]).run()?;
        examples::run("workers")?;
    }
    let proxy = [
        "/usr/sbin/pgbouncer",
        "/usr/bin/pgbouncer",
        "/usr/local/bin/pgbouncer",
    ];
    if proxy.iter().any(|program| Path::new(program).exists()) {
        return Ok(None);
    }
    Ok(Some(
        "all but the tests through a proxy: apt-get install pgbouncer".into(),
    ))
}

/// Whether the programs are on the path or in Debian's folder. The tests look in a few more places.
fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    std::env::split_paths(&path)
        .chain(debian)
        .any(|folder| folder.join("initdb").is_file())
}
