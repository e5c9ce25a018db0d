//! Due times: when runs can be claimed, and when the next claim may find one.

use super::fixture::*;
use workflow_engine::Status;
use workflow_engine::store::{ClaimRequest, Commit, Due, NewRun};

pub(super) async fn a_paused_run_is_due_when_it_was_told(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    commit(&store, pause(held, "a", 2, at(10))).await;
    let run = read(&store, "a").await;
    assert_eq!(
        (run.status, run.due_at, run.worker),
        (Status::Suspended, Some(at(10)), None)
    );
    let early = claim(&store, any("w", at(9), 9)).await;
    assert_eq!(
        (ids(&early), early.next_due),
        (vec![], Some(at(10))),
        "it is not due yet"
    );
    let early = claim(&store, one("w", at(9), "a")).await;
    assert_eq!(
        (ids(&early), early.next_due),
        (vec![], Some(at(10))),
        "by its id neither"
    );
    assert_eq!(
        ids(&claim(&store, any("w", at(10), 9)).await),
        ["a"],
        "it is due at that very time"
    );
}

pub(super) async fn a_released_run_is_due_when_it_was_told(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    let before = read(&store, "a").await;
    store
        .release(held, Due::At(at(10)))
        .await
        .expect("a claim is released");
    let run = read(&store, "a").await;
    let expected = workflow_engine::Run {
        due_at: Some(at(10)),
        worker: None,
        ..before
    };
    assert_eq!(run, expected, "a release changes nothing else");
    assert_eq!(
        ids(&claim(&store, any("w", at(9), 9)).await),
        [""; 0],
        "it is not due yet"
    );
    let claims = claim(&store, any("w", at(10), 9)).await;
    assert_eq!(ids(&claims), ["a"], "it is due at that very time");
    assert_eq!(claims.runs[0].claim.epoch, 2);
}

/// A time one hour before the times that these checks write, as after the clock was set back.
const BEFORE: i64 = 3_600;

pub(super) async fn what_is_ready_does_not_wait_for_the_clock(store: Shared) {
    let gone = at(BEFORE);
    queued(&store, "queued", gone).await;
    let released = running(&store, "released", "w", gone).await;
    store
        .release(released, Due::Now(gone))
        .await
        .expect("a claim is released");
    let again = waiting(&store, "paused and released", at(0)).await;
    let paused = take(&store, "w", gone, "paused and released").await.claim;
    assert_eq!(paused.key, again);
    store
        .release(paused, Due::Now(gone))
        .await
        .expect("a claim is released");
    running(&store, "retired", "retiring", gone).await;
    store
        .retire("retiring", gone)
        .await
        .expect("a worker retires");
    running(&store, "died", "dead", gone).await;
    lease(&store, "dead", gone).await;
    lease(&store, "heir", at(9 * BEFORE)).await;
    claim(&store, any("heir", gone, 0)).await;
    for (id, status) in [
        ("cancelled", "paused"),
        ("cancelled twice", "paused"),
        ("hastened", "released"),
    ] {
        waiting(&store, id, at(2 * BEFORE)).await;
        assert_eq!(read(&store, id).await.status, Status::Suspended, "{status}");
        cancel(&store, id, please("enough", gone)).await;
    }
    // This also holds for a run that was postponed after its cancel, when the cancel is requested
    // again.
    let put_off = take(&store, "w", at(0), "hastened").await.claim;
    store
        .release(put_off, Due::At(at(2 * BEFORE)))
        .await
        .expect("a claim is released");
    cancel(&store, "hastened", please("now", gone)).await;
    let all = [
        "queued",
        "released",
        "paused and released",
        "retired",
        "died",
        "cancelled",
        "cancelled twice",
        "hastened",
    ];
    for id in all {
        assert_eq!(
            read(&store, id).await.due_at,
            Some(gone),
            "{id} is ready since a time to come"
        );
    }
    // The time is that of the clock that was set back.
    let (now, orders) = (at(1), Some(vec![WORKFLOW.to_owned()]));
    let none = claim(&store, any("heir", now, 0)).await;
    assert_eq!(
        (ids(&none), none.next_due),
        (vec![], Some(now)),
        "there is something to be had now, and not in an hour"
    );
    let none = claim(
        &store,
        ClaimRequest {
            limit: 0,
            ..one("heir", now, "queued")
        },
    )
    .await;
    assert_eq!(
        (ids(&none), none.next_due),
        (vec![], Some(now)),
        "by its id too"
    );
    let none = claim(
        &store,
        ClaimRequest {
            workflows: Some(vec!["other".to_owned()]),
            ..any("heir", now, 9)
        },
    )
    .await;
    assert_eq!(
        (none.unknown, none.next_due),
        (vec![WORKFLOW.to_owned()], None),
        "it is due, if not here"
    );
    take(&store, "heir", now, "queued").await;
    let claims = claim(
        &store,
        ClaimRequest {
            workflows: orders,
            ..any("heir", now, 3)
        },
    )
    .await;
    assert_eq!(
        (ids(&claims), claims.next_due),
        (all[1..4].to_vec(), Some(now)),
        "and so is what is left over"
    );
    let claims = claim(&store, any("heir", now, 99)).await;
    assert_eq!(
        (ids(&claims), claims.next_due),
        (all[4..].to_vec(), None),
        "everything can be had"
    );
    assert!(
        claims.runs[0].died && !claims.runs[1].died,
        "what died is a recovery, as ever: {claims:?}"
    );
}

