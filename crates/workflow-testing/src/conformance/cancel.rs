//! Cancel requests.

use super::fixture::*;
use super::snapshot::Snapshot;
use workflow_engine::store::{CancelReply, CancelRequest, Due};
use workflow_engine::{Run, Status, StoreError};

pub(super) async fn an_unknown_run_cannot_be_cancelled(store: Shared) {
    queued(&store, "a", at(0)).await;
    let before = Snapshot::of(&store).await;
    let reply = store
        .request_cancel("nobody", please("x", at(1)))
        .await
        .expect("a cancel is answered");
    assert_eq!(reply, CancelReply::Unknown);
    assert_eq!(Snapshot::of(&store).await, before, "nothing was changed");
}

pub(super) async fn an_ended_run_cannot_be_cancelled(store: Shared) {
    for status in [Status::Completed, Status::Failed, Status::Cancelled] {
        ended(&store, &status.to_string(), status, at(1)).await;
        let before = Snapshot::of(&store).await;
        let reply = store
            .request_cancel(&status.to_string(), please("x", at(2)))
            .await
            .expect("a cancel is answered");
        assert_eq!(reply, CancelReply::Ended(status));
        assert_eq!(Snapshot::of(&store).await, before, "nothing was changed");
    }
}

pub(super) async fn a_waiting_run_is_ready_since_its_cancel(store: Shared) {
    let held = running(&store, "paused", "w", at(0)).await;
    commit(&store, pause(held, "paused", 2, at(500))).await;
    queued(&store, "queued", at(400)).await;
    let released = running(&store, "released", "w", at(0)).await;
    store
        .release(released, Due::At(at(300)))
        .await
        .expect("a claim is released");
    for (id, now) in [("queued", 7), ("paused", 6), ("released", 5)] {
        let before = read(&store, id).await;
        let request = CancelRequest {
            immediate: id == "queued",
            ..please("enough", at(now))
        };
        let run = cancel(&store, id, request.clone()).await;
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
            read(&store, id).await,
            run,
            "the answer is the run as it is kept"
        );
    }
    let claims = claim(&store, any("w", at(4), 9)).await;
    let all = vec!["released", "paused", "queued"];
    assert_eq!(
        (ids(&claims), claims.next_due),
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

pub(super) async fn a_due_run_stays_due_when_it_was(store: Shared) {
    queued(&store, "a", at(3)).await;
    running(&store, "dead", "w", at(0)).await;
    lease(&store, "w", at(5)).await;
    lease(&store, "other", at(1_000)).await;
    claim(&store, any("other", at(5), 0)).await;
    for (id, due_at) in [("a", 3), ("dead", 5)] {
        let run = cancel(&store, id, please("enough", at(9))).await;
        assert_eq!(
            run.due_at,
            Some(at(due_at)),
            "a cancel never puts a run off"
        );
    }
    let claims = claim(&store, any("other", at(9), 9)).await;
    assert_eq!(ids(&claims), ["a", "dead"]);
    assert!(
        claims.runs[1].died,
        "that its worker died is not forgotten: {claims:?}"
    );
}

pub(super) async fn a_held_run_stays_held(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    let run = cancel(&store, "a", please("enough", at(1))).await;
    assert_eq!(
        (run.due_at, run.worker.as_deref()),
        (None, Some("w")),
        "a cancel takes no run from its holder"
    );
    lease(&store, "other", at(1_000)).await;
    assert_eq!(
        ids(&claim(&store, any("other", at(2), 9)).await),
        [""; 0],
        "no other worker can claim it"
    );
    commit(&store, append(held, "a", 2, Status::Running, at(2))).await;
    lease(&store, "w", at(10)).await;
    let claimed = take(&store, "other", at(10), "a").await;
    assert_eq!(
        claimed.run.cancel,
        Some(please("enough", at(1))),
        "the cancel outlives the worker"
    );
}

pub(super) async fn the_first_cancel_stands(store: Shared) {
    queued(&store, "due", at(0)).await;
    running(&store, "held", "w", at(0)).await;
    let mild = |immediate, now| CancelRequest {
        immediate,
        ..please("first", at(now))
    };
    for id in ["due", "held"] {
        assert_eq!(
            cancel(&store, id, mild(false, 1)).await.cancel,
            Some(mild(false, 1))
        );
        let again = cancel(&store, id, please("second", at(2))).await;
        assert_eq!(
            again.cancel,
            Some(mild(false, 1)),
            "its reason and its time stand"
        );
        let hurried = cancel(
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
        let again = cancel(&store, id, please("fourth", at(4))).await;
        assert_eq!(
            again.cancel,
            Some(mild(true, 1)),
            "and not be slowed down again"
        );
        assert_eq!(
            read(&store, id).await,
            again,
            "the answer is the run as it is kept"
        );
    }
    queued(&store, "silent", at(0)).await;
    let silent = CancelRequest {
        reason: None,
        immediate: false,
        at: at(1),
    };
    cancel(&store, "silent", silent.clone()).await;
    let again = cancel(&store, "silent", please("words", at(2))).await;
    assert_eq!(again.cancel, Some(silent), "also one without a reason");
}

pub(super) async fn a_commit_returns_the_cancel(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    assert_eq!(
        commit(&store, append(held, "a", 2, Status::Running, at(1))).await,
        None,
        "none was asked for"
    );
    let request = cancel(&store, "a", please("enough", at(2))).await.cancel;
    for seq in 3..5 {
        let cancel = commit(&store, append(held, "a", seq, Status::Running, at(3))).await;
        assert_eq!(cancel, request, "every commit from then on says so");
    }
    running(&store, "b", "w", at(0)).await;
    let other = take(&store, "w", at(1), "b").await.claim;
    assert_eq!(
        commit(&store, append(other, "b", 2, Status::Running, at(1))).await,
        None,
        "another run is not meant"
    );
}

pub(super) async fn a_cancelled_run_can_only_end_as_cancelled(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    let request = CancelRequest {
        immediate: true,
        ..please("enough", at(1))
    };
    cancel(&store, "a", request.clone()).await;
    let before = Snapshot::of(&store).await;
    let ends = [
        append(held, "a", 2, Status::Completed, at(2)),
        append(held, "a", 2, Status::Failed, at(2)),
        pause(held, "a", 2, at(50)),
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
    let again = take(&store, "w", at(3), "a").await.claim;
    let refused = store
        .commit(append(again, "a", 3, Status::Completed, at(3)))
        .await;
    assert!(
        matches!(refused, Err(StoreError::CancelRequested(_))),
        "the cancel is recorded: {refused:?}"
    );
    commit(&store, append(again, "a", 3, Status::Cancelled, at(4))).await;
    let run = read(&store, "a").await;
    assert_eq!((run.status, run.ended_at), (Status::Cancelled, Some(at(4))));
    assert_eq!(run.cancel, Some(request), "what was asked for is kept");
}
