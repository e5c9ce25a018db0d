//! Leases: the claims of a worker last as long as its lease.

use super::fixture::*;
use super::snapshot::Snapshot;
use workflow_engine::Status;
use workflow_engine::store::{CancelRequest, Commit, Due};

pub(super) async fn a_lease_that_runs_out_is_a_recovery(store: Shared) {
    running(&store, "a", "w0", at(0)).await;
    let waiting = running(&store, "waiting", "w0", at(0)).await;
    commit(&store, pause(waiting, "waiting", 2, at(500))).await;
    for n in 1..4_i64 {
        let (now, heir) = (at(10 * n), format!("w{n}"));
        lease(&store, &format!("w{}", n - 1), now).await;
        lease(&store, &heir, at(1_000)).await;
        let claims = claim(&store, any(&heir, now, 9)).await;
        assert_eq!(
            ids(&claims),
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
            read(&store, "a").await,
            "the run comes with this claim counted"
        );
        assert_eq!(
            claimed.run.worker.as_deref(),
            Some(heir.as_str()),
            "its heir holds it"
        );
    }
}

pub(super) async fn what_a_worker_holds_is_told(store: Shared) {
    running(&store, "theirs", "other", at(0)).await;
    let paused = running(&store, "paused", "w", at(0)).await;
    running(&store, "a", "w", at(0)).await;
    ended(&store, "over", Status::Completed, at(0)).await;
    running(&store, "b", "w", at(0)).await;
    queued(&store, "due", at(0)).await;
    commit(&store, pause(paused, "paused", 2, at(500))).await;
    assert_eq!(held(&store, "w").await, ["a", "b"]);
    assert_eq!(held(&store, "nobody").await, [""; 0]);
    // The lease has expired, and a claim has noticed it.
    lease(&store, "w", at(10)).await;
    claim(&store, any("other", at(15), 0)).await;
    assert_eq!(held(&store, "w").await, [""; 0], "they are due now");
    assert_eq!(held(&store, "other").await, ["theirs"]);
}

