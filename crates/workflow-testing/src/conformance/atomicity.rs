//! A refused write changes nothing, and refusals have an order.

use workflow_engine::store::{Claim, Commit, Due, NewRun};
use workflow_engine::{RunKey, Status, StoreError};

use super::fixture::*;
use super::snapshot::Snapshot;

/// A store with a held run of each kind, and claims that have ended.
struct Scene {
    running: Claim,
    to_cancel: Claim,
    queued: Claim,
    paused: Claim,
    released: Claim,
    completed: Claim,
    unknown: Claim,
}

impl Scene {
    async fn create(store: &SharedStore) -> Self {
        let running_run = create_running(store, "running", "w", at(0)).await;
        let to_cancel = create_running(store, "to cancel", "w", at(0)).await;
        request_cancel(store, "to cancel", cancel_request("enough", at(1))).await;
        create_queued(store, "queued", at(0)).await;
        let queued = claim_run(store, "w", at(0), "queued").await.claim;
        let paused = create_running(store, "paused", "w", at(0)).await;
        commit(store, suspend(paused, "paused", 2, at(9))).await;
        let released = create_running(store, "released", "w", at(0)).await;
        store
            .release(released, Due::At(at(8)))
            .await
            .expect("a claim is released");
        let completed = create_ended(store, "over", Status::Completed, at(2)).await;
        let unknown = Claim {
            key: RunKey(completed.key.0 + 1_000),
            epoch: 1,
        };
        Self {
            running: running_run,
            to_cancel,
            queued,
            paused,
            released,
            completed,
            unknown,
        }
    }

    /// The claims under which no write is accepted.
    fn refused_claims(&self) -> [Claim; 6] {
        let older = Claim {
            epoch: 0,
            ..self.running
        };
        let newer = Claim {
            epoch: 2,
            ..self.running
        };
        [
            self.paused,
            self.released,
            self.completed,
            older,
            newer,
            Claim {
                epoch: 0,
                ..self.queued
            },
        ]
    }
}

pub(super) async fn a_refused_commit_changes_nothing(store: SharedStore) {
    let scene = Scene::create(&store).await;
    let before = Snapshot::of(&store).await;
    let mut commits = vec![
        append(scene.unknown, "x", 1, Status::Running, at(3)),
        append(scene.running, "running", 3, Status::Running, at(3)),
        append(scene.running, "running", 3, Status::Completed, at(3)),
        suspend(scene.running, "running", 1, at(4)),
        append(scene.running, "running", 2, Status::Queued, at(3)),
        append(scene.queued, "queued", 2, Status::Completed, at(3)),
        suspend(scene.queued, "queued", 2, at(4)),
        append(scene.to_cancel, "to cancel", 2, Status::Completed, at(3)),
        append(scene.to_cancel, "to cancel", 2, Status::Failed, at(3)),
        suspend(scene.to_cancel, "to cancel", 2, at(4)),
    ];
    for claim in scene.refused_claims() {
        let next = if claim.key == scene.running.key || claim.key == scene.queued.key {
            2
        } else {
            3
        };
        commits.extend(
            [Status::Running, Status::Cancelled]
                .map(|status| append(claim, "x", next, status, at(3))),
        );
        commits.push(suspend(claim, "x", next, at(4)));
    }
    // The fault is in the last of several records.
    let records = vec![
        record("x", 2, at(3), 2),
        record("x", 4, at(3), 1),
        record("x", 6, at(3), 1),
    ];
    commits.push(Commit {
        claim: scene.running,
        records,
        status: Status::Running,
        due_at: None,
    });
    for refused in commits {
        let answer = store.commit(refused.clone()).await;
        assert!(answer.is_err(), "it must be refused: {refused:?}");
        assert_eq!(
            Snapshot::of(&store).await,
            before,
            "{answer:?} must leave everything as it was"
        );
    }
    // The valid claims are still valid.
    commit(
        &store,
        append(scene.running, "running", 2, Status::Running, at(3)),
    )
    .await;
    commit(
        &store,
        append(scene.to_cancel, "to cancel", 2, Status::Cancelled, at(3)),
    )
    .await;
    commit(
        &store,
        append(scene.queued, "queued", 2, Status::Running, at(3)),
    )
    .await;
    let claims = claim(&store, request_any("w", at(9), 9)).await;
    assert_eq!(
        claimed_ids(&claims),
        ["released", "paused"],
        "due times are unchanged"
    );
}

