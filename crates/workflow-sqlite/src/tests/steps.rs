//! Costs: the number of SQLite's steps depends on what an operation returns, not on what is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::operations::{all, filled};
use crate::db::Db;

/// Counts the steps of SQLite's virtual machine for an operation, and rolls the operation back.
fn steps(db: &mut Db, operation: &dyn Fn(&mut Db)) -> u64 {
    let steps = Arc::new(AtomicU64::new(0));
    let counter = steps.clone();
    db.connection.execute_batch("BEGIN").unwrap();
    let count = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    db.connection.progress_handler(1, Some(count)).unwrap();
    operation(db);
    db.connection
        .progress_handler(0, None::<fn() -> bool>)
        .unwrap();
    db.connection.execute_batch("ROLLBACK").unwrap();
    db.held.clear();
    steps.load(Ordering::Relaxed)
}

/// A million rows of each kind take minutes: `WORKFLOW_SQLITE_ROWS=1000000`.
#[test]
fn an_operation_costs_what_it_returns_however_much_is_kept() {
    let rows = std::env::var("WORKFLOW_SQLITE_ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(100_000);
    let mut few = filled(1_000);
    let mut many = filled(rows);
    let mut expensive = Vec::new();
    for (name, operation) in all() {
        let among_few = steps(&mut few, &*operation);
        let among_many = steps(&mut many, &*operation);
        if among_many > among_few * 5 / 4 + 100 {
            expensive.push(format!(
                "{name}: {among_few} steps among few, {among_many} among many"
            ));
        }
    }
    assert!(expensive.is_empty(), "{expensive:#?}");
}
