//! Query plans: every statement finds its rows by an index, and sorts at most a few.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::operations::{all, filled};

/// Scans that are allowed, because they read only the first row or a page of the table, or because
/// the table has few rows.
const ALLOWED_SCANS: [&str; 7] = [
    "SCAN runs USING COVERING INDEX runs_due",
    "SCAN history",
    "SCAN workers",
    "SCAN cursors",
    "SCAN outbox",
    "SCAN names",
    "SCAN CONSTANT ROW",
];

/// Returns the query plan of a statement, line by line.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut explained = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let lines = explained
        .raw_query()
        .mapped(|row| row.get(3))
        .collect::<Result<_, _>>();
    lines.unwrap()
}

#[test]
fn every_statement_finds_its_rows_by_an_index() {
    let mut db = filled(2_000);
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let mut bad = Vec::new();
    for (name, operation) in all() {
        let recorder = seen.clone();
        let note = move |event: TraceEvent<'_>| {
            if let TraceEvent::Stmt(statement, _) = event {
                recorder
                    .lock()
                    .unwrap()
                    .insert(statement.sql().into_owned());
            }
        };
        db.connection.execute_batch("BEGIN").unwrap();
        db.connection
            .trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note))
            .unwrap();
        operation(&mut db);
        db.connection
            .trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>)
            .unwrap();
        db.connection.execute_batch("ROLLBACK").unwrap();
        db.held.clear();
        for sql in std::mem::take(&mut *seen.lock().unwrap()) {
            for line in plan(&db.connection, &sql) {
                let read_all = line.starts_with("SCAN")
                    && !ALLOWED_SCANS.contains(&line.as_str())
                    && !line.contains("subquery");
                let sorted = line.contains("TEMP B-TREE")
                    && name != "list: rare ids"
                    && name != "list: no such ids";
                if read_all || sorted {
                    bad.push(format!("{name}: {line}: {sql}"));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    // A scan that is not allowed is found.
    let scan = plan(&db.connection, "SELECT key FROM runs WHERE recoveries > 3");
    assert_eq!(scan, ["SCAN runs"]);
}
