//! The outbox: the events of all runs in one order.

use workflow_engine::store::{Claim, Commit, NewRun, OutboxEnd, Page, Position, Record};
use workflow_engine::{EncodedEvent, Status};

use super::fixture::*;
use super::snapshot::events;

/// Appends `events` events in one record to a run that continues.
async fn append_events(store: &SharedStore, claim: Claim, run: &str, first_seq: u64, events: u64) {
    let records = vec![record_without_entry(run, first_seq, at(1), events)];
    commit(
        store,
        Commit {
            claim,
            records,
            status: Status::Running,
            due_at: None,
        },
    )
    .await;
}

pub(super) async fn events_are_kept_to_the_byte(store: SharedStore) {
    let unusual = [
        r#"{"b":1,"a":2,"b":3}"#,
        "{ \"spaced\" :\t[ 1 , 2.50, 1e2, -0, 123456789012345678901234567890 ] }",
        r#"{"text":"\u00e9 é \ud83d\ude00 😀 \/ \" \\ ' ; -- %_"}"#,
        "{\"lines\":\n\"\\n\"\r\n}",
        "{}",
    ];
    let written = unusual.map(|json| EncodedEvent::from_json(json.to_owned()).expect("it is JSON"));
    let first = Record {
        events: written[..2].to_vec(),
        ..record_without_entry("a", 1, at(0), 0)
    };
    let next = Record {
        events: written[2..].to_vec(),
        ..record_without_entry("a", 3, at(1), 0)
    };
    renew_lease(&store, "w", at(100)).await;
    let new = NewRun {
        status: Status::Running,
        worker: "w".to_owned(),
        record: first,
        ..new_run("a", at(0))
    };
    let claim = create(&store, new).await;
    commit(
        &store,
        Commit {
            claim,
            records: vec![next],
            status: Status::Running,
            due_at: None,
        },
    )
    .await;
    let outbox: Vec<_> = events(&store, Position(0))
        .await
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    assert_eq!(outbox, unusual, "the outbox has them as they were written");
    let records = store
        .records(claim.key, workflow_engine::store::Span::All)
        .await
        .expect("records are read");
    let history: Vec<_> = records
        .iter()
        .flat_map(|record| &record.events)
        .map(EncodedEvent::as_str)
        .collect();
    assert_eq!(history, unusual, "and so has the history");
}

/// Writes interleaved events of three runs: in commits of one record and of several, and of runs
/// that end.
async fn write_interleaved_events(store: &SharedStore) -> [Claim; 3] {
    let runs = ["a", "b", "c"];
    let mut claims = Vec::new();
    for id in runs {
        claims.push(create_running(store, id, "w", at(0)).await);
    }
    for round in 0..4 {
        for (claim, id) in claims.iter().zip(runs) {
            let seq = 2 + 3 * round;
            let records = vec![
                record_without_entry(id, seq, at(1), 2),
                record(id, seq + 2, at(1), 1),
            ];
            commit(
                store,
                Commit {
                    claim: *claim,
                    records,
                    status: Status::Running,
                    due_at: None,
                },
            )
            .await;
        }
    }
    commit(store, append(claims[1], "b", 14, Status::Completed, at(2))).await;
    claims.try_into().expect("there are three")
}

pub(super) async fn events_of_a_run_are_in_order(store: SharedStore) {
    let claims = write_interleaved_events(&store).await;
    let outbox = events(&store, Position(0)).await;
    assert!(outbox[0].0 > Position(0), "no event is at 0");
    assert!(
        outbox.is_sorted_by(|(one, _), (next, _)| one < next),
        "positions increase: {outbox:?}"
    );
    for claim in claims {
        let records = store
            .records(claim.key, workflow_engine::store::Span::All)
            .await
            .expect("records are read");
        let history: Vec<_> = records
            .iter()
            .flat_map(|record| &record.events)
            .map(EncodedEvent::as_str)
            .collect();
        let theirs: Vec<_> = outbox
            .iter()
            .map(|(_, event)| event.as_str())
            .filter(|event| history.contains(event))
            .collect();
        assert_eq!(
            theirs, history,
            "the events of one run are in the order of their seq, and all there"
        );
    }
}

