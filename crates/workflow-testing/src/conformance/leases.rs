//! Leases: the claims of a worker last as long as its lease.

use workflow_engine::Status;
use workflow_engine::store::{CancelRequest, Commit, Due};

use super::fixture::*;
use super::snapshot::Snapshot;

pub(super) async fn an_expired_lease_is_a_recovery(store: SharedStore) {
    create_running(&store, "a", "w0", at(0)).await;
    let waiting = create_running(&store, "waiting", "w0", at(0)).await;
    commit(&store, suspend(waiting, "waiting", 2, at(500))).await;
    for n in 1..4_i64 {
        let now = at(10 * n);
        let heir = format!("w{n}");
        renew_lease(&store, &format!("w{}", n - 1), now).await;
        renew_lease(&store, &heir, at(1_000)).await;
        let claims = claim(&store, request_any(&heir, now, 9)).await;
        assert_eq!(
            claimed_ids(&claims),
            ["a"],
            "what a dead worker held is due, and nothing else"
        );
        let claimed = &claims.runs[0];
        assert!(claimed.died, "its worker died");
        assert_eq!(
            i64::from(claimed.run.recoveries),
            n,
            "every recovery counts"
        );
        assert_eq!(i64::try_from(claimed.claim.epoch), Ok(n + 1));
        assert_eq!(
            claimed.run,
            read_run(&store, "a").await,
            "the run comes with this claim counted"
        );
        assert_eq!(
            claimed.run.worker.as_deref(),
            Some(heir.as_str()),
            "its heir holds it"
        );
    }
}

pub(super) async fn the_runs_that_a_worker_holds_are_returned(store: SharedStore) {
    create_running(&store, "theirs", "other", at(0)).await;
    let paused = create_running(&store, "paused", "w", at(0)).await;
    create_running(&store, "a", "w", at(0)).await;
    create_ended(&store, "over", Status::Completed, at(0)).await;
    create_running(&store, "b", "w", at(0)).await;
    create_queued(&store, "due", at(0)).await;
    commit(&store, suspend(paused, "paused", 2, at(500))).await;
    assert_eq!(held_runs(&store, "w").await, ["a", "b"]);
    assert_eq!(held_runs(&store, "nobody").await, [""; 0]);
    // The lease has expired, and a claim has noticed it.
    renew_lease(&store, "w", at(10)).await;
    claim(&store, request_any("other", at(15), 0)).await;
    assert_eq!(held_runs(&store, "w").await, [""; 0], "they are due now");
    assert_eq!(held_runs(&store, "other").await, ["theirs"]);
}

pub(super) async fn a_lease_lasts_until_it_expires(store: SharedStore) {
    let first = create_running(&store, "a", "w", at(0)).await;
    create_running(&store, "b", "w", at(0)).await;
    renew_lease(&store, "w", at(10)).await;
    renew_lease(&store, "other", at(1_000)).await;
    let none = claim(&store, request_any("other", at(9), 9)).await;
    assert_eq!(
        (claimed_ids(&none), none.next_due),
        (vec![], Some(at(10))),
        "the lease is not over"
    );
    assert_eq!(
        claimed_ids(&claim(&store, request_one("other", at(9), "a")).await),
        [""; 0],
        "the lease is not over"
    );
    commit(&store, append(first, "a", 2, Status::Running, at(9))).await;
    let none = claim(&store, request_any("other", at(15), 0)).await;
    assert_eq!(
        none.next_due,
        Some(at(10)),
        "its runs are due when it ran out, not when that is noticed"
    );
    let run = read_run(&store, "a").await;
    assert_eq!(
        (run.due_at, run.worker.as_deref()),
        (Some(at(10)), Some("w")),
        "the dead worker stays on the run"
    );
    assert_eq!(
        (run.recoveries, run.status),
        (0, Status::Running),
        "it has not been recovered yet"
    );
    create_queued(&store, "early", at(9)).await;
    create_queued(&store, "late", at(11)).await;
    let claims = claim(&store, request_any("other", at(15), 9)).await;
    assert_eq!(
        claimed_ids(&claims),
        ["early", "a", "b", "late"],
        "the order is that of the times"
    );
    let died: Vec<_> = claims.runs.iter().map(|claimed| claimed.died).collect();
    assert_eq!(
        died,
        [false, true, true, false],
        "only what the dead worker held is a recovery"
    );
}

pub(super) async fn a_worker_that_claims_is_alive(store: SharedStore) {
    let claim_of_a = create_running(&store, "a", "w", at(0)).await;
    renew_lease(&store, "w", at(10)).await;
    create_queued(&store, "b", at(5)).await;
    // The worker's clock was set forwards, or its machine was suspended, so the lease has expired
    // by this clock.
    let claims = claim(&store, request_any("w", at(1_000), 9)).await;
    assert_eq!(
        claimed_ids(&claims),
        ["b"],
        "it holds the other one already"
    );
    commit(
        &store,
        append(claim_of_a, "a", 2, Status::Running, at(1_000)),
    )
    .await;
    renew_lease(&store, "other", at(9_000)).await;
    let claims = claim(&store, request_any("other", at(1_000), 9)).await;
    assert_eq!(
        claims.runs.iter().filter(|claimed| claimed.died).count(),
        2,
        "for others it has expired"
    );
}

