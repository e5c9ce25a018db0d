//! Purges: which runs are removed and kept, and that nothing of a removed run returns.

use workflow_engine::store::{CancelReply, Claim, Due, NewRun, Position, Purge, Span};
use workflow_engine::{Purged, Status, StoreError};

use super::fixture::*;
use super::snapshot::{Snapshot, events, history};

/// Purges runs of every status that ended before `before`.
fn ended_before(before: i64, limit: usize) -> Purge {
    let before = Some(at(before));
    Purge {
        completed: before,
        failed: before,
        cancelled: before,
        limit,
    }
}

/// Returns the ids of the remaining runs.
async fn remaining_ids(store: &SharedStore) -> Vec<String> {
    list_all(store)
        .await
        .into_iter()
        .map(|run| run.id)
        .collect()
}

pub(super) async fn only_runs_that_ended_long_enough_ago_are_purged(store: SharedStore) {
    create_queued(&store, "queued", at(0)).await;
    create_running(&store, "running", "w", at(0)).await;
    let paused = create_running(&store, "paused", "w", at(0)).await;
    commit(&store, suspend(paused, "paused", 2, at(1))).await;
    create_ended(&store, "before", Status::Completed, at(9)).await;
    create_ended(&store, "then", Status::Completed, at(10)).await;
    create_ended(&store, "after", Status::Completed, at(11)).await;
    let purged = purge(&store, ended_before(10, 100)).await;
    assert_eq!(purged, Purged { runs: 1, events: 2 });
    assert_eq!(
        remaining_ids(&store).await,
        ["queued", "running", "paused", "then", "after"],
        "only what ended before is purged"
    );
    assert_eq!(
        purge(&store, ended_before(10, 100)).await,
        Purged::default(),
        "there is nothing left to purge"
    );
    assert_eq!(
        purge(&store, ended_before(12, 100)).await,
        Purged { runs: 2, events: 4 }
    );
    assert_eq!(
        remaining_ids(&store).await,
        ["queued", "running", "paused"],
        "a run that has not ended is never purged"
    );
}

pub(super) async fn each_status_has_its_own_time(store: SharedStore) {
    for status in [Status::Completed, Status::Failed, Status::Cancelled] {
        for n in [1, 2, 3] {
            create_ended(&store, &format!("{status}-{n}"), status, at(n)).await;
        }
    }
    assert_eq!(
        purge(
            &store,
            Purge {
                limit: 100,
                ..Purge::default()
            }
        )
        .await,
        Purged::default(),
        "the default keeps all"
    );
    let purged = purge(
        &store,
        Purge {
            completed: Some(at(2)),
            failed: None,
            cancelled: Some(at(3)),
            limit: 100,
        },
    )
    .await;
    assert_eq!(purged, Purged { runs: 3, events: 6 });
    let kept = [
        "completed-2",
        "completed-3",
        "failed-1",
        "failed-2",
        "failed-3",
        "cancelled-3",
    ];
    assert_eq!(
        remaining_ids(&store).await,
        kept,
        "each status by its own time"
    );
    let purged = purge(
        &store,
        Purge {
            failed: Some(at(2)),
            limit: 100,
            ..Purge::default()
        },
    )
    .await;
    assert_eq!(purged, Purged { runs: 1, events: 2 });
}

