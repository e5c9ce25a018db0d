//! Opening: paths that work, errors for those that do not, and the files that remain.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use std::{fs, thread};

use support::File;
use workflow_sqlite::{OpenError, SqliteStore};

/// Returns the error of a path that cannot be opened, and checks that the error names the path.
fn refused(path: &Path) -> OpenError {
    let Err(error) = SqliteStore::options()
        .lock_timeout(Duration::ZERO)
        .open(path)
    else {
        panic!("{} must not be opened", path.display())
    };
    assert!(
        error.to_string().contains(&path.display().to_string()),
        "{error} must name {}",
        path.display()
    );
    error
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names
}

#[test]
fn a_path_that_is_not_a_file_is_refused_and_nothing_is_created_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("runs.db");
    let pipe = folder.path().join("pipe");
    let link = folder.path().join("link");
    fs::create_dir(&inner).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    symlink(&inner, &link).unwrap();
    let before = names(folder.path());
    for path in [&inner, &pipe, &link, &folder.path().to_owned()] {
        assert!(
            matches!(refused(path), OpenError::NotAFile { .. }),
            "{}",
            path.display()
        );
    }
    assert_eq!(names(folder.path()), before);
    assert!(names(&inner).is_empty(), "nothing is created in the folder");
    assert_eq!(
        names(folder.path().parent().unwrap())
            .iter()
            .filter(|path| path.ends_with("-lock"))
            .count(),
        0
    );
}

#[test]
fn a_file_that_is_not_a_database_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs ?#%.db");
    let mut header = b"SQLite format 3\0".to_vec();
    header.resize(4096, 7);
    for length in [
        1, 2, 15, 16, 17, 99, 100, 511, 512, 513, 1023, 1024, 4095, 4096, 4097, 70_000,
    ] {
        for content in [
            vec![0; length],
            vec![b'x'; length],
            header.iter().copied().cycle().take(length).collect(),
        ] {
            fs::write(&path, &content).unwrap();
            let error = refused(&path);
            assert!(
                matches!(error, OpenError::NotADatabase { .. }),
                "{length} bytes of {}: {error:?}",
                content[0]
            );
            assert_eq!(fs::read(&path).unwrap(), content, "the file is not changed");
            // A file with the header of a database is refused only after it is locked.
            let beside = names(folder.path()).len() - 1;
            assert!(
                beside == 0 || content.starts_with(b"SQLite"),
                "{length} bytes: a file is left beside it"
            );
        }
    }
}

#[tokio::test]
async fn an_empty_file_is_a_database_without_anything() {
    let file = File::new();
    fs::create_dir_all(file.path().parent().unwrap()).unwrap();
    fs::write(file.path(), "").unwrap();
    file.close(file.open()).await;
    file.close(file.open()).await;
    assert!(fs::metadata(file.path()).unwrap().len() > 0);
}

#[tokio::test]
async fn odd_file_names_work() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "a b.db",
        "50%.db",
        "%41.db",
        "what?immutable=1",
        "#1.db",
        "file:x.db",
        "ü.db",
        "-wal",
    ] {
        for _ in 0..2 {
            let store = SqliteStore::open(folder.path().join(name)).unwrap();
            let closed = store.closed();
            drop(store);
            closed.await;
        }
        assert!(folder.path().join(name).is_file(), "{name}");
    }
}

#[test]
fn folders_that_cannot_be_created_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let before = names(folder.path());
    for path in [
        file.join("runs.db"),
        file.join("deep/er/runs.db"),
        PathBuf::from("/proc/none/deep/runs.db"),
    ] {
        assert!(
            matches!(refused(&path), OpenError::Io { .. }),
            "{}",
            path.display()
        );
    }
    symlink(folder.path().join("b"), folder.path().join("a")).unwrap();
    symlink(folder.path().join("a"), folder.path().join("b")).unwrap();
    assert!(
        matches!(refused(&folder.path().join("a")), OpenError::Io { .. }),
        "a circle of links"
    );
    assert_eq!(names(folder.path()).len(), before.len() + 2);
    // No file can be created in this folder.
    assert!(matches!(
        refused(Path::new("/proc/version")),
        OpenError::Io { .. }
    ));
}

#[test]
fn a_file_without_permissions_is_an_error() {
    if let Ok(path) = std::env::var("WITHOUT_PERMISSIONS") {
        println!("{:?}", refused(Path::new(&path)));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("runs.db");
    let lock_file = folder.path().join("runs.db-lock");
    let store = SqliteStore::open(&database).unwrap();
    let closed = store.closed();
    drop(store);
    futures::executor::block_on(closed);
    let set_mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(folder.path(), 0o755);
    for (mode, lock_mode, variant) in [
        (0o444, 0o666, "ReadOnly"),
        (0o000, 0o666, "Sqlite"),
        (0o666, 0o000, "Io"),
    ] {
        set_mode(&database, mode);
        set_mode(&lock_file, lock_mode);
        // Root has every permission, so this test runs again as another user.
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args([
            "a_file_without_permissions_is_an_error",
            "--exact",
            "--nocapture",
        ])
        .env("WITHOUT_PERMISSIONS", &database);
        let Ok(output) = test.uid(65_534).gid(65_534).output() else {
            return;
        };
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.contains(variant),
            "{mode:o} and {lock_mode:o}: {output}"
        );
    }
}

#[test]
fn a_store_waits_for_one_that_is_about_to_close() {
    let file = File::new();
    let store = file.open();
    let path = file.path();
    let (opening, opened) = channel();
    let begun = Instant::now();
    let second = thread::spawn(move || {
        opening.send(()).unwrap();
        SqliteStore::options()
            .lock_timeout(Duration::from_secs(60))
            .open(path)
    });
    opened.recv().unwrap();
    let refused = SqliteStore::options()
        .lock_timeout(Duration::from_millis(50))
        .open(file.path());
    assert!(
        matches!(refused, Err(OpenError::Locked { .. })),
        "the timeout ends the wait"
    );
    assert!(
        begun.elapsed() >= Duration::from_millis(50),
        "the wait lasts for the whole timeout"
    );
    drop(store);
    second.join().unwrap().unwrap();
}