pub(super) async fn a_dead_worker_that_comes_back_is_a_recovery_too(store: SharedStore) {
    let old = create_running(&store, "a", "w", at(0)).await;
    renew_lease(&store, "w", at(10)).await;
    renew_lease(&store, "other", at(1_000)).await;
    claim(&store, request_any("other", at(10), 0)).await;
    renew_lease(&store, "w", at(1_000)).await;
    let claimed = claim_run(&store, "w", at(11), "a").await;
    assert!(
        claimed.died && claimed.run.recoveries == 1,
        "its lease had run out: {claimed:?}"
    );
    assert_eq!(claimed.claim.epoch, old.epoch + 1);
    let again = claim_run(&store, "w", at(12), "a").await;
    assert!(
        !again.died && again.run.recoveries == 1,
        "now it holds the run: {again:?}"
    );
}

pub(super) async fn an_unnoticed_expiry_loses_nothing(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    renew_lease(&store, "w", at(10)).await;
    renew_lease(&store, "other", at(1_000)).await;
    commit(&store, append(held, "a", 2, Status::Running, at(50))).await;
    renew_lease(&store, "w", at(60)).await;
    assert_eq!(
        claimed_ids(&claim(&store, request_any("other", at(55), 9)).await),
        [""; 0],
        "the lease was renewed before anyone asked"
    );
    commit(&store, append(held, "a", 3, Status::Running, at(55))).await;
}

pub(super) async fn a_renewed_lease_lasts_longer(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    renew_lease(&store, "other", at(1_000)).await;
    for until in [20, 30, 40] {
        renew_lease(&store, "w", at(until)).await;
        let none = claim(&store, request_any("other", at(until - 1), 9)).await;
        assert_eq!(
            (claimed_ids(&none), none.next_due),
            (vec![], Some(at(until))),
            "the lease was renewed"
        );
    }
    commit(&store, append(held, "a", 2, Status::Running, at(39))).await;
    let before = Snapshot::of(&store).await;
    renew_lease(&store, "w", at(50)).await;
    assert_eq!(
        Snapshot::of(&store).await,
        before,
        "a renewal touches no run"
    );
    renew_lease(&store, "w", at(45)).await;
    assert_eq!(
        claimed_ids(&claim(&store, request_any("other", at(45), 9)).await),
        ["a"],
        "the last word counts"
    );
}

pub(super) async fn a_worker_has_one_lease(store: SharedStore) {
    renew_lease(&store, "one", at(10)).await;
    create_queued(&store, "queued", at(0)).await;
    claim_run(&store, "one", at(0), "queued").await;
    let paused = create_running(&store, "paused", "one", at(0)).await;
    commit(&store, suspend(paused, "paused", 2, at(0))).await;
    claim_run(&store, "one", at(0), "paused").await;
    for worker in ["one", "two"] {
        for n in 0..2 {
            create_running(&store, &format!("{worker}-{n}"), worker, at(0)).await;
        }
    }
    renew_lease(&store, "one", at(10)).await;
    renew_lease(&store, "two", at(20)).await;
    renew_lease(&store, "w", at(1_000)).await;
    let claims = claim(&store, request_any("w", at(15), 9)).await;
    assert_eq!(
        claimed_ids(&claims),
        ["queued", "paused", "one-0", "one-1"],
        "all runs of one worker, with any status"
    );
    assert!(
        claims.runs.iter().all(|claimed| claimed.died),
        "it died with all of them: {claims:?}"
    );
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(20), 9)).await),
        ["two-0", "two-1"],
        "and then the other"
    );
}

pub(super) async fn a_retired_worker_is_no_recovery(store: SharedStore) {
    create_running(&store, "a", "w", at(0)).await;
    let paused = create_running(&store, "paused", "w", at(0)).await;
    commit(&store, suspend(paused, "paused", 2, at(500))).await;
    create_running(&store, "others", "other", at(0)).await;
    store.retire("w", at(5)).await.expect("a worker retires");
    let run = read_run(&store, "a").await;
    assert_eq!(
        (run.due_at, run.worker),
        (Some(at(5)), None),
        "its runs are due at once, and not claimed"
    );
    assert_eq!(
        read_run(&store, "paused").await.due_at,
        Some(at(500)),
        "runs that it did not hold are unchanged"
    );
    assert_eq!(
        read_run(&store, "others").await.worker.as_deref(),
        Some("other"),
        "and so does what others hold"
    );
    let claims = claim(&store, request_any("other", at(5), 9)).await;
    assert_eq!(claimed_ids(&claims), ["a"]);
    assert!(
        !claims.runs[0].died && claims.runs[0].run.recoveries == 0,
        "no worker died: {claims:?}"
    );
    store
        .retire("w", at(6))
        .await
        .expect("a worker that holds nothing retires");
    store
        .retire("nobody", at(6))
        .await
        .expect("an unknown worker retires");
    assert_eq!(
        read_run(&store, "a").await.worker.as_deref(),
        Some("other"),
        "retiring twice takes nothing from others"
    );
}