pub(super) async fn a_lease_lasts_until_it_is_over(store: Shared) {
    let first = running(&store, "a", "w", at(0)).await;
    running(&store, "b", "w", at(0)).await;
    lease(&store, "w", at(10)).await;
    lease(&store, "other", at(1_000)).await;
    let none = claim(&store, any("other", at(9), 9)).await;
    assert_eq!(
        (ids(&none), none.next_due),
        (vec![], Some(at(10))),
        "the lease is not over"
    );
    assert_eq!(
        ids(&claim(&store, one("other", at(9), "a")).await),
        [""; 0],
        "the lease is not over"
    );
    commit(&store, append(first, "a", 2, Status::Running, at(9))).await;
    let none = claim(&store, any("other", at(15), 0)).await;
    assert_eq!(
        none.next_due,
        Some(at(10)),
        "its runs are due when it ran out, not when that is noticed"
    );
    let run = read(&store, "a").await;
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
    queued(&store, "early", at(9)).await;
    queued(&store, "late", at(11)).await;
    let claims = claim(&store, any("other", at(15), 9)).await;
    assert_eq!(
        ids(&claims),
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

pub(super) async fn a_worker_that_asks_is_alive(store: Shared) {
    let claim_of_a = running(&store, "a", "w", at(0)).await;
    lease(&store, "w", at(10)).await;
    queued(&store, "b", at(5)).await;
    // Its clock was set forwards, or its machine was suspended: by its own clock the lease has
    // expired.
    let claims = claim(&store, any("w", at(1_000), 9)).await;
    assert_eq!(ids(&claims), ["b"], "it holds the other one already");
    commit(
        &store,
        append(claim_of_a, "a", 2, Status::Running, at(1_000)),
    )
    .await;
    lease(&store, "other", at(9_000)).await;
    let claims = claim(&store, any("other", at(1_000), 9)).await;
    assert_eq!(
        claims.runs.iter().filter(|claimed| claimed.died).count(),
        2,
        "for others it has expired"
    );
}

pub(super) async fn a_dead_worker_that_comes_back_is_a_recovery_too(store: Shared) {
    let old = running(&store, "a", "w", at(0)).await;
    lease(&store, "w", at(10)).await;
    lease(&store, "other", at(1_000)).await;
    claim(&store, any("other", at(10), 0)).await;
    lease(&store, "w", at(1_000)).await;
    let claimed = take(&store, "w", at(11), "a").await;
    assert!(
        claimed.died && claimed.run.recoveries == 1,
        "its lease had run out: {claimed:?}"
    );
    assert_eq!(claimed.claim.epoch, old.epoch + 1);
    let again = take(&store, "w", at(12), "a").await;
    assert!(
        !again.died && again.run.recoveries == 1,
        "now it holds the run: {again:?}"
    );
}

pub(super) async fn an_unnoticed_lapse_loses_nothing(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    lease(&store, "w", at(10)).await;
    lease(&store, "other", at(1_000)).await;
    commit(&store, append(held, "a", 2, Status::Running, at(50))).await;
    lease(&store, "w", at(60)).await;
    assert_eq!(
        ids(&claim(&store, any("other", at(55), 9)).await),
        [""; 0],
        "the lease was renewed before anyone asked"
    );
    commit(&store, append(held, "a", 3, Status::Running, at(55))).await;
}

pub(super) async fn a_renewed_lease_lasts_longer(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    lease(&store, "other", at(1_000)).await;
    for until in [20, 30, 40] {
        lease(&store, "w", at(until)).await;
        let none = claim(&store, any("other", at(until - 1), 9)).await;
        assert_eq!(
            (ids(&none), none.next_due),
            (vec![], Some(at(until))),
            "the lease was renewed"
        );
    }
    commit(&store, append(held, "a", 2, Status::Running, at(39))).await;
    let before = Snapshot::of(&store).await;
    lease(&store, "w", at(50)).await;
    assert_eq!(
        Snapshot::of(&store).await,
        before,
        "a renewal touches no run"
    );
    lease(&store, "w", at(45)).await;
    assert_eq!(
        ids(&claim(&store, any("other", at(45), 9)).await),
        ["a"],
        "the last word counts"
    );
}

pub(super) async fn a_lease_is_one_per_worker(store: Shared) {
    lease(&store, "one", at(10)).await;
    queued(&store, "queued", at(0)).await;
    take(&store, "one", at(0), "queued").await;
    let paused = running(&store, "paused", "one", at(0)).await;
    commit(&store, pause(paused, "paused", 2, at(0))).await;
    take(&store, "one", at(0), "paused").await;
    for worker in ["one", "two"] {
        for n in 0..2 {
            running(&store, &format!("{worker}-{n}"), worker, at(0)).await;
        }
    }
    lease(&store, "one", at(10)).await;
    lease(&store, "two", at(20)).await;
    lease(&store, "w", at(1_000)).await;
    let claims = claim(&store, any("w", at(15), 9)).await;
    assert_eq!(
        ids(&claims),
        ["queued", "paused", "one-0", "one-1"],
        "all runs of one worker, with any status"
    );
    assert!(
        claims.runs.iter().all(|claimed| claimed.died),
        "it died with all of them: {claims:?}"
    );
    assert_eq!(
        ids(&claim(&store, any("w", at(20), 9)).await),
        ["two-0", "two-1"],
        "and then the other"
    );
}

pub(super) async fn a_retired_worker_is_no_recovery(store: Shared) {
    running(&store, "a", "w", at(0)).await;
    let paused = running(&store, "paused", "w", at(0)).await;
    commit(&store, pause(paused, "paused", 2, at(500))).await;
    running(&store, "others", "other", at(0)).await;
    store.retire("w", at(5)).await.expect("a worker retires");
    let run = read(&store, "a").await;
    assert_eq!(
        (run.due_at, run.worker),
        (Some(at(5)), None),
        "its runs are due at once, and not claimed"
    );
    assert_eq!(
        read(&store, "paused").await.due_at,
        Some(at(500)),
        "what it did not hold stays as it is"
    );
    assert_eq!(
        read(&store, "others").await.worker.as_deref(),
        Some("other"),
        "and so does what others hold"
    );
    let claims = claim(&store, any("other", at(5), 9)).await;
    assert_eq!(ids(&claims), ["a"]);
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
        .expect("a worker never heard of retires");
    assert_eq!(
        read(&store, "a").await.worker.as_deref(),
        Some("other"),
        "retiring twice takes nothing from others"
    );
}

pub(super) async fn a_released_run_is_no_recovery(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    store
        .release(held, Due::At(at(1)))
        .await
        .expect("a claim is released");
    lease(&store, "w", at(2)).await;
    lease(&store, "other", at(1_000)).await;
    let claimed = take(&store, "other", at(50), "a").await;
    assert!(
        !claimed.died && claimed.run.recoveries == 0,
        "no worker died with it: {claimed:?}"
    );
}

pub(super) async fn progress_resets_the_recoveries(store: Shared) {
    running(&store, "a", "w0", at(0)).await;
    lease(&store, "w0", at(10)).await;
    lease(&store, "w1", at(20)).await;
    let first = take(&store, "w1", at(10), "a").await;
    assert_eq!(first.run.recoveries, 1);
    let idle = |claim, seq| Commit {
        claim,
        records: vec![note("a", seq, at(11), 1), note("a", seq + 1, at(11), 1)],
        status: Status::Running,
        due_at: None,
    };
    commit(&store, idle(first.claim, 2)).await;
    assert_eq!(
        read(&store, "a").await.recoveries,
        1,
        "records without an entry are no progress"
    );
    lease(&store, "w2", at(1_000)).await;
    let second = take(&store, "w2", at(20), "a").await;
    assert_eq!(second.run.recoveries, 2);
    store
        .release(second.claim, Due::At(at(21)))
        .await
        .expect("a claim is released");
    let third = take(&store, "w2", at(21), "a").await;
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
    let fourth = take(&store, "w2", at(22), "a").await;
    assert_eq!(
        fourth.run.recoveries, 2,
        "a pause without an entry is no progress either"
    );
    let records = vec![
        note("a", 6, at(22), 1),
        record("a", 7, at(22), 1),
        note("a", 8, at(22), 1),
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
        read(&store, "a").await.recoveries,
        0,
        "one record with an entry is progress"
    );
}

pub(super) async fn a_renewal_returns_the_cancels_of_what_is_held(store: Shared) {
    assert_eq!(lease(&store, "w", at(100)).await, [], "it holds nothing");
    let a = running(&store, "a", "w", at(0)).await;
    let b = running(&store, "b", "w", at(0)).await;
    let c = running(&store, "c", "w", at(0)).await;
    running(&store, "others", "other", at(0)).await;
    queued(&store, "due", at(0)).await;
    let hurry = CancelRequest {
        reason: None,
        immediate: true,
        at: at(2),
    };
    for (id, request) in [
        ("a", please("enough", at(1))),
        ("c", hurry.clone()),
        ("others", please("x", at(1))),
    ] {
        cancel(&store, id, request).await;
    }
    cancel(&store, "due", please("x", at(1))).await;
    let expected = [(a.key, please("enough", at(1))), (c.key, hurry.clone())];
    for _ in 0..2 {
        assert_eq!(
            lease(&store, "w", at(100)).await,
            expected,
            "those of what it holds, until they are served"
        );
    }
    commit(&store, append(a, "a", 2, Status::Cancelled, at(3))).await;
    assert_eq!(
        lease(&store, "w", at(100)).await,
        [(c.key, hurry)],
        "a cancel that was executed is not returned"
    );
    store
        .release(c, Due::At(at(4)))
        .await
        .expect("a claim is released");
    commit(&store, append(b, "b", 2, Status::Running, at(4))).await;
    assert_eq!(
        lease(&store, "w", at(100)).await,
        [],
        "what was released is not held"
    );
}
