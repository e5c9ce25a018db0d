//! Cancel requests.

use workflow_engine::store::{CancelReply, CancelRequest, Due};
use workflow_engine::{Run, Status, StoreError};

use super::fixture::*;
use super::snapshot::Snapshot;

pub(super) async fn an_unknown_run_cannot_be_cancelled(store: SharedStore) {
    create_queued(&store, "a", at(0)).await;
    let before = Snapshot::of(&store).await;
    let reply = store
        .request_cancel("nobody", cancel_request("x", at(1)))
        .await
        .expect("a cancel is answered");
    assert_eq!(reply, CancelReply::Unknown);
    assert_eq!(Snapshot::of(&store).await, before, "nothing was changed");
}

pub(super) async fn an_ended_run_cannot_be_cancelled(store: SharedStore) {
    for status in [Status::Completed, Status::Failed, Status::Cancelled] {
        create_ended(&store, &status.to_string(), status, at(1)).await;
        let before = Snapshot::of(&store).await;
        let reply = store
            .request_cancel(&status.to_string(), cancel_request("x", at(2)))
            .await
            .expect("a cancel is answered");
        assert_eq!(reply, CancelReply::Ended(status));
        assert_eq!(Snapshot::of(&store).await, before, "nothing was changed");
    }
}

pub(super) async fn a_waiting_run_is_ready_since_its_cancel(store: SharedStore) {
    let held = create_running(&store, "paused", "w", at(0)).await;
    commit(&store, suspend(held, "paused", 2, at(500))).await;
    create_queued(&store, "queued", at(400)).await;
    let released = create_running(&store, "released", "w", at(0)).await;
    store
        .release(released, Due::At(at(300)))
        .await
        .expect("a claim is released");
    for (id, now) in [("queued", 7), ("paused", 6), ("released", 5)] {
        let before = read_run(&store, id).await;
        let request = CancelRequest {
            immediate: id == "queued",
            ..cancel_request("enough", at(now))
        };
        let run = request_cancel(&store, id, request.clone()).await;
        let expected = Run {
            due_at: Some(at(now)),
            cancel: Some(request),
            ..before
        };
        assert_eq!(
            run, expected,
            "it is ready since then, and the cancel is recorded"
        );
        assert_eq!(
            read_run(&store, id).await,
            run,
            "the answer is the run as it is kept"
        );
    }
    let claims = claim(&store, request_any("w", at(4), 9)).await;
    let all = vec!["released", "paused", "queued"];
    assert_eq!(
        (claimed_ids(&claims), claims.next_due),
        (all, None),
        "they are ready at any time"
    );
    assert!(
        claims
            .runs
            .iter()
            .all(|claimed| claimed.run.cancel.is_some()),
        "and come with their cancel: {claims:?}"
    );
}

pub(super) async fn a_cancel_does_not_postpone_a_due_run(store: SharedStore) {
    create_queued(&store, "a", at(3)).await;
    create_running(&store, "dead", "w", at(0)).await;
    renew_lease(&store, "w", at(5)).await;
    renew_lease(&store, "other", at(1_000)).await;
    claim(&store, request_any("other", at(5), 0)).await;
    for (id, due_at) in [("a", 3), ("dead", 5)] {
        let run = request_cancel(&store, id, cancel_request("enough", at(9))).await;
        assert_eq!(
            run.due_at,
            Some(at(due_at)),
            "a cancel never puts a run off"
        );
    }
    let claims = claim(&store, request_any("other", at(9), 9)).await;
    assert_eq!(claimed_ids(&claims), ["a", "dead"]);
    assert!(
        claims.runs[1].died,
        "that its worker died is not forgotten: {claims:?}"
    );
}

pub(super) async fn a_cancel_leaves_a_held_run_with_its_worker(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    let run = request_cancel(&store, "a", cancel_request("enough", at(1))).await;
    assert_eq!(
        (run.due_at, run.worker.as_deref()),
        (None, Some("w")),
        "a cancel takes no run from its holder"
    );
    renew_lease(&store, "other", at(1_000)).await;
    assert_eq!(
        claimed_ids(&claim(&store, request_any("other", at(2), 9)).await),
        [""; 0],
        "no other worker can claim it"
    );
    commit(&store, append(held, "a", 2, Status::Running, at(2))).await;
    renew_lease(&store, "w", at(10)).await;
    let claimed = claim_run(&store, "other", at(10), "a").await;
    assert_eq!(
        claimed.run.cancel,
        Some(cancel_request("enough", at(1))),
        "the cancel outlives the worker"
    );
}