pub(super) async fn only_a_pause_and_a_release_wait_for_the_clock(store: Shared) {
    waiting(&store, "paused", at(10)).await;
    let released = running(&store, "released", "w", at(0)).await;
    store
        .release(released, Due::At(at(20)))
        .await
        .expect("a claim is released");
    // A run whose cancel cannot be executed now rests in the same way.
    let cancelled = running(&store, "cancelled", "w", at(0)).await;
    cancel(&store, "cancelled", please("enough", at(1))).await;
    store
        .release(cancelled, Due::At(at(30)))
        .await
        .expect("a claim is released");
    let mut now = at(9);
    for (id, due_at) in [
        ("paused", at(10)),
        ("released", at(20)),
        ("cancelled", at(30)),
    ] {
        for request in [
            any("w", now, 9),
            ClaimRequest {
                limit: 0,
                ..any("w", now, 9)
            },
        ] {
            let none = claim(&store, request).await;
            assert_eq!(
                (ids(&none), none.next_due),
                (vec![], Some(due_at)),
                "{id} waits"
            );
        }
        now = due_at;
        assert_eq!(
            ids(&claim(&store, any("w", now, 9)).await),
            [id],
            "its time has come"
        );
    }
}

pub(super) async fn a_run_paused_without_a_time_waits_for_a_cancel(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    commit(
        &store,
        Commit {
            due_at: None,
            ..pause(held, "a", 2, at(0))
        },
    )
    .await;
    let run = read(&store, "a").await;
    assert_eq!(
        (run.status, run.due_at, run.worker),
        (Status::Suspended, None, None)
    );
    let none = claim(&store, any("w", at(1_000_000), 9)).await;
    assert_eq!(
        (ids(&none), none.next_due),
        (vec![], None),
        "it waits for no time"
    );
    let none = claim(&store, one("w", at(1_000_000), "a")).await;
    assert_eq!(
        (ids(&none), none.next_due),
        (vec![], None),
        "by its id neither"
    );
    assert_eq!(
        cancel(&store, "a", please("enough", at(5))).await.due_at,
        Some(at(5)),
        "it is ready"
    );
    assert_eq!(
        ids(&claim(&store, any("w", at(1), 9)).await),
        ["a"],
        "and can be claimed"
    );
}

pub(super) async fn ready_and_waiting_runs_are_claimed_in_one_order(store: Shared) {
    lease(&store, "w", at(1_000)).await;
    for (workflow, id, due_at) in [
        ("x", "6", 60),
        ("y", "2", 20),
        ("x", "4", 40),
        ("y", "late", 95),
    ] {
        waiting_of(&store, workflow, id, at(due_at)).await;
    }
    for (workflow, id, due_at) in [
        ("x", "1", 10),
        ("y", "5", 50),
        ("x", "3", 30),
        ("y", "7", 200),
        ("x", "4 too", 40),
    ] {
        create(
            &store,
            NewRun {
                workflow: workflow.to_owned(),
                ..new_run(id, at(due_at))
            },
        )
        .await;
    }
    let mut order = Vec::new();
    for next_due in [30, 40, 60] {
        let claims = claim(&store, any("w", at(90), 2)).await;
        assert_eq!(
            claims.next_due,
            Some(at(next_due)),
            "of the first that is left over"
        );
        order.extend(ids(&claims).into_iter().map(str::to_owned));
    }
    let claims = claim(&store, any("w", at(90), 9)).await;
    assert_eq!(claims.next_due, Some(at(95)), "one waits still");
    order.extend(ids(&claims).into_iter().map(str::to_owned));
    assert_eq!(
        order,
        ["1", "2", "3", "4", "4 too", "5", "6", "7"],
        "neither keeps the other waiting"
    );
}

