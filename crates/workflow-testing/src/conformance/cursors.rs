//! Cursors of sinks, and claims on their delivery.

use workflow_engine::store::{Cursor, Position, Purge, SinkClaim};
use workflow_engine::{Status, StoreError};

use super::fixture::*;
use super::snapshot::events;

pub(super) async fn a_new_cursor_is_at_the_start(store: SharedStore) {
    assert_eq!(
        open_cursor(&store, "early").await,
        Cursor::default(),
        "nothing has a fate"
    );
    create_ended(&store, "a", Status::Completed, at(0)).await;
    for _ in 0..2 {
        assert_eq!(
            open_cursor(&store, "late").await,
            Cursor::default(),
            "nothing was purged, so nothing is missed"
        );
    }
}

pub(super) async fn a_cursor_only_moves_forward(store: SharedStore) {
    for id in ["a", "b", "c"] {
        create_ended(&store, id, Status::Completed, at(0)).await;
    }
    let places: Vec<_> = events(&store, Position(0))
        .await
        .into_iter()
        .map(|(position, _)| position)
        .collect();
    open_cursor(&store, "s").await;
    move_cursor(&store, "s", places[2], 2, 1).await;
    let standing = Cursor {
        position: places[2],
        delivered: 2,
        rejected: 1,
        missed: 0,
    };
    assert_eq!(
        open_cursor(&store, "s").await,
        standing,
        "it is where it was moved to"
    );
    move_cursor(&store, "s", places[1], 2, 0).await;
    move_cursor(&store, "s", Position(0), 0, 0).await;
    assert_eq!(
        open_cursor(&store, "s").await,
        standing,
        "it is further already"
    );
    let invented = Cursor {
        position: places[4],
        delivered: 3,
        rejected: 2,
        missed: 77,
    };
    let held = claim_sink(&store, "s", "relay").await;
    store
        .set_cursor(&held, invented)
        .await
        .expect("a cursor is moved");
    assert_eq!(
        open_cursor(&store, "s").await,
        Cursor {
            missed: 0,
            ..invented
        },
        "only the store sets the number of missed events"
    );
}

pub(super) async fn every_cursor_is_listed(store: SharedStore) {
    let cursors_now = async || store.cursors().await.expect("the cursors are read");
    assert_eq!(cursors_now().await, [], "a fresh store has none");
    create_ended(&store, "a", Status::Completed, at(0)).await;
    let places: Vec<_> = events(&store, Position(0))
        .await
        .into_iter()
        .map(|(position, _)| position)
        .collect();
    for sink in ["b", "Z", "a", "a\"\\ é", "a\u{10ffff}", "", "aa"] {
        open_cursor(&store, sink).await;
    }
    claim_sink(&store, "claimed", "relay").await;
    move_cursor(&store, "b", places[0], 1, 0).await;
    let moved = Cursor {
        position: places[0],
        delivered: 1,
        ..Cursor::default()
    };
    let cursors = cursors_now().await;
    let names: Vec<_> = cursors.iter().map(|(sink, _)| sink.as_str()).collect();
    assert_eq!(
        names,
        ["", "Z", "a", "a\"\\ é", "aa", "a\u{10ffff}", "b", "claimed"],
        "in the order of their bytes"
    );
    assert!(cursors.iter().all(|(sink, cursor)| *cursor
        == if sink == "b" {
            moved
        } else {
            Cursor::default()
        }));
    store.drop_cursor("a").await.expect("a cursor is dropped");
    assert!(
        cursors_now().await.iter().all(|(sink, _)| sink != "a"),
        "a forgotten sink is not listed"
    );
}

pub(super) async fn cursors_are_independent(store: SharedStore) {
    create_ended(&store, "a", Status::Completed, at(0)).await;
    let places: Vec<_> = events(&store, Position(0))
        .await
        .into_iter()
        .map(|(position, _)| position)
        .collect();
    for sink in ["one", "two", "One", "it's"] {
        open_cursor(&store, sink).await;
    }
    move_cursor(&store, "one", places[1], 2, 0).await;
    move_cursor(&store, "it's", places[0], 0, 1).await;
    assert_eq!(
        open_cursor(&store, "one").await,
        Cursor {
            position: places[1],
            delivered: 2,
            ..Cursor::default()
        }
    );
    assert_eq!(
        open_cursor(&store, "it's").await,
        Cursor {
            position: places[0],
            rejected: 1,
            ..Cursor::default()
        }
    );
    for untouched in ["two", "One"] {
        assert_eq!(
            open_cursor(&store, untouched).await,
            Cursor::default(),
            "{untouched:?} has not moved"
        );
    }
}

/// Purges every completed run whose events have a fate at every sink.
async fn purge_all(store: &SharedStore) -> u64 {
    let purge = Purge {
        completed: Some(at(1_000)),
        limit: 100,
        ..Purge::default()
    };
    super::fixture::purge(store, purge).await.events
}

pub(super) async fn a_new_cursor_misses_purged_events(store: SharedStore) {
    open_cursor(&store, "early").await;
    create_ended(&store, "a", Status::Completed, at(0)).await;
    create_ended(&store, "b", Status::Completed, at(0)).await;
    let end = store.outbox_end().await.expect("the end is read");
    move_cursor(&store, "early", end.position, 3, 1).await;
    assert_eq!(purge_all(&store).await, 4);
    let early = Cursor {
        position: end.position,
        delivered: 3,
        rejected: 1,
        missed: 0,
    };
    assert_eq!(
        open_cursor(&store, "early").await,
        early,
        "it missed nothing"
    );
    let late = Cursor {
        missed: 4,
        ..Cursor::default()
    };
    assert_eq!(
        open_cursor(&store, "late").await,
        late,
        "the late sink has missed the purged events"
    );
    create_ended(&store, "c", Status::Completed, at(1)).await;
    let end = store.outbox_end().await.expect("the end is read");
    for sink in ["early", "late"] {
        let before = open_cursor(&store, sink).await;
        move_cursor(
            &store,
            sink,
            end.position,
            before.delivered + 2,
            before.rejected,
        )
        .await;
    }
    assert_eq!(purge_all(&store).await, 2);
    assert_eq!(
        open_cursor(&store, "late").await.missed,
        4,
        "delivered events are not missed"
    );
    assert_eq!(
        open_cursor(&store, "latest").await.missed,
        6,
        "all purged events are missed"
    );
}

