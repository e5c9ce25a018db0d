//! Due times: when runs can be claimed, and when the next claim may find one.

use workflow_engine::Status;
use workflow_engine::store::{ClaimRequest, Commit, Due, NewRun};

use super::fixture::*;

pub(super) async fn a_suspended_run_is_due_at_its_time(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    commit(&store, suspend(held, "a", 2, at(10))).await;
    let run = read_run(&store, "a").await;
    assert_eq!(
        (run.status, run.due_at, run.worker),
        (Status::Suspended, Some(at(10)), None)
    );
    let early = claim(&store, request_any("w", at(9), 9)).await;
    assert_eq!(
        (claimed_ids(&early), early.next_due),
        (vec![], Some(at(10))),
        "it is not due yet"
    );
    let early = claim(&store, request_one("w", at(9), "a")).await;
    assert_eq!(
        (claimed_ids(&early), early.next_due),
        (vec![], Some(at(10))),
        "by its id neither"
    );
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(10), 9)).await),
        ["a"],
        "it is due at that very time"
    );
}

pub(super) async fn a_released_run_is_due_at_its_time(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    let before = read_run(&store, "a").await;
    store
        .release(held, Due::At(at(10)))
        .await
        .expect("a claim is released");
    let run = read_run(&store, "a").await;
    let expected = workflow_engine::Run {
        due_at: Some(at(10)),
        worker: None,
        ..before
    };
    assert_eq!(run, expected, "a release changes nothing else");
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(9), 9)).await),
        [""; 0],
        "it is not due yet"
    );
    let claims = claim(&store, request_any("w", at(10), 9)).await;
    assert_eq!(claimed_ids(&claims), ["a"], "it is due at that very time");
    assert_eq!(claims.runs[0].claim.epoch, 2);
}

/// The seconds by which the clock was set back after the check had written its times.
const CLOCK_SETBACK_SECONDS: i64 = 3_600;

pub(super) async fn a_ready_run_does_not_wait_for_the_clock(store: SharedStore) {
    let ahead = at(CLOCK_SETBACK_SECONDS);
    create_queued(&store, "queued", ahead).await;
    let released = create_running(&store, "released", "w", ahead).await;
    store
        .release(released, Due::Now(ahead))
        .await
        .expect("a claim is released");
    let again = create_waiting(&store, "paused and released", at(0)).await;
    let paused = claim_run(&store, "w", ahead, "paused and released")
        .await
        .claim;
    assert_eq!(paused.key, again);
    store
        .release(paused, Due::Now(ahead))
        .await
        .expect("a claim is released");
    create_running(&store, "retired", "retiring", ahead).await;
    store
        .retire("retiring", ahead)
        .await
        .expect("a worker retires");
    create_running(&store, "died", "dead", ahead).await;
    renew_lease(&store, "dead", ahead).await;
    renew_lease(&store, "heir", at(9 * CLOCK_SETBACK_SECONDS)).await;
    claim(&store, request_any("heir", ahead, 0)).await;
    for (id, status) in [
        ("cancelled", "paused"),
        ("cancelled twice", "paused"),
        ("hastened", "released"),
    ] {
        create_waiting(&store, id, at(2 * CLOCK_SETBACK_SECONDS)).await;
        assert_eq!(
            read_run(&store, id).await.status,
            Status::Suspended,
            "{status}"
        );
        request_cancel(&store, id, cancel_request("enough", ahead)).await;
    }
    // This also holds for a run that was postponed after its cancel, when the cancel is requested
    // again.
    let put_off = claim_run(&store, "w", at(0), "hastened").await.claim;
    store
        .release(put_off, Due::At(at(2 * CLOCK_SETBACK_SECONDS)))
        .await
        .expect("a claim is released");
    request_cancel(&store, "hastened", cancel_request("now", ahead)).await;
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
            read_run(&store, id).await.due_at,
            Some(ahead),
            "{id} is ready since a time that lies ahead"
        );
    }
    // The time is that of the clock that was set back.
    let now = at(1);
    let orders = Some(vec![WORKFLOW.to_owned()]);
    let none = claim(&store, request_any("heir", now, 0)).await;
    assert_eq!(
        (claimed_ids(&none), none.next_due),
        (vec![], Some(now)),
        "a run can be claimed now, and not only in an hour"
    );
    let none = claim(
        &store,
        ClaimRequest {
            limit: 0,
            ..request_one("heir", now, "queued")
        },
    )
    .await;
    assert_eq!(
        (claimed_ids(&none), none.next_due),
        (vec![], Some(now)),
        "by its id too"
    );
    let none = claim(
        &store,
        ClaimRequest {
            workflows: Some(vec!["other".to_owned()]),
            ..request_any("heir", now, 9)
        },
    )
    .await;
    assert_eq!(
        (none.unknown, none.next_due),
        (vec![WORKFLOW.to_owned()], None),
        "the run is due, although it was not requested"
    );
    claim_run(&store, "heir", now, "queued").await;
    let claims = claim(
        &store,
        ClaimRequest {
            workflows: orders,
            ..request_any("heir", now, 3)
        },
    )
    .await;
    assert_eq!(
        (claimed_ids(&claims), claims.next_due),
        (all[1..4].to_vec(), Some(now)),
        "and so can the runs beyond the limit"
    );
    let claims = claim(&store, request_any("heir", now, 99)).await;
    assert_eq!(
        (claimed_ids(&claims), claims.next_due),
        (all[4..].to_vec(), None),
        "all remaining runs can be claimed"
    );
    assert!(
        claims.runs[0].died && !claims.runs[1].died,
        "only the run of the dead worker is a recovery: {claims:?}"
    );
}

