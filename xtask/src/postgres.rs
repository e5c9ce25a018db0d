//! What needs a PostgreSQL: the tests of workflow-postgres, which start one of their own, and its
//! example.

use std::path::Path;

use crate::shell::{Outcome, cargo};

/// Runs them; `--long` is the long form, in release mode.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let long = match arguments {
        [] => false,
        [long] if long == "--long" => true,
        _ => return Err("postgres knows only --long".into()),
    };
    if std::env::var_os("WF_TEST_PG_URL").is_none() && !is_installed() {
        return Ok(Some(
            "apt-get install postgresql, or set WF_TEST_PG_URL".into(),
        ));
    }
    let package = [
        "test",
        "--package",
        "workflow-postgres",
        "--all-features",
        "--lib",
        "--tests",
        "--examples",
    ];
    if long {
        let long =
            package
                .into_iter()
                .chain(["--release", "--", "--nocapture", "--test-threads=1"]);
        cargo(long).env("WF_LONG", "1").run()?;
    } else {
        cargo(package).run()?;
        cargo(["run", "--release", "--example", "workers"]).run()?;
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

/// Whether the programs are on the path, or where Debian puts them. The tests look in a few places
/// more.
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