pub(super) async fn the_first_cancel_is_kept(store: SharedStore) {
    create_queued(&store, "due", at(0)).await;
    create_running(&store, "held", "w", at(0)).await;
    let mild = |immediate, now| CancelRequest {
        immediate,
        ..cancel_request("first", at(now))
    };
    for id in ["due", "held"] {
        assert_eq!(
            request_cancel(&store, id, mild(false, 1)).await.cancel,
            Some(mild(false, 1))
        );
        let again = request_cancel(&store, id, cancel_request("second", at(2))).await;
        assert_eq!(
            again.cancel,
            Some(mild(false, 1)),
            "its reason and its time are kept"
        );
        let hurried = request_cancel(
            &store,
            id,
            CancelRequest {
                reason: None,
                immediate: true,
                at: at(3),
            },
        )
        .await;
        assert_eq!(hurried.cancel, Some(mild(true, 1)), "it can be hurried");
        let again = request_cancel(&store, id, cancel_request("fourth", at(4))).await;
        assert_eq!(
            again.cancel,
            Some(mild(true, 1)),
            "and not be slowed down again"
        );
        assert_eq!(
            read_run(&store, id).await,
            again,
            "the answer is the run as it is kept"
        );
    }
    create_queued(&store, "silent", at(0)).await;
    let silent = CancelRequest {
        reason: None,
        immediate: false,
        at: at(1),
    };
    request_cancel(&store, "silent", silent.clone()).await;
    let again = request_cancel(&store, "silent", cancel_request("words", at(2))).await;
    assert_eq!(again.cancel, Some(silent), "also one without a reason");
}

pub(super) async fn a_commit_returns_the_cancel(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    assert_eq!(
        commit(&store, append(held, "a", 2, Status::Running, at(1))).await,
        None,
        "no cancel was requested"
    );
    let request = request_cancel(&store, "a", cancel_request("enough", at(2)))
        .await
        .cancel;
    for seq in 3..5 {
        let cancel = commit(&store, append(held, "a", seq, Status::Running, at(3))).await;
        assert_eq!(cancel, request, "every commit from then on says so");
    }
    create_running(&store, "b", "w", at(0)).await;
    let other = claim_run(&store, "w", at(1), "b").await.claim;
    assert_eq!(
        commit(&store, append(other, "b", 2, Status::Running, at(1))).await,
        None,
        "other runs are not affected"
    );
}

pub(super) async fn a_cancelled_run_can_only_end_as_cancelled(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    let request = CancelRequest {
        immediate: true,
        ..cancel_request("enough", at(1))
    };
    request_cancel(&store, "a", request.clone()).await;
    let before = Snapshot::of(&store).await;
    let ends = [
        append(held, "a", 2, Status::Completed, at(2)),
        append(held, "a", 2, Status::Failed, at(2)),
        suspend(held, "a", 2, at(50)),
    ];
    for end in ends {
        match store.commit(end.clone()).await {
            Err(StoreError::CancelRequested(cancel)) => {
                assert_eq!(*cancel, request, "the refusal carries the cancel")
            }
            other => panic!("{} must be refused, but: {other:?}", end.status),
        }
        assert_eq!(Snapshot::of(&store).await, before, "nothing was changed");
    }
    commit(&store, append(held, "a", 2, Status::Running, at(2))).await;
    // The cancel remains when another worker claims the run.
    store
        .release(held, Due::At(at(3)))
        .await
        .expect("a claim is released");
    let again = claim_run(&store, "w", at(3), "a").await.claim;
    let refused = store
        .commit(append(again, "a", 3, Status::Completed, at(3)))
        .await;
    assert!(
        matches!(refused, Err(StoreError::CancelRequested(_))),
        "the cancel is recorded: {refused:?}"
    );
    commit(&store, append(again, "a", 3, Status::Cancelled, at(4))).await;
    let run = read_run(&store, "a").await;
    assert_eq!((run.status, run.ended_at), (Status::Cancelled, Some(at(4))));
    assert_eq!(run.cancel, Some(request), "the request is kept");
}