pub(super) async fn only_suspended_and_released_runs_wait_for_the_clock(store: SharedStore) {
    create_waiting(&store, "paused", at(10)).await;
    let released = create_running(&store, "released", "w", at(0)).await;
    store
        .release(released, Due::At(at(20)))
        .await
        .expect("a claim is released");
    // A run whose cancel cannot be executed now waits in the same way.
    let cancelled = create_running(&store, "cancelled", "w", at(0)).await;
    request_cancel(&store, "cancelled", cancel_request("enough", at(1))).await;
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
            request_any("w", now, 9),
            ClaimRequest {
                limit: 0,
                ..request_any("w", now, 9)
            },
        ] {
            let none = claim(&store, request).await;
            assert_eq!(
                (claimed_ids(&none), none.next_due),
                (vec![], Some(due_at)),
                "{id} waits"
            );
        }
        now = due_at;
        assert_eq!(
            claimed_ids(&claim(&store, request_any("w", now, 9)).await),
            [id],
            "it is due now"
        );
    }
}

pub(super) async fn a_run_suspended_without_a_time_waits_for_a_cancel(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    commit(
        &store,
        Commit {
            due_at: None,
            ..suspend(held, "a", 2, at(0))
        },
    )
    .await;
    let run = read_run(&store, "a").await;
    assert_eq!(
        (run.status, run.due_at, run.worker),
        (Status::Suspended, None, None)
    );
    let none = claim(&store, request_any("w", at(1_000_000), 9)).await;
    assert_eq!(
        (claimed_ids(&none), none.next_due),
        (vec![], None),
        "it waits for no time"
    );
    let none = claim(&store, request_one("w", at(1_000_000), "a")).await;
    assert_eq!(
        (claimed_ids(&none), none.next_due),
        (vec![], None),
        "by its id neither"
    );
    assert_eq!(
        request_cancel(&store, "a", cancel_request("enough", at(5)))
            .await
            .due_at,
        Some(at(5)),
        "it is ready"
    );
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(1), 9)).await),
        ["a"],
        "and can be claimed"
    );
}

pub(super) async fn ready_and_waiting_runs_are_claimed_in_one_order(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    for (workflow, id, due_at) in [
        ("x", "6", 60),
        ("y", "2", 20),
        ("x", "4", 40),
        ("y", "late", 95),
    ] {
        create_waiting_of(&store, workflow, id, at(due_at)).await;
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
        let claims = claim(&store, request_any("w", at(90), 2)).await;
        assert_eq!(
            claims.next_due,
            Some(at(next_due)),
            "the time of the first run beyond the limit"
        );
        order.extend(claimed_ids(&claims).into_iter().map(str::to_owned));
    }
    let claims = claim(&store, request_any("w", at(90), 9)).await;
    assert_eq!(claims.next_due, Some(at(95)), "one waits still");
    order.extend(claimed_ids(&claims).into_iter().map(str::to_owned));
    assert_eq!(
        order,
        ["1", "2", "3", "4", "4 too", "5", "6", "7"],
        "neither delays the other"
    );
}

pub(super) async fn the_next_time_is_that_of_a_due_run_beyond_the_limit(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    for (id, created_at) in [("c", 3), ("a", 1), ("b", 2)] {
        create_queued(&store, id, at(created_at)).await;
    }
    for (claimed, next_due) in [("a", Some(at(2))), ("b", Some(at(3))), ("c", None)] {
        let claims = claim(&store, request_any("w", at(9), 1)).await;
        assert_eq!(
            (claimed_ids(&claims), claims.next_due),
            (vec![claimed], next_due)
        );
    }
}