pub(super) async fn the_next_time_is_that_of_a_run_left_over(store: Shared) {
    lease(&store, "w", at(1_000)).await;
    for (id, created_at) in [("c", 3), ("a", 1), ("b", 2)] {
        queued(&store, id, at(created_at)).await;
    }
    for (claimed, next_due) in [("a", Some(at(2))), ("b", Some(at(3))), ("c", None)] {
        let claims = claim(&store, any("w", at(9), 1)).await;
        assert_eq!((ids(&claims), claims.next_due), (vec![claimed], next_due));
    }
}

pub(super) async fn the_next_time_is_that_of_a_future_run(store: Shared) {
    lease(&store, "w", at(1_000)).await;
    assert_eq!(
        claim(&store, any("w", at(0), 9)).await.next_due,
        None,
        "there is nothing"
    );
    for (workflow, id, due_at) in [("order", "a", 20), ("billing", "b", 10), ("order", "c", 30)] {
        waiting_of(&store, workflow, id, at(due_at)).await;
    }
    assert_eq!(
        claim(&store, any("w", at(0), 9)).await.next_due,
        Some(at(10)),
        "of any workflow"
    );
    let orders = |now| ClaimRequest {
        workflows: Some(vec![WORKFLOW.to_owned()]),
        ..any("w", now, 9)
    };
    assert_eq!(
        claim(&store, orders(at(0))).await.next_due,
        Some(at(20)),
        "of those asked for"
    );
    let claims = claim(&store, orders(at(20))).await;
    assert_eq!(
        (ids(&claims), claims.next_due),
        (vec!["a"], Some(at(30))),
        "of those not in the answer"
    );
}

pub(super) async fn the_next_time_is_the_end_of_anothers_lease(store: Shared) {
    running(&store, "a", "one", at(0)).await;
    running(&store, "b", "two", at(0)).await;
    lease(&store, "one", at(50)).await;
    lease(&store, "two", at(40)).await;
    lease(&store, "idle", at(30)).await;
    for (worker, next_due) in [("idle", at(40)), ("two", at(50)), ("one", at(40))] {
        let claims = claim(&store, any(worker, at(1), 9)).await;
        assert_eq!(
            claims.next_due,
            Some(next_due),
            "{worker}: its own lease and that of one who holds nothing do not count"
        );
    }
    let billing = ClaimRequest {
        workflows: Some(vec!["billing".to_owned()]),
        ..any("idle", at(1), 9)
    };
    assert_eq!(
        claim(&store, billing).await.next_due,
        None,
        "nothing of this workflow is held"
    );
    waiting(&store, "c", at(45)).await;
    assert_eq!(
        claim(&store, any("idle", at(1), 9)).await.next_due,
        Some(at(40)),
        "the earlier of both"
    );
    lease(&store, "two", at(60)).await;
    assert_eq!(
        claim(&store, any("idle", at(1), 9)).await.next_due,
        Some(at(45)),
        "the earlier of both"
    );
}

pub(super) async fn the_next_time_of_one_run_is_its_own(store: Shared) {
    running(&store, "held", "one", at(0)).await;
    lease(&store, "one", at(50)).await;
    running(&store, "other", "two", at(0)).await;
    lease(&store, "two", at(40)).await;
    lease(&store, "w", at(1_000)).await;
    waiting(&store, "earlier", at(5)).await;
    waiting(&store, "later", at(20)).await;
    for (id, next_due) in [
        ("later", Some(at(20))),
        ("held", Some(at(50))),
        ("nobody", None),
    ] {
        let claims = claim(&store, one("w", at(1), id)).await;
        assert_eq!(
            (ids(&claims), claims.next_due),
            (vec![], next_due),
            "{id:?}"
        );
    }
    let claims = claim(&store, one("w", at(20), "later")).await;
    assert_eq!(
        (ids(&claims), claims.next_due),
        (vec!["later"], None),
        "it is in the answer"
    );
}

pub(super) async fn a_claim_at_the_next_time_finds_something(store: Shared) {
    running(&store, "leased", "dead", at(0)).await;
    lease(&store, "dead", at(10)).await;
    let due = running(&store, "due", "w", at(0)).await;
    store
        .release(due, Due::At(at(20)))
        .await
        .expect("a claim is released");
    let paused = running(&store, "paused", "w", at(0)).await;
    commit(&store, pause(paused, "paused", 2, at(30))).await;
    let mut now = at(1);
    for (expected, time) in [("leased", at(10)), ("due", at(20)), ("paused", at(30))] {
        let none = claim(&store, any("w", now, 9)).await;
        assert_eq!(
            (ids(&none), none.next_due),
            (vec![], Some(time)),
            "{expected:?} comes next"
        );
        now = time;
        assert_eq!(
            ids(&claim(&store, any("w", now, 1)).await),
            [expected],
            "at that very time"
        );
    }
    assert_eq!(
        claim(&store, any("w", now, 9)).await.next_due,
        None,
        "nothing comes"
    );
}
