//! The file: persistence, locking, versions and damage.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use support::{File, commit, event, new_run, record, started};
use workflow_engine::store::{ClaimRequest, Claims, Created, Cursor, Page, Position, Purge, Span};
use workflow_engine::{EncodedEvent, RunFilter, RunKey, Status, Store, StoreError, Timestamp};
use workflow_sqlite::{Durability, OpenError, SqliteStore};

#[tokio::test]
async fn everything_is_kept_when_the_file_is_opened_again() {
    let file = File::new();
    let store = file.open();
    let claim = started(&store, "r").await;
    store
        .commit(commit(claim, vec![record(2, 3)], Status::Running))
        .await
        .unwrap();
    let cursor = Cursor {
        position: Position(2),
        delivered: 2,
        ..Cursor::default()
    };
    store.open_cursor("sink").await.unwrap();
    let held = store
        .claim_sink("sink", "worker", Timestamp::UNIX_EPOCH)
        .await
        .unwrap()
        .unwrap();
    store.set_cursor(&held, cursor).await.unwrap();
    let before = (
        store.records(claim.key, Span::All).await.unwrap(),
        store.outbox(Position(0), Page::events(99)).await.unwrap(),
    );
    file.close(store).await;

    let store = file.open();
    let after = (
        store.records(claim.key, Span::All).await.unwrap(),
        store.outbox(Position(0), Page::events(99)).await.unwrap(),
    );
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
    let texts = |events: &[(Position, EncodedEvent)]| {
        events
            .iter()
            .map(|(position, event)| (*position, event.as_str().to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(&after.1), texts(&before.1), "to the byte");
    assert_eq!(store.open_cursor("sink").await.unwrap(), cursor);
    assert_eq!(store.outbox_end().await.unwrap().accepted, 4);
    let request = ClaimRequest {
        worker: "next".into(),
        now: Timestamp::UNIX_EPOCH,
        run: None,
        workflows: None,
        limit: 9,
    };
    let claims = store.claim(request).await.unwrap();
    assert_eq!(
        (
            claims.runs.len(),
            claims.runs[0].died,
            claims.runs[0].run.recoveries
        ),
        (1, true, 1)
    );
    let refused = store
        .commit(commit(claim, vec![record(5, 1)], Status::Running))
        .await;
    assert!(
        matches!(refused, Err(StoreError::Fenced { .. })),
        "the claim of the dead process is no longer valid"
    );
}

#[tokio::test]
async fn positions_and_keys_are_not_reused_after_a_purge() {
    let file = File::new();
    let store = file.open();
    let claim = started(&store, "r").await;
    store
        .commit(commit(claim, vec![record(2, 1)], Status::Completed))
        .await
        .unwrap();
    let purge = Purge {
        completed: Some(Timestamp::MAX),
        limit: 9,
        ..Purge::default()
    };
    let purged = store.purge(purge).await.unwrap();
    assert_eq!((purged.runs, purged.events), (1, 2));
    file.close(store).await;

    let store = file.open();
    assert_eq!(store.run("r").await.unwrap(), None);
    let again = started(&store, "r").await;
    assert!(again.key > claim.key);
    assert_eq!(
        store.records(again.key, Span::All).await.unwrap().len(),
        1,
        "the new run has none of the old records"
    );
    let outbox = store.outbox(Position(0), Page::events(9)).await.unwrap();
    assert_eq!(
        outbox
            .iter()
            .map(|(position, _)| position.0)
            .collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(store.open_cursor("late").await.unwrap().missed, 2);
}

#[tokio::test]
async fn a_second_store_on_the_file_learns_who_has_it_open() {
    let file = File::new();
    let store = file.open();
    let immediate = SqliteStore::options().lock_timeout(Duration::ZERO);
    let Err(OpenError::Locked { holder, .. }) = immediate.open(file.path()) else {
        panic!("the file is open")
    };
    assert_eq!(holder, format!("process {}", std::process::id()));
    // Another process gets the same error. It is this test binary, with the path in a variable.
    let test = Command::new(std::env::current_exe().unwrap())
        .args(["opens_a_file_that_is_in_use", "--exact", "--nocapture"])
        .env("IN_USE", file.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&test.stdout);
    assert!(
        test.status.success() && output.contains("it was refused"),
        "{output}"
    );
    file.close(store).await;
    let _ = file.open();
}

#[test]
fn opens_a_file_that_is_in_use() {
    // Only the other test sets the variable.
    let Ok(path) = std::env::var("IN_USE") else {
        return;
    };
    let error = SqliteStore::open(&path).expect_err("the file is in use");
    assert!(
        error.to_string().contains("is in use by process "),
        "{error}"
    );
    println!("it was refused");
}

#[tokio::test]
async fn settings_that_durability_depends_on_are_what_was_asked_for() {
    let file = File::new();
    for (durability, level) in [
        (Durability::PowerLoss, "2"),
        (Durability::ProcessCrash, "1"),
    ] {
        let store = SqliteStore::options()
            .durability(durability)
            .open(file.path())
            .unwrap();
        assert_eq!(store.durability(), durability);
        assert_eq!(store.setting("journal_mode").await.unwrap(), "wal");
        assert_eq!(store.setting("synchronous").await.unwrap(), level);
        file.close(store).await;
    }
}

#[tokio::test]
async fn files_of_others_are_refused_and_not_changed() {
    let file = File::new();
    std::fs::create_dir_all(file.path().parent().unwrap()).unwrap();
    std::fs::write(
        file.path(),
        "this is no database, however long it is".repeat(100),
    )
    .unwrap();
    assert!(matches!(
        SqliteStore::open(file.path()),
        Err(OpenError::NotADatabase { .. })
    ));

    let file = File::new();
    file.raw(|db| {
        db.execute_batch("CREATE TABLE bookmarks (url TEXT)")
            .unwrap()
    });
    assert!(matches!(
        SqliteStore::open(file.path()),
        Err(OpenError::NotOurs { .. })
    ));
    file.raw(|db| assert_eq!(count(db, "SELECT count(*) FROM sqlite_schema"), 1));
}

#[tokio::test]
async fn other_versions_are_refused() {
    let file = File::new();
    file.close(file.open()).await;
    file.raw(|db| {
        db.execute_batch("UPDATE migrations SET checksum = 'other'")
            .unwrap()
    });
    assert!(matches!(
        SqliteStore::open(file.path()),
        Err(OpenError::Changed { version: 1, .. })
    ));
    file.raw(|db| db.execute_batch("PRAGMA user_version = 99").unwrap());
    let newer = SqliteStore::open(file.path());
    assert!(
        matches!(
            newer,
            Err(OpenError::Newer {
                found: 99,
                known: 2,
                ..
            })
        ),
        "{newer:?}"
    );
}

#[tokio::test]
async fn damaged_rows_are_typed_errors() {
    let damages = [
        ("UPDATE runs SET status = 'sleeping'", "status"),
        (
            "UPDATE runs SET created_at = 9223372036854775807",
            "created_at",
        ),
        ("UPDATE runs SET recoveries = -1", "out of range"),
        ("UPDATE history SET events = '[{]'", "events"),
        ("UPDATE history SET last_seq = 7", "last_seq"),
        ("UPDATE history SET kind = 'unheard of'", "kind"),
        (
            "UPDATE history SET payload = 'secret {', kind = 'created'",
            "payload",
        ),
        ("UPDATE history SET seq = -5", "out of range"),
    ];
    for (damage, named) in damages {
        let file = File::new();
        let store = file.open();
        let claim = started(&store, "r").await;
        file.close(store).await;
        file.raw(|db| db.execute_batch(damage).unwrap());
        let store = file.open();
        let run = store.run("r").await.map(drop);
        let records = store.records(claim.key, Span::All).await.map(drop);
        let listed = store.list(&RunFilter::default()).await.map(drop);
        let error = [run, records, listed]
            .into_iter()
            .find_map(Result::err)
            .unwrap_or_else(|| panic!("{damage}"));
        let text = error.to_string();
        assert!(
            matches!(error, StoreError::Corrupt { .. }) && text.contains(named),
            "{damage}: {text}"
        );
        assert!(!text.contains("secret"), "no payload in errors: {text}");
    }
}

#[tokio::test]
async fn a_write_that_is_refused_or_fails_does_not_disturb_the_others_of_its_group() {
    let file = File::new();
    file.close(file.open()).await;
    file.raw(|db| {
        db.execute_batch(
            "CREATE TRIGGER guilty BEFORE INSERT ON history WHEN new.name = 'guilty'
             BEGIN SELECT RAISE(ABORT, 'a statement in the middle of a write fails'); END",
        )
        .unwrap();
    });
    let store = Arc::new(file.open());
    let mut claims = Vec::new();
    for n in 0..64 {
        claims.push(started(&store, &format!("r{n}")).await);
    }
    let commits = claims.iter().enumerate().map(|(n, claim)| {
        let store = store.clone();
        let claim = *claim;
        let mut records = vec![record(2, 1), record(3, 1)];
        if n % 16 == 5 {
            records[1].entry.as_mut().unwrap().name = "guilty".into();
        }
        let status = if n % 16 == 7 {
            Status::Queued
        } else {
            Status::Running
        };
        async move { store.commit(commit(claim, records, status)).await }
    });
    let answers = futures::future::join_all(commits).await;
    for (n, (answer, claim)) in answers.into_iter().zip(&claims).enumerate() {
        let records = store.records(claim.key, Span::All).await.unwrap().len();
        match n % 16 {
            5 => assert!(
                matches!(answer, Err(StoreError::Backend(_))) && records == 1,
                "{n}: {records}"
            ),
            7 => assert!(
                matches!(answer, Err(StoreError::Transition(_))) && records == 1,
                "{n}: {records}"
            ),
            _ => assert!(answer.is_ok() && records == 3, "{n}: {answer:?}"),
        }
    }
    let outbox = store.outbox(Position(0), Page::events(999)).await.unwrap();
    assert!(
        outbox
            .iter()
            .zip(1..)
            .all(|((position, _), expected)| position.0 == expected),
        "every position has an event"
    );
    assert_eq!(
        outbox.len() as u64,
        store.outbox_end().await.unwrap().accepted
    );
}

#[tokio::test]
async fn a_write_whose_future_is_dropped_happens_whole_or_not_at_all() {
    let file = File::new();
    let store = file.open();
    for n in 0..50 {
        let mut create = Box::pin(store.create(new_run(&format!("r{n}"), Status::Queued)));
        let _ = futures::poll!(&mut create);
        drop(create);
    }
    let last = store.create(new_run("last", Status::Queued)).await.unwrap();
    assert!(
        matches!(last, Created::New(claim) if claim.key == RunKey(51)),
        "all of them were written: {last:?}"
    );
}

fn count(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn events_are_read_by_plain_sql_while_the_store_is_open() {
    let file = File::new();
    futures::executor::block_on(async {
        let store = file.open();
        started(&store, "r").await;
        file.raw(|db| {
            let sql = "SELECT value ->> 'seq' FROM history, json_each(history.events)";
            assert_eq!(count(db, sql), 1);
        });
        assert_eq!(
            event(1).as_str(),
            store.outbox(Position(0), Page::events(1)).await.unwrap()[0]
                .1
                .as_str()
        );
    });
}

#[test]
fn every_query_of_the_documentation_runs_while_the_store_is_open() {
    let file = File::new();
    futures::executor::block_on(async {
        let store = file.open();
        started(&store, "order-17").await;
        store.open_cursor("sink").await.unwrap();
        let page = include_str!("../../../docs/schema.md");
        let sql = page
            .split("```sql\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        let queries: Vec<_> = sql
            .split(";\n")
            .filter(|query| query.contains("SELECT"))
            .collect();
        assert_eq!(queries.len(), 5);
        file.raw(|db| {
            for query in queries {
                let mut statement = db
                    .prepare(query)
                    .unwrap_or_else(|error| panic!("{query}: {error}"));
                let mut rows = statement.query([]).unwrap();
                while rows.next().unwrap().is_some() {}
            }
        });
    });
}

#[test]
#[cfg(unix)]
fn a_file_is_in_use_through_every_link_to_it() {
    let file = File::new();
    let link = |name: &str| file.path().with_file_name(name);
    std::fs::create_dir_all(file.path().parent().unwrap()).unwrap();
    // This link points to a file that does not exist yet.
    std::os::unix::fs::symlink(file.path(), link("early.db")).unwrap();
    let _store = SqliteStore::open(link("early.db")).unwrap();
    std::os::unix::fs::symlink(file.path(), link("late.db")).unwrap();
    for path in [file.path().to_owned(), link("early.db"), link("late.db")] {
        let opened = SqliteStore::options()
            .lock_timeout(Duration::ZERO)
            .open(&path);
        assert!(
            matches!(opened, Err(OpenError::Locked { .. })),
            "{}",
            path.display()
        );
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_read_keeps_no_other_from_being_claimed() {
    let file = File::new();
    let store = file.open();
    for id in ["a", "b", "c"] {
        store.create(new_run(id, Status::Queued)).await.unwrap();
    }
    file.raw(|db| {
        assert_eq!(
            db.execute("UPDATE runs SET status = 'damaged' WHERE id = 'b'", []),
            Ok(1)
        )
    });
    let at = |millis| Timestamp::from_millis(millis).unwrap();
    store.renew("w", at(1_000_000)).await.unwrap();
    let request = |now| ClaimRequest {
        worker: "w".into(),
        now: at(now),
        run: None,
        workflows: None,
        limit: 9,
    };
    let claims = store.claim(request(10)).await.unwrap();
    let ids: Vec<_> = claims
        .runs
        .iter()
        .map(|claimed| claimed.run.id.as_str())
        .collect();
    assert_eq!(ids, ["a", "c"]);
    assert!(
        claims.next_due.unwrap() > at(10_000),
        "the damaged run is postponed, so that workers do not spin: {:?}",
        claims.next_due
    );
    // A worker that holds a damaged run keeps its lease.
    file.raw(|db| {
        drop(db.execute(
            "UPDATE runs SET cancel_at = 1, status = 'damaged' WHERE id = 'a'",
            [],
        ))
    });
    store.renew("w", at(2_000_000)).await.unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_version_is_migrated() {
    let file = File::new();
    let first = include_str!("../src/sql/migrations/0001-first.sql");
    // The file as the first version wrote it, with runs in every state.
    file.raw(|db| {
        db.execute_batch(first).unwrap();
        db.execute_batch(
            "CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL,
                 applied_at INTEGER NOT NULL) STRICT;
             INSERT INTO migrations VALUES (1, 'first', 'b7d2831823d6b864', 0);
             PRAGMA application_id = 0x77666c77; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;
             INSERT INTO runs (id, workflow, status, epoch, created_at, ended_at, due_at, worker, recoveries, cancel_at)
             VALUES ('queued', 'w', 'queued', 0, 0, NULL, 900, NULL, 0, NULL),
                 ('released', 'w', 'running', 1, 0, NULL, 900, NULL, 0, NULL),
                 ('sleeping', 'w', 'paused', 1, 0, NULL, 800, NULL, 0, NULL),
                 ('cancelled', 'w', 'paused', 1, 0, NULL, 900, NULL, 0, 900),
                 ('died', 'w', 'paused', 2, 0, NULL, 900, 'dead', 0, NULL),
                 ('held', 'w', 'running', 1, 0, NULL, NULL, 'dead', 0, NULL),
                 ('over', 'w', 'completed', 1, 0, 700, NULL, NULL, 0, NULL);
             INSERT INTO history (position, run, seq, last_seq, at, events)
                 SELECT key, key, 1, 1, 0, '[{}]' FROM runs;
             UPDATE outbox SET position = 7;",
        )
        .unwrap();
    });
    let store = file.open();
    store.renew("w", Timestamp::MAX).await.unwrap();
    let at = |millis| Timestamp::from_millis(millis).unwrap();
    let request = |now| ClaimRequest {
        worker: "w".into(),
        now: at(now),
        run: None,
        workflows: None,
        limit: 9,
    };
    let claims = store.claim(request(5)).await.unwrap();
    let ids = |claims: &Claims| {
        claims
            .runs
            .iter()
            .map(|claimed| claimed.run.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(&claims),
        ["held", "queued", "released", "cancelled", "died"],
        "the clock was set back"
    );
    assert_eq!(claims.next_due, Some(at(800)));
    assert_eq!(ids(&store.claim(request(800)).await.unwrap()), ["sleeping"]);
    assert_eq!(store.outbox_end().await.unwrap().accepted, 7);
    file.close(store).await;
    file.raw(|db| {
        assert_eq!(
            count(db, "SELECT max(version) FROM migrations"),
            count(db, "PRAGMA user_version")
        )
    });
}