pub(super) async fn the_order_never_changes(store: SharedStore) {
    let [a, _, c] = write_interleaved_events(&store).await;
    let mut before = events(&store, Position(0)).await;
    for (claim, id, seq) in [(c, "c", 14), (a, "a", 14), (c, "c", 17)] {
        append_events(&store, claim, id, seq, 3).await;
        let after = events(&store, Position(0)).await;
        assert_eq!(
            after[..before.len()],
            before,
            "earlier events keep their positions, and none is inserted between them"
        );
        assert_eq!(after.len(), before.len() + 3, "new events are at the end");
        before = after;
    }
}

pub(super) async fn reading_resumes_at_any_position(store: SharedStore) {
    assert_eq!(
        events(&store, Position(0)).await,
        [],
        "a fresh store has no events"
    );
    write_interleaved_events(&store).await;
    let all = events(&store, Position(0)).await;
    for (n, (position, _)) in all.iter().enumerate() {
        assert_eq!(
            events(&store, *position).await,
            all[n + 1..],
            "the events after {position:?}"
        );
    }
    for limit in [0, 1, 2, 7, all.len(), all.len() + 1] {
        let page = store
            .outbox(Position(0), Page::events(limit))
            .await
            .expect("the outbox is read");
        assert_eq!(page.len(), limit.min(all.len()), "at most {limit}");
        assert!(
            page.iter().zip(&all).all(|(one, other)| one.0 == other.0),
            "the first {limit}: {page:?}"
        );
    }
    let mut read = Vec::new();
    let mut after = Position(0);
    while let Some((last, _)) = store
        .outbox(after, Page::events(5))
        .await
        .expect("the outbox is read")
        .last()
    {
        assert!(*last > after, "a page begins after the last");
        read.extend(
            events(&store, after)
                .await
                .into_iter()
                .filter(|(position, _)| position <= last),
        );
        after = *last;
    }
    assert_eq!(read, all, "page by page it is the same");
    assert_eq!(
        events(&store, Position(after.0 + 1)).await,
        [],
        "behind the end there is nothing"
    );
}

pub(super) async fn a_page_is_limited_in_bytes(store: SharedStore) {
    write_interleaved_events(&store).await;
    let all = events(&store, Position(0)).await;
    let length = |(_, event): &(Position, String)| event.len() + 1;
    let total: usize = all.iter().map(length).sum();
    let two = length(&all[0]) + length(&all[1]);
    // A page may also end within a record of several events.
    for bytes in [
        0,
        1,
        two - 1,
        two,
        two + 1,
        total / 2,
        total - 1,
        total,
        total + 1,
        usize::MAX,
    ] {
        let mut room = bytes;
        let mut fit = 0;
        while let Some(left) = all
            .get(fit)
            .and_then(|event| room.checked_sub(length(event)))
        {
            (room, fit) = (left, fit + 1);
        }
        for events in [0, 1, 3, usize::MAX] {
            let page = store
                .outbox(Position(0), Page { events, bytes })
                .await
                .expect("the outbox is read");
            assert_eq!(
                page.len(),
                fit.max(1).min(events),
                "{events} events and {bytes} bytes at most"
            );
        }
    }
    let mut read = 0;
    let mut after = Position(0);
    while let Some((last, _)) = store
        .outbox(
            after,
            Page {
                events: 9,
                bytes: two,
            },
        )
        .await
        .expect("the outbox is read")
        .last()
    {
        read += events(&store, after)
            .await
            .iter()
            .filter(|(position, _)| position <= last)
            .count();
        after = *last;
    }
    assert_eq!(read, all.len(), "page by page it is the same");
}

pub(super) async fn every_accepted_event_is_counted(store: SharedStore) {
    let end = store.outbox_end().await.expect("the end is read");
    assert_eq!(
        end,
        OutboxEnd::default(),
        "a fresh store never had an event"
    );
    write_interleaved_events(&store).await;
    let a = create_running(&store, "d", "w", at(0)).await;
    append_events(&store, a, "d", 2, 100).await;
    let all = events(&store, Position(0)).await;
    let end = store.outbox_end().await.expect("the end is read");
    assert_eq!(
        end.accepted,
        all.len() as u64,
        "every event counts, not every record"
    );
    assert_eq!(
        Some(end.position),
        all.last().map(|(position, _)| *position),
        "the end is that of the last event"
    );
}