pub(super) async fn a_dropped_cursor_is_forgotten(store: SharedStore) {
    let drop_cursor = async |sink| store.drop_cursor(sink).await.expect("a cursor is dropped");
    assert!(!drop_cursor("s").await, "there was none");
    open_cursor(&store, "s").await;
    open_cursor(&store, "other").await;
    create_ended(&store, "a", Status::Completed, at(0)).await;
    let end = store.outbox_end().await.expect("the end is read");
    move_cursor(&store, "s", end.position, 2, 0).await;
    assert_eq!(
        purge_all(&store).await,
        0,
        "the other sink has settled nothing"
    );
    assert!(drop_cursor("other").await, "there was one");
    assert!(!drop_cursor("other").await, "the cursor is dropped already");
    assert_eq!(
        open_cursor(&store, "s").await.position,
        end.position,
        "other sinks are not affected"
    );
    assert_eq!(
        purge_all(&store).await,
        2,
        "a dropped cursor does not prevent a purge"
    );
    assert!(drop_cursor("s").await, "there was one");
    assert_eq!(
        open_cursor(&store, "s").await,
        Cursor {
            missed: 2,
            ..Cursor::default()
        },
        "it begins at the start"
    );
}

/// Asserts that a claim on a sink has ended.
async fn assert_fenced(store: &SharedStore, claim: &SinkClaim) {
    let end = store.outbox_end().await.expect("the end is read");
    let before = open_cursor(store, &claim.sink).await;
    let refused = store
        .set_cursor(
            claim,
            Cursor {
                position: end.position,
                delivered: 9,
                ..Cursor::default()
            },
        )
        .await;
    let expected = claim.clone();
    assert!(
        matches!(&refused, Err(StoreError::SinkFenced { sink, epoch }) if (sink, *epoch) == (&expected.sink, expected.epoch)),
        "{claim:?} has ended: {refused:?}"
    );
    assert_eq!(
        open_cursor(store, &claim.sink).await,
        before,
        "and nothing was changed"
    );
}

pub(super) async fn a_sink_has_one_worker_at_a_time(store: SharedStore) {
    create_ended(&store, "a", Status::Completed, at(0)).await;
    renew_lease(&store, "w", at(10)).await;
    renew_lease(&store, "other", at(1_000)).await;
    let first = store
        .claim_sink("s", "w", at(0))
        .await
        .expect("a sink is claimed")
        .expect("it is not claimed");
    assert_eq!(
        open_cursor(&store, "s").await,
        Cursor::default(),
        "a claim opens the cursor"
    );
    assert_eq!(
        store
            .claim_sink("s", "other", at(9))
            .await
            .expect("it is answered"),
        None,
        "another has it"
    );
    let another = store
        .claim_sink("t", "other", at(9))
        .await
        .expect("it is answered");
    assert!(another.is_some(), "other sinks are not affected");
    let second = store
        .claim_sink("s", "w", at(9))
        .await
        .expect("it is answered")
        .expect("its holder may claim it");
    assert!(second.epoch > first.epoch, "each claim has a higher epoch");
    assert_fenced(&store, &first).await;
    let third = store
        .claim_sink("s", "other", at(10))
        .await
        .expect("it is answered")
        .expect("the lease has expired");
    assert!(third.epoch > second.epoch, "each claim has a higher epoch");
    assert_fenced(&store, &second).await;
    store
        .set_cursor(
            &third,
            Cursor {
                position: Position(1),
                delivered: 1,
                ..Cursor::default()
            },
        )
        .await
        .expect("the newest claim is valid");
}

pub(super) async fn a_released_sink_is_free(store: SharedStore) {
    create_ended(&store, "a", Status::Completed, at(0)).await;
    renew_lease(&store, "w", at(1_000)).await;
    renew_lease(&store, "other", at(1_000)).await;
    let first = claim_sink(&store, "s", "w").await;
    store
        .release_sink(&first)
        .await
        .expect("a sink is released");
    assert_fenced(&store, &first).await;
    let second = claim_sink(&store, "s", "other").await;
    store.release_sink(&first).await.expect("nothing happens");
    assert_eq!(
        store
            .claim_sink("s", "w", at(0))
            .await
            .expect("it is answered"),
        None,
        "the other one has it still"
    );
    store
        .retire("other", at(0))
        .await
        .expect("a worker retires");
    let third = claim_sink(&store, "s", "w").await;
    assert_fenced(&store, &second).await;
    store.drop_cursor("s").await.expect("a sink is dropped");
    let fenced = store
        .set_cursor(
            &third,
            Cursor {
                position: Position(1),
                ..Cursor::default()
            },
        )
        .await;
    assert!(
        matches!(fenced, Err(StoreError::SinkFenced { .. })),
        "a dropped cursor stays dropped: {fenced:?}"
    );
    let again = claim_sink(&store, "s", "other").await;
    assert!(again.epoch > third.epoch, "an epoch is never used again");
}
