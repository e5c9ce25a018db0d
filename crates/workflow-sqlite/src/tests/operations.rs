//! Every operation of the store, on a file with many rows of every kind.

use rusqlite::Connection;
use workflow_engine::store::{
    CancelRequest, Claim, ClaimRequest, Commit, Cursor, Due, NewRun, Page, Position, Purge, Record,
    SinkClaim, Span,
};
use workflow_engine::{EncodedEvent, RunFilter, RunKey, Status, Timestamp};

use crate::db::Db;
use crate::open::recover;
use crate::{claims, list, outbox, reads, schema, sinks};

/// An operation and its name.
pub(super) type Operation = (&'static str, Box<dyn Fn(&mut Db)>);

/// Statements that fill a file with `{rows}` rows of each kind. The runs are due at the same time,
/// as they are after a process has died.
const ROWS: &str = "
    CREATE TEMP TABLE n AS WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows}) SELECT n FROM n;
    INSERT INTO runs (id, workflow, status, epoch, created_at, due_at, ready, worker, recoveries)
        SELECT 'due-' || n, 'busy', 'queued', 0, 0, 0, 1, NULL, 0 FROM n
        UNION ALL SELECT 'strange-' || n, 'strange', 'queued', 0, 0, 0, 1, NULL, 0 FROM n
        UNION ALL SELECT 'waiting-' || n, 'busy', 'paused', 1, 0, 0, 0, NULL, 0 FROM n
        UNION ALL SELECT 'later-' || n, 'patient', 'paused', 1, 0, 9000000, 0, NULL, 0 FROM n
        UNION ALL SELECT 'held-' || n, 'strange', 'running', 1, 0, NULL, 0, 'another', 0 FROM n;
    INSERT INTO runs (id, workflow, status, epoch, created_at, ended_at, recoveries)
        SELECT 'over-' || n, 'busy', 'completed', 1, 0, 1 + n % 7, 0 FROM n;
    INSERT INTO runs (id, workflow, status, epoch, created_at, ended_at, recoveries)
        SELECT 'failed-' || n, 'rare', 'failed', 1, 0, 1, 0 FROM n WHERE n <= 300;
    INSERT INTO runs (id, workflow, status, epoch, created_at, due_at, ready, worker, recoveries)
        SELECT 'mine-' || n, 'rare', 'running', 1, 0, NULL, 0, 'me', 0 FROM n WHERE n <= 60;
    INSERT INTO history (position, run, seq, last_seq, at, events, kind)
        SELECT 2 * key - 1, key, 1, 2, 0, '[{\"seq\":1},{\"seq\":2}]', 'created' FROM runs ORDER BY key;
    INSERT INTO workers (name, until) VALUES ('me', 1000000), ('another', 1000000);
    DROP TABLE n;";

