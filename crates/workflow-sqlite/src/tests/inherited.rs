//! Locks, and processes that were forked while the locks were held.

use std::process::Command;
use std::time::Duration;

use futures::executor::block_on;

use crate::lock::Lock;
use crate::options::Durability;
use crate::store::SqliteStore;

#[test]
fn a_closed_store_has_released_a_lock_file_that_a_forked_process_has_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.db");
    let lock = Lock::take(&path, Duration::ZERO).unwrap();
    // The forked process shares the lock while it has the lock file open, here as standard input.
    let mut forked = Command::new("sleep")
        .arg("60")
        .stdin(lock.inherited().unwrap())
        .spawn()
        .unwrap();
    let store = SqliteStore::start(&path, lock, Durability::ProcessCrash).unwrap();
    let refused = Lock::take(&path, Duration::ZERO);
    let closed = store.closed();
    drop(store);
    block_on(closed);
    let taken = Lock::take(&path, Duration::ZERO);
    forked.kill().unwrap();
    forked.wait().unwrap();
    assert!(refused.is_err(), "the store is open");
    assert!(
        taken.is_ok(),
        "the store is closed, but the lock is held: {taken:?}"
    );
}

#[test]
fn a_store_that_cannot_be_opened_releases_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs.db");
    std::fs::write(&path, "no database".repeat(1_000)).unwrap();
    let lock = Lock::take(&path, Duration::ZERO).unwrap();
    let mut forked = Command::new("sleep")
        .arg("60")
        .stdin(lock.inherited().unwrap())
        .spawn()
        .unwrap();
    let opened = SqliteStore::start(&path, lock, Durability::ProcessCrash);
    let taken = Lock::take(&path, Duration::ZERO);
    forked.kill().unwrap();
    forked.wait().unwrap();
    assert!(
        opened.is_err() && taken.is_ok(),
        "{opened:?}, and then {taken:?}"
    );
}
