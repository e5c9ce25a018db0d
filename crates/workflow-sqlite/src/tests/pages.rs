//! Pages of the outbox: no more large events are read than are returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use workflow_engine::store::{Page, Position};

use crate::{outbox, schema};

/// Makes a file in memory with `records` records, each of `events` events of 10,000 bytes.
fn large(records: i64, events: i64) -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    let event = format!("\"{}\"", "x".repeat(9_998));
    let array = format!(
        "[{}]",
        vec![event; usize::try_from(events).unwrap()].join(",")
    );
    let sql = "INSERT INTO history (position, run, seq, last_seq, at, events) VALUES (?1, ?1, 1, ?2, 0, ?3)";
    for record in 0..records {
        connection
            .execute(sql, (1 + record * events, events, &array))
            .unwrap();
    }
    connection
}

#[test]
fn no_more_large_events_are_read_than_are_returned() {
    let page = Page {
        events: 512,
        bytes: 25_000,
    };
    for (events, after, returned, read) in [
        (1, 0, 2, 2),
        (1, 7, 2, 2),
        (5, 0, 2, 1),
        (5, 4, 2, 2),
        (5, 5, 2, 1),
    ] {
        let mut connection = large(40, events);
        let texts = Arc::new(AtomicUsize::new(0));
        let counter = texts.clone();
        let count = move |event: TraceEvent<'_>| {
            if let TraceEvent::Row(statement) = event
                && statement.sql().contains(" events FROM")
            {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        connection
            .trace_v2(TraceEventCodes::SQLITE_TRACE_ROW, Some(count))
            .unwrap();
        let found = outbox::outbox(&connection, Position(after), page).unwrap();
        assert_eq!(
            (found.len(), texts.load(Ordering::Relaxed)),
            (returned, read),
            "{events} a record, after {after}"
        );
        // An event larger than the page is returned alone. If the page begins within a record, the
        // length of the rest of the record is known only after it is read.
        let more = if after % events.unsigned_abs() == 0 {
            1
        } else {
            2
        };
        let alone =
            outbox::outbox(&connection, Position(after), Page { bytes: 9, ..page }).unwrap();
        assert_eq!(
            (alone.len(), texts.load(Ordering::Relaxed)),
            (1, read + more),
            "{events} a record, after {after}"
        );
    }
}