pub(super) async fn no_run_is_purged_before_every_sink_has_its_events(store: SharedStore) {
    for sink in ["one", "two"] {
        open_cursor(&store, sink).await;
    }
    let held = create_running(&store, "a", "w", at(0)).await;
    create_ended(&store, "b", Status::Completed, at(5)).await;
    commit(&store, append(held, "a", 2, Status::Completed, at(3))).await;
    // The outbox is now: a, b, b, a.
    let places: Vec<_> = events(&store, Position(0))
        .await
        .into_iter()
        .map(|(position, _)| position)
        .collect();
    assert_eq!(places.len(), 4);
    let before = Snapshot::of(&store).await;
    store
        .drop_cursor(super::snapshot::SINK)
        .await
        .expect("a cursor is dropped");
    for (one, two) in [(0, 0), (4, 0), (4, 1), (4, 2)] {
        for (sink, settled) in [("one", one), ("two", two)] {
            if settled > 0 {
                move_cursor(&store, sink, places[settled - 1], settled as u64, 0).await;
            }
        }
        assert_eq!(
            purge(&store, ended_before(100, 100)).await,
            Purged::default(),
            "one sink has {one}, the other {two}"
        );
    }
    assert_eq!(
        Snapshot::of(&store).await,
        before,
        "a purge that finds nothing changes nothing"
    );
    store
        .drop_cursor(super::snapshot::SINK)
        .await
        .expect("a cursor is dropped");
    move_cursor(&store, "two", places[2], 3, 0).await;
    assert_eq!(
        purge(&store, ended_before(100, 1)).await,
        Purged { runs: 1, events: 2 },
        "the older run does not prevent the purge of the newer"
    );
    assert_eq!(
        remaining_ids(&store).await,
        ["a"],
        "its last event has not reached every sink"
    );
    let rest: Vec<_> = events(&store, Position(0))
        .await
        .into_iter()
        .map(|(position, _)| position)
        .collect();
    assert_eq!(
        rest,
        [places[0], places[3]],
        "the events of the others stay where they are"
    );
    open_cursor(&store, "new").await;
    move_cursor(&store, "two", places[3], 4, 0).await;
    assert_eq!(
        purge(&store, ended_before(100, 100)).await,
        Purged::default(),
        "a new sink wants it as well"
    );
    move_cursor(&store, "new", places[3], 2, 0).await;
    assert_eq!(
        purge(&store, ended_before(100, 100)).await,
        Purged { runs: 1, events: 2 },
        "now everyone has it"
    );
}

pub(super) async fn the_longest_ended_are_purged_first(store: SharedStore) {
    for (id, status, ended_at) in [
        ("d", Status::Completed, 4),
        ("b", Status::Failed, 2),
        ("c", Status::Cancelled, 3),
        ("a", Status::Completed, 1),
        ("e", Status::Failed, 5),
    ] {
        create_ended(&store, id, status, at(ended_at)).await;
    }
    assert_eq!(
        purge(&store, ended_before(100, 0)).await,
        Purged::default(),
        "none were to be purged"
    );
    assert_eq!(
        purge(&store, ended_before(100, 2)).await,
        Purged { runs: 2, events: 4 }
    );
    assert_eq!(
        remaining_ids(&store).await,
        ["d", "c", "e"],
        "the longest ended are gone"
    );
    assert_eq!(
        purge(&store, ended_before(100, 1)).await,
        Purged { runs: 1, events: 2 }
    );
    assert_eq!(
        remaining_ids(&store).await,
        ["d", "e"],
        "the longest ended are gone"
    );
    assert_eq!(
        purge(&store, ended_before(100, 100)).await,
        Purged { runs: 2, events: 4 }
    );
    assert_eq!(remaining_ids(&store).await, [""; 0]);
}

pub(super) async fn a_purged_run_is_removed(store: SharedStore) {
    let kept = create_ended(&store, "kept", Status::Completed, at(50)).await;
    let gone = create_ended(&store, "gone", Status::Completed, at(1)).await;
    let end = store.outbox_end().await.expect("the end is read");
    let history_of_kept = history(&store, &read_run(&store, "kept").await).await;
    assert_eq!(
        purge(&store, ended_before(10, 100)).await,
        Purged { runs: 1, events: 2 }
    );
    assert_eq!(
        store.run("gone").await.expect("a run is read"),
        None,
        "its id is free"
    );
    assert_eq!(remaining_ids(&store).await, ["kept"], "it is not listed");
    for span in [Span::All, Span::First, Span::Last] {
        assert!(
            store
                .records(gone.key, span)
                .await
                .expect("records are read")
                .is_empty(),
            "its records are gone"
        );
    }
    assert_eq!(
        events(&store, Position(0)).await.len(),
        2,
        "its events are gone"
    );
    let reply = store
        .request_cancel("gone", cancel_request("x", at(60)))
        .await
        .expect("a cancel is answered");
    assert_eq!(reply, CancelReply::Unknown, "it cannot be cancelled");
    let refused = store
        .commit(append(gone, "gone", 3, Status::Running, at(60)))
        .await;
    assert!(
        matches!(refused, Err(StoreError::UnknownRun { .. })),
        "its key is unknown: {refused:?}"
    );
    let refused = store.release(gone, Due::At(at(60))).await;
    assert!(
        matches!(refused, Err(StoreError::UnknownRun { .. })),
        "its key is unknown: {refused:?}"
    );
    assert_eq!(
        store.outbox_end().await.expect("the end is read"),
        end,
        "the end is where it was"
    );
    assert_eq!(
        history(&store, &read_run(&store, "kept").await).await,
        history_of_kept,
        "the others are untouched"
    );
    assert_eq!(read_run(&store, "kept").await.key, kept.key);
}