pub(super) async fn a_refused_release_changes_nothing(store: SharedStore) {
    let scene = Scene::create(&store).await;
    let before = Snapshot::of(&store).await;
    for claim in scene.refused_claims() {
        let answer = store.release(claim, Due::At(at(1))).await;
        let Err(StoreError::Fenced { key, epoch }) = answer else {
            panic!("releasing {claim:?} must be fenced, but: {answer:?}")
        };
        assert_eq!(Claim { key, epoch }, claim, "the refusal names the claim");
        assert_eq!(
            Snapshot::of(&store).await,
            before,
            "a refused release changes nothing"
        );
    }
    let answer = store.release(scene.unknown, Due::At(at(1))).await;
    assert!(
        matches!(answer, Err(StoreError::UnknownRun { key }) if key == scene.unknown.key),
        "there is no such run, but: {answer:?}"
    );
    assert_eq!(
        Snapshot::of(&store).await,
        before,
        "a refused release changes nothing"
    );
}

pub(super) async fn a_refused_creation_changes_nothing(store: SharedStore) {
    Scene::create(&store).await;
    let before = Snapshot::of(&store).await;
    let refused = [
        NewRun {
            status: Status::Completed,
            ..new_run("new", at(3))
        },
        NewRun {
            status: Status::Suspended,
            ..new_run("new", at(3))
        },
        NewRun {
            record: record("new", 2, at(3), 1),
            ..new_run("new", at(3))
        },
        NewRun {
            status: Status::Running,
            record: record("new", 1, at(3), 0),
            ..new_run("new", at(3))
        },
    ];
    for new in refused {
        let answer = store.create(new.clone()).await;
        assert!(answer.is_err(), "it must be refused: {new:?}");
        assert_eq!(
            Snapshot::of(&store).await,
            before,
            "{answer:?} must leave everything as it was"
        );
    }
    create_queued(&store, "new", at(3)).await;
}

pub(super) async fn refusals_come_in_the_documented_order(store: SharedStore) {
    let scene = Scene::create(&store).await;
    let queued_cancel = create_queued(&store, "queued to cancel", at(0)).await;
    let held = claim_run(&store, "w", at(0), "queued to cancel")
        .await
        .claim;
    assert_eq!(held.key, queued_cancel);
    request_cancel(&store, "queued to cancel", cancel_request("enough", at(1))).await;
    let cases = [
        (
            "an unknown run",
            append(scene.unknown, "x", 7, Status::Queued, at(3)),
            "UnknownRun",
        ),
        (
            "an ended claim, a gap and no transition",
            append(scene.completed, "x", 9, Status::Queued, at(3)),
            "Fenced",
        ),
        (
            "an older claim, a gap and no transition",
            {
                append(
                    Claim {
                        epoch: 0,
                        ..scene.running
                    },
                    "x",
                    9,
                    Status::Queued,
                    at(3),
                )
            },
            "Fenced",
        ),
        (
            "a gap and no transition",
            append(scene.running, "x", 9, Status::Queued, at(3)),
            "Behind",
        ),
        (
            "a gap and a cancel",
            append(scene.to_cancel, "x", 9, Status::Completed, at(3)),
            "Behind",
        ),
        (
            "a gap, no transition and a cancel",
            append(held, "x", 9, Status::Completed, at(3)),
            "Behind",
        ),
        (
            "no transition and a cancel",
            append(held, "x", 2, Status::Completed, at(3)),
            "Transition",
        ),
        (
            "a cancel",
            append(scene.to_cancel, "x", 2, Status::Completed, at(3)),
            "CancelRequested",
        ),
    ];
    for (what, refused, expected) in cases {
        let answer = store.commit(refused).await;
        let name = match &answer {
            Ok(_) => "Ok",
            Err(StoreError::UnknownRun { .. }) => "UnknownRun",
            Err(StoreError::Fenced { .. }) => "Fenced",
            Err(StoreError::Behind { .. }) => "Behind",
            Err(StoreError::Transition(_)) => "Transition",
            Err(StoreError::CancelRequested(_)) => "CancelRequested",
            Err(_) => "another error",
        };
        assert_eq!(name, expected, "{what}: {answer:?}");
    }
}