pub(super) async fn a_released_run_is_no_recovery(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    store
        .release(held, Due::At(at(1)))
        .await
        .expect("a claim is released");
    renew_lease(&store, "w", at(2)).await;
    renew_lease(&store, "other", at(1_000)).await;
    let claimed = claim_run(&store, "other", at(50), "a").await;
    assert!(
        !claimed.died && claimed.run.recoveries == 0,
        "no worker died with it: {claimed:?}"
    );
}

pub(super) async fn progress_resets_the_recoveries(store: SharedStore) {
    create_running(&store, "a", "w0", at(0)).await;
    renew_lease(&store, "w0", at(10)).await;
    renew_lease(&store, "w1", at(20)).await;
    let first = claim_run(&store, "w1", at(10), "a").await;
    assert_eq!(first.run.recoveries, 1);
    let idle = |claim, seq| Commit {
        claim,
        records: vec![
            record_without_entry("a", seq, at(11), 1),
            record_without_entry("a", seq + 1, at(11), 1),
        ],
        status: Status::Running,
        due_at: None,
    };
    commit(&store, idle(first.claim, 2)).await;
    assert_eq!(
        read_run(&store, "a").await.recoveries,
        1,
        "records without an entry are no progress"
    );
    renew_lease(&store, "w2", at(1_000)).await;
    let second = claim_run(&store, "w2", at(20), "a").await;
    assert_eq!(second.run.recoveries, 2);
    store
        .release(second.claim, Due::At(at(21)))
        .await
        .expect("a claim is released");
    let third = claim_run(&store, "w2", at(21), "a").await;
    assert_eq!(
        third.run.recoveries, 2,
        "a release is no progress, and no recovery"
    );
    commit(
        &store,
        Commit {
            status: Status::Suspended,
            due_at: Some(at(22)),
            ..idle(third.claim, 4)
        },
    )
    .await;
    let fourth = claim_run(&store, "w2", at(22), "a").await;
    assert_eq!(
        fourth.run.recoveries, 2,
        "a pause without an entry is no progress either"
    );
    let records = vec![
        record_without_entry("a", 6, at(22), 1),
        record("a", 7, at(22), 1),
        record_without_entry("a", 8, at(22), 1),
    ];
    commit(
        &store,
        Commit {
            records,
            ..idle(fourth.claim, 6)
        },
    )
    .await;
    assert_eq!(
        read_run(&store, "a").await.recoveries,
        0,
        "one record with an entry is progress"
    );
}

pub(super) async fn a_renewal_returns_the_cancels_of_held_runs(store: SharedStore) {
    assert_eq!(
        renew_lease(&store, "w", at(100)).await,
        [],
        "it holds nothing"
    );
    let a = create_running(&store, "a", "w", at(0)).await;
    let b = create_running(&store, "b", "w", at(0)).await;
    let c = create_running(&store, "c", "w", at(0)).await;
    create_running(&store, "others", "other", at(0)).await;
    create_queued(&store, "due", at(0)).await;
    let hurry = CancelRequest {
        reason: None,
        immediate: true,
        at: at(2),
    };
    for (id, request) in [
        ("a", cancel_request("enough", at(1))),
        ("c", hurry.clone()),
        ("others", cancel_request("x", at(1))),
    ] {
        request_cancel(&store, id, request).await;
    }
    request_cancel(&store, "due", cancel_request("x", at(1))).await;
    let expected = [
        (a.key, cancel_request("enough", at(1))),
        (c.key, hurry.clone()),
    ];
    for _ in 0..2 {
        assert_eq!(
            renew_lease(&store, "w", at(100)).await,
            expected,
            "the cancels of the runs that it holds, until they are executed"
        );
    }
    commit(&store, append(a, "a", 2, Status::Cancelled, at(3))).await;
    assert_eq!(
        renew_lease(&store, "w", at(100)).await,
        [(c.key, hurry)],
        "a cancel that was executed is not returned"
    );
    store
        .release(c, Due::At(at(4)))
        .await
        .expect("a claim is released");
    commit(&store, append(b, "b", 2, Status::Running, at(4))).await;
    assert_eq!(
        renew_lease(&store, "w", at(100)).await,
        [],
        "a released run is not held"
    );
}