pub(super) async fn a_purged_id_can_be_created_again(store: SharedStore) {
    let old = create_running(&store, "a", "w", at(0)).await;
    request_cancel(&store, "a", cancel_request("enough", at(0))).await;
    commit(&store, append(old, "a", 2, Status::Cancelled, at(1))).await;
    purge(&store, ended_before(10, 100)).await;
    let again = create(
        &store,
        NewRun {
            workflow: "another".to_owned(),
            ..new_run("a", at(20))
        },
    )
    .await;
    assert!(
        again.key > old.key,
        "it is another run: {again:?} after {old:?}"
    );
    let run = read_run(&store, "a").await;
    assert_eq!(
        (run.status, run.last_seq, run.workflow.as_str()),
        (Status::Queued, 1, "another")
    );
    assert_eq!(
        (run.created_at, run.ended_at, run.due_at),
        (at(20), None, Some(at(20)))
    );
    assert_eq!(
        (run.cancel.as_ref(), run.recoveries),
        (None, 0),
        "it sees nothing of the old run"
    );
    assert_eq!(
        history(&store, &run).await.len(),
        1,
        "it sees nothing of the old run"
    );
    for epoch in 0..3 {
        let refused = store
            .commit(append(
                Claim { epoch, ..old },
                "a",
                3,
                Status::Running,
                at(20),
            ))
            .await;
        assert!(
            matches!(refused, Err(StoreError::UnknownRun { .. })),
            "the old claim is no key to it: {refused:?}"
        );
    }
    let claimed = claim_run(&store, "w", at(20), "a").await;
    assert_eq!(
        claimed.claim,
        Claim {
            key: again.key,
            epoch: 1
        },
        "its epochs begin at the start"
    );
    commit(
        &store,
        append(claimed.claim, "a", 2, Status::Running, at(20)),
    )
    .await;
}

pub(super) async fn keys_and_positions_are_never_used_again(store: SharedStore) {
    let mut key = workflow_engine::RunKey(0);
    let mut end = store.outbox_end().await.expect("the end is read");
    for n in 0..4 {
        // Every run, including the newest, is purged each time.
        let claim = create_ended(&store, "a", Status::Completed, at(n)).await;
        assert!(
            claim.key > key,
            "{claim:?} must be higher than {key}, which is purged"
        );
        let new = events(&store, Position(0)).await;
        assert_eq!(new.len(), 2);
        assert!(
            new[0].0 > end.position,
            "{new:?} must be after {end:?}, which is purged"
        );
        let now = store.outbox_end().await.expect("the end is read");
        assert_eq!(
            now.accepted,
            end.accepted + 2,
            "events that are purged still count"
        );
        assert_eq!(now.position, new[1].0);
        (key, end) = (claim.key, now);
        assert_eq!(purge(&store, ended_before(100, 100)).await.runs, 1);
        assert_eq!(
            store.outbox_end().await.expect("the end is read"),
            end,
            "a purge does not move the end"
        );
    }
}

pub(super) async fn the_books_balance_after_each_purge(store: SharedStore) {
    let mut written = 0;
    for round in 0..6_u64 {
        open_cursor(&store, &format!("sink-{round}")).await;
        for n in 0..3 {
            create_ended(
                &store,
                &format!("run-{round}-{n}"),
                Status::Completed,
                at(10 * round as i64 + n),
            )
            .await;
            written += 2;
        }
        // Each sink accepts the events that it finds, and rejects one of five.
        for sink in (0..=round).map(|sink| format!("sink-{sink}")) {
            let cursor = open_cursor(&store, &sink).await;
            let found = events(&store, cursor.position).await;
            let last = found.last().map_or(cursor.position, |(last, _)| *last);
            let rejected = found.len() as u64 / 5;
            let delivered = cursor.delivered + found.len() as u64 - rejected;
            move_cursor(&store, &sink, last, delivered, cursor.rejected + rejected).await;
        }
        purge(&store, ended_before(10 * round as i64 + 2, 100)).await;
        let end = store.outbox_end().await.expect("the end is read");
        assert_eq!(end.accepted, written, "every event counts");
        for sink in (0..=round).map(|sink| format!("sink-{sink}")) {
            let cursor = open_cursor(&store, &sink).await;
            assert_eq!(cursor.position, end.position, "{sink} is at the end");
            let fates = cursor.delivered + cursor.rejected + cursor.missed;
            assert_eq!(
                fates, written,
                "every event has one fate at {sink}: {cursor:?}"
            );
        }
    }
}