/// Makes a file in memory with `rows` rows of each kind.
pub(super) fn filled(rows: u64) -> Db {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.set_prepared_statement_cache_capacity(64);
    schema::migrate(&mut connection).unwrap();
    connection
        .execute_batch(&ROWS.replace("{rows}", &rows.to_string()))
        .unwrap();
    let ours = "SELECT key, worker, due_at FROM runs WHERE due_at IS NULL AND worker IS NOT NULL";
    assert!(connection.prepare(ours).unwrap().exists([]).unwrap());
    let last: i64 = connection
        .query_row("SELECT max(position) + 1 FROM history", [], |row| {
            row.get(0)
        })
        .unwrap();
    connection
        .execute("UPDATE outbox SET position = ?1", [last])
        .unwrap();
    // The recovery releases every run, so the claims and leases of this process are put back.
    let held = "CREATE TEMP TABLE held AS SELECT key FROM runs WHERE due_at IS NULL AND worker IS NOT NULL";
    connection
        .execute_batch(&format!(
            "{held}; CREATE TEMP TABLE leases AS SELECT * FROM workers"
        ))
        .unwrap();
    let db = recover(connection).unwrap();
    db.connection
        .execute_batch(
            "UPDATE runs SET due_at = NULL, ready = 0 WHERE key IN (SELECT key FROM held);
             INSERT INTO workers SELECT * FROM leases; DROP TABLE held; DROP TABLE leases;",
        )
        .unwrap();
    db
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn record(first_seq: u64) -> Record {
    let events = vec![EncodedEvent::from_json(format!("{{\"seq\":{first_seq}}}")).unwrap()];
    Record {
        first_seq,
        at: at(5),
        events,
        entry: None,
    }
}

fn key(db: &Db, id: &str) -> RunKey {
    reads::run(&db.connection, id)
        .unwrap()
        .unwrap_or_else(|| panic!("{id}"))
        .key
}

fn claim(run: Option<&str>, workflows: Option<&[&str]>, limit: usize) -> impl Fn(&mut Db) + use<> {
    let workflows = workflows.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let request = ClaimRequest {
        worker: "me".into(),
        now: at(10),
        run: run.map(Into::into),
        workflows,
        limit,
    };
    move |db| {
        let claims = db.claim(&request).unwrap();
        assert!(claims.runs.len() <= limit);
    }
}

fn claimed(workflows: Option<&[&str]>, limit: usize) -> impl Fn(&mut Db) + use<> {
    let workflows = workflows.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let request = ClaimRequest {
        worker: "me".into(),
        now: at(10),
        run: None,
        workflows,
        limit,
    };
    move |db| assert_eq!(db.claim(&request).unwrap().runs.len(), limit)
}

fn purge(limit: usize, removed: u64, settled: Option<i64>) -> impl Fn(&mut Db) {
    move |db| {
        if let Some(settled) = settled {
            let sql = "INSERT OR REPLACE INTO cursors VALUES ('sink', ?1, 0, 0, 0)";
            db.connection.execute(sql, [settled]).unwrap();
        }
        db.purge_after = None;
        let all = Some(at(1_000));
        let purged = db
            .purge(&Purge {
                completed: all,
                failed: all,
                cancelled: all,
                limit,
            })
            .unwrap();
        assert_eq!(purged.runs, removed, "{settled:?}");
    }
}

fn listed(filter: RunFilter, found: usize) -> impl Fn(&mut Db) {
    move |db| {
        assert_eq!(
            list::list(&db.connection, &filter).unwrap().len(),
            found,
            "{filter:?}"
        )
    }
}

/// Returns every operation. Each file has at least a hundred runs of every kind that is listed.
pub(super) fn all() -> Vec<Operation> {
    let page = RunFilter {
        limit: 50,
        ..RunFilter::default()
    };
    let of = |statuses: &[Status]| RunFilter {
        statuses: statuses.to_vec(),
        ..page.clone()
    };
    let prefix = |prefix: &str| RunFilter {
        id_prefix: Some(prefix.into()),
        ..page.clone()
    };
    let workflow = |name: &str| RunFilter {
        workflow: Some(name.into()),
        ..page.clone()
    };
    let worker = |name: &str| RunFilter {
        worker: Some(name.into()),
        ..page.clone()
    };
    vec![
        (
            "claim: the busiest workflow",
            Box::new(claimed(Some(&["busy"]), 40)) as _,
        ),
        ("claim: any workflow", Box::new(claimed(None, 40))),
        (
            "claim: everything due is of others",
            Box::new(claimed(Some(&["rare"]), 0)),
        ),
        (
            "claim: everything wanted is due later",
            Box::new(claim(None, Some(&["patient"]), 40)),
        ),
        (
            "claim: of many workflows few have runs",
            Box::new(claimed(Some(&["a", "b", "busy", "c", "d"]), 40)),
        ),
        (
            "claim: by id",
            Box::new(claim(Some("due-7"), Some(&["busy"]), 1)),
        ),
        (
            "claim: by id, held by another",
            Box::new(claim(Some("held-7"), None, 1)),
        ),
        (
            "renew",
            Box::new(|db| assert_eq!(db.renew("another", at(2_000_000)).unwrap(), [])),
        ),
        ("retire", Box::new(|db| db.retire("me", at(10)).unwrap())),
        (
            "held",
            Box::new(|db| assert_eq!(claims::held(&db.connection, "me").unwrap().len(), 60)),
        ),
        (
            "create",
            Box::new(|db| {
                db.create(&NewRun {
                    id: "new".into(),
                    workflow: "busy".into(),
                    execution_id: None,
                    status: Status::Queued,
                    worker: "me".into(),
                    record: record(1),
                })
                .unwrap();
            }),
        ),
        (
            "commit, and end",
            Box::new(|db| {
                let claim = Claim {
                    key: key(db, "mine-7"),
                    epoch: 1,
                };
                for (seq, status) in [
                    (3, Status::Running),
                    (4, Status::Running),
                    (5, Status::Completed),
                ] {
                    db.commit(&Commit {
                        claim,
                        records: vec![record(seq)],
                        status,
                        due_at: None,
                    })
                    .unwrap();
                }
            }),
        ),
        (
            "release",
            Box::new(|db| {
                db.release(
                    Claim {
                        key: key(db, "mine-9"),
                        epoch: 1,
                    },
                    Due::Now(at(10)),
                )
                .unwrap()
            }),
        ),
        (
            "cancel, and be told",
            Box::new(|db| {
                let cancel = CancelRequest {
                    reason: None,
                    immediate: false,
                    at: at(10),
                };
                db.request_cancel("later-7", &cancel).unwrap();
                db.request_cancel("held-7", &cancel).unwrap();
                assert_eq!(db.renew("another", at(2_000_000)).unwrap().len(), 1);
            }),
        ),
        ("purge: some", Box::new(purge(40, 40, None))),
        (
            "purge: a sink stands at the start",
            Box::new(purge(40, 0, Some(0))),
        ),
        (
            "purge: a sink stands before everything that has ended",
            Box::new(purge(40, 0, Some(1))),
        ),
        (
            "purge: nothing has ended long enough ago",
            Box::new(|db| {
                let purged = db
                    .purge(&Purge {
                        completed: Some(at(0)),
                        limit: 40,
                        ..Purge::default()
                    })
                    .unwrap();
                assert_eq!(purged.runs, 0);
            }),
        ),
        ("list: everything", Box::new(listed(page.clone(), 50))),
        ("list: queued", Box::new(listed(of(&[Status::Queued]), 50))),
        ("list: failed", Box::new(listed(of(&[Status::Failed]), 50))),
        (
            "list: none of this status",
            Box::new(listed(of(&[Status::Cancelled]), 0)),
        ),
        (
            "list: two statuses",
            Box::new(listed(
                of(&[Status::Failed, Status::Suspended, Status::Failed]),
                50,
            )),
        ),
        ("list: every status", Box::new(listed(of(&Status::ALL), 50))),
        (
            "list: a rare workflow",
            Box::new(listed(workflow("rare"), 50)),
        ),
        (
            "list: a common workflow",
            Box::new(listed(workflow("busy"), 50)),
        ),
        (
            "list: no such workflow",
            Box::new(listed(workflow("nothing"), 0)),
        ),
        ("list: a worker", Box::new(listed(worker("another"), 50))),
        (
            "list: no such worker",
            Box::new(listed(worker("nobody"), 0)),
        ),
        ("list: rare ids", Box::new(listed(prefix("mine-"), 50))),
        ("list: common ids", Box::new(listed(prefix("d"), 50))),
        ("list: no such ids", Box::new(listed(prefix("x"), 0))),
        ("list: all ids", Box::new(listed(prefix(""), 50))),
        (
            "run and records",
            Box::new(|db| {
                let key = key(db, "over-7");
                for span in [Span::All, Span::First, Span::Last] {
                    assert_eq!(reads::records(&db.connection, key, span).unwrap().len(), 1);
                }
            }),
        ),
        (
            "outbox",
            Box::new(|db| {
                // The pages begin within a record.
                for page in [
                    Page::events(40),
                    Page {
                        events: 400,
                        bytes: 400,
                    },
                ] {
                    assert_eq!(
                        outbox::outbox(&db.connection, Position(333), page)
                            .unwrap()
                            .len(),
                        40,
                        "{page:?}"
                    );
                }
            }),
        ),
        (
            "cursors",
            Box::new(|db| {
                db.open_cursor("new").unwrap();
                let SinkClaim { sink, epoch } =
                    db.claim_sink("new", "me", at(10)).unwrap().unwrap();
                let cursor = Cursor {
                    position: Position(9),
                    delivered: 9,
                    ..Cursor::default()
                };
                db.set_cursor(&SinkClaim { sink, epoch }, cursor).unwrap();
                assert_eq!(
                    sinks::cursors(&db.connection).unwrap(),
                    [("new".to_owned(), cursor)]
                );
                assert!(db.drop_cursor("new").unwrap());
            }),
        ),
    ]
}
