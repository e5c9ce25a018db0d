//! Fencing: a run is advanced only under its newest claim.

use workflow_engine::store::{Claim, Commit, Due};
use workflow_engine::{RunKey, Status, StoreError};

use super::fixture::*;
use super::snapshot::Snapshot;

/// Asserts that every write under `claim` is refused and changes nothing.
async fn assert_fenced(store: &SharedStore, claim: Claim, next_seq: u64) {
    let before = Snapshot::of(store).await;
    let commits = [
        append(claim, "x", next_seq, Status::Running, at(9)),
        append(claim, "x", next_seq, Status::Completed, at(9)),
        append(claim, "x", next_seq, Status::Cancelled, at(9)),
        Commit {
            due_at: Some(at(9)),
            ..append(claim, "x", next_seq, Status::Suspended, at(9))
        },
    ];
    for commit in commits {
        let answer = store.commit(commit).await;
        let Err(StoreError::Fenced { key, epoch }) = answer else {
            panic!("a commit under {claim:?} must be fenced, but: {answer:?}")
        };
        assert_eq!(Claim { key, epoch }, claim, "the refusal names the claim");
    }
    let answer = store.release(claim, Due::At(at(9))).await;
    assert!(
        matches!(answer, Err(StoreError::Fenced { .. })),
        "a release of {claim:?} must be fenced, but: {answer:?}"
    );
    assert_eq!(
        Snapshot::of(store).await,
        before,
        "a fenced write changes nothing"
    );
}

pub(super) async fn a_claim_that_never_existed_is_refused(store: SharedStore) {
    let held = create_running(&store, "held", "w", at(0)).await;
    let due = Claim {
        key: create_queued(&store, "due", at(0)).await,
        epoch: 0,
    };
    for claim in [
        Claim { epoch: 0, ..held },
        Claim { epoch: 2, ..held },
        due,
        Claim { epoch: 1, ..due },
    ] {
        assert_fenced(&store, claim, 2).await;
    }
    let unknown = Claim {
        key: RunKey(due.key.0 + 1),
        epoch: 1,
    };
    let answer = store
        .commit(append(unknown, "x", 1, Status::Running, at(1)))
        .await;
    assert!(
        matches!(answer, Err(StoreError::UnknownRun { key }) if key == unknown.key),
        "no such run: {answer:?}"
    );
    commit(&store, append(held, "held", 2, Status::Running, at(1))).await;
}

pub(super) async fn an_older_claim_is_refused_and_the_newer_works(store: SharedStore) {
    let mut claim = create_running(&store, "a", "w", at(0)).await;
    for next_seq in 2..6 {
        let newer = claim_run(&store, "w", at(1), "a").await.claim;
        assert_eq!(
            newer,
            Claim {
                epoch: claim.epoch + 1,
                ..claim
            },
            "each claim has the next epoch"
        );
        assert_fenced(&store, claim, next_seq).await;
        commit(&store, append(newer, "a", next_seq, Status::Running, at(1))).await;
        claim = newer;
    }
}

pub(super) async fn a_released_claim_is_refused(store: SharedStore) {
    let claim = create_running(&store, "a", "w", at(0)).await;
    store
        .release(claim, Due::At(at(5)))
        .await
        .expect("a claim is released");
    assert_fenced(&store, claim, 2).await;
    let again = claim_run(&store, "w", at(5), "a").await.claim;
    assert_fenced(&store, claim, 2).await;
    commit(&store, append(again, "a", 2, Status::Completed, at(5))).await;
}

pub(super) async fn a_retired_claim_is_refused(store: SharedStore) {
    let claim = create_running(&store, "a", "w", at(0)).await;
    store.retire("w", at(5)).await.expect("a worker retires");
    assert_fenced(&store, claim, 2).await;
    renew_lease(&store, "w", at(100)).await;
    assert_fenced(&store, claim, 2).await;
    renew_lease(&store, "other", at(100)).await;
    let again = claim_run(&store, "other", at(5), "a").await.claim;
    assert_fenced(&store, claim, 2).await;
    commit(&store, append(again, "a", 2, Status::Completed, at(5))).await;
}

pub(super) async fn an_expired_claim_is_refused_once_its_expiry_is_noticed(store: SharedStore) {
    let claim = create_running(&store, "a", "w", at(0)).await;
    renew_lease(&store, "w", at(10)).await;
    renew_lease(&store, "other", at(100)).await;
    // A claim notices the expiry, even if it does not claim this run.
    let none = super::fixture::claim(&store, request_any("other", at(10), 0)).await;
    assert_eq!(claimed_ids(&none), [""; 0], "none were requested");
    assert_fenced(&store, claim, 2).await;
    renew_lease(&store, "w", at(100)).await;
    assert_fenced(&store, claim, 2).await;
    let again = claim_run(&store, "other", at(11), "a").await.claim;
    assert_fenced(&store, claim, 2).await;
    commit(&store, append(again, "a", 2, Status::Completed, at(11))).await;
}

pub(super) async fn a_suspended_run_refuses_its_old_claim(store: SharedStore) {
    let claim = create_running(&store, "a", "w", at(0)).await;
    commit(&store, suspend(claim, "a", 2, at(5))).await;
    assert_fenced(&store, claim, 3).await;
    let again = claim_run(&store, "w", at(5), "a").await.claim;
    assert_fenced(&store, claim, 3).await;
    commit(&store, append(again, "a", 3, Status::Running, at(5))).await;
}

pub(super) async fn an_ended_run_refuses_its_old_claim(store: SharedStore) {
    renew_lease(&store, "w", at(100)).await;
    for status in [Status::Completed, Status::Failed, Status::Cancelled] {
        let claim = create_ended(&store, &status.to_string(), status, at(1)).await;
        assert_fenced(&store, claim, 3).await;
        assert_fenced(
            &store,
            Claim {
                epoch: claim.epoch + 1,
                ..claim
            },
            3,
        )
        .await;
        let none =
            super::fixture::claim(&store, request_one("w", at(50), &status.to_string())).await;
        assert_eq!(
            (claimed_ids(&none), none.next_due),
            (vec![], None),
            "a run that has ended is never claimed"
        );
    }
}