pub(super) async fn the_next_time_is_that_of_a_future_run(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    assert_eq!(
        claim(&store, request_any("w", at(0), 9)).await.next_due,
        None,
        "there is nothing"
    );
    for (workflow, id, due_at) in [("order", "a", 20), ("billing", "b", 10), ("order", "c", 30)] {
        create_waiting_of(&store, workflow, id, at(due_at)).await;
    }
    assert_eq!(
        claim(&store, request_any("w", at(0), 9)).await.next_due,
        Some(at(10)),
        "of any workflow"
    );
    let orders = |now| ClaimRequest {
        workflows: Some(vec![WORKFLOW.to_owned()]),
        ..request_any("w", now, 9)
    };
    assert_eq!(
        claim(&store, orders(at(0))).await.next_due,
        Some(at(20)),
        "of the requested workflows"
    );
    let claims = claim(&store, orders(at(20))).await;
    assert_eq!(
        (claimed_ids(&claims), claims.next_due),
        (vec!["a"], Some(at(30))),
        "of those not in the answer"
    );
}

pub(super) async fn the_next_time_is_the_end_of_another_workers_lease(store: SharedStore) {
    create_running(&store, "a", "one", at(0)).await;
    create_running(&store, "b", "two", at(0)).await;
    renew_lease(&store, "one", at(50)).await;
    renew_lease(&store, "two", at(40)).await;
    renew_lease(&store, "idle", at(30)).await;
    for (worker, next_due) in [("idle", at(40)), ("two", at(50)), ("one", at(40))] {
        let claims = claim(&store, request_any(worker, at(1), 9)).await;
        assert_eq!(
            claims.next_due,
            Some(next_due),
            "{worker}: its own lease and the lease of an idle worker do not count"
        );
    }
    let billing = ClaimRequest {
        workflows: Some(vec!["billing".to_owned()]),
        ..request_any("idle", at(1), 9)
    };
    assert_eq!(
        claim(&store, billing).await.next_due,
        None,
        "nothing of this workflow is held"
    );
    create_waiting(&store, "c", at(45)).await;
    assert_eq!(
        claim(&store, request_any("idle", at(1), 9)).await.next_due,
        Some(at(40)),
        "the earlier of both"
    );
    renew_lease(&store, "two", at(60)).await;
    assert_eq!(
        claim(&store, request_any("idle", at(1), 9)).await.next_due,
        Some(at(45)),
        "the earlier of both"
    );
}

pub(super) async fn the_next_time_of_one_run_is_its_own(store: SharedStore) {
    create_running(&store, "held", "one", at(0)).await;
    renew_lease(&store, "one", at(50)).await;
    create_running(&store, "other", "two", at(0)).await;
    renew_lease(&store, "two", at(40)).await;
    renew_lease(&store, "w", at(1_000)).await;
    create_waiting(&store, "earlier", at(5)).await;
    create_waiting(&store, "later", at(20)).await;
    for (id, next_due) in [
        ("later", Some(at(20))),
        ("held", Some(at(50))),
        ("nobody", None),
    ] {
        let claims = claim(&store, request_one("w", at(1), id)).await;
        assert_eq!(
            (claimed_ids(&claims), claims.next_due),
            (vec![], next_due),
            "{id:?}"
        );
    }
    let claims = claim(&store, request_one("w", at(20), "later")).await;
    assert_eq!(
        (claimed_ids(&claims), claims.next_due),
        (vec!["later"], None),
        "it is in the answer"
    );
}

pub(super) async fn a_claim_at_the_next_time_finds_a_run(store: SharedStore) {
    create_running(&store, "leased", "dead", at(0)).await;
    renew_lease(&store, "dead", at(10)).await;
    let due = create_running(&store, "due", "w", at(0)).await;
    store
        .release(due, Due::At(at(20)))
        .await
        .expect("a claim is released");
    let paused = create_running(&store, "paused", "w", at(0)).await;
    commit(&store, suspend(paused, "paused", 2, at(30))).await;
    let mut now = at(1);
    for (expected, time) in [("leased", at(10)), ("due", at(20)), ("paused", at(30))] {
        let none = claim(&store, request_any("w", now, 9)).await;
        assert_eq!(
            (claimed_ids(&none), none.next_due),
            (vec![], Some(time)),
            "{expected:?} comes next"
        );
        now = time;
        assert_eq!(
            claimed_ids(&claim(&store, request_any("w", now, 1)).await),
            [expected],
            "at that very time"
        );
    }
    assert_eq!(
        claim(&store, request_any("w", now, 9)).await.next_due,
        None,
        "no run is due later"
    );
}
