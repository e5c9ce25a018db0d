//! Claims: which runs a worker gets, and in which order.

use workflow_engine::store::{Claim, ClaimRequest, Due, NewRun, Page, Position, Purge};
use workflow_engine::{RunFilter, Status};

use super::fixture::*;

pub(super) async fn a_run_is_never_handed_out_twice(store: SharedStore) {
    for n in 0..10 {
        create_queued(&store, &format!("run-{n}"), at(n)).await;
    }
    let mut seen = Vec::new();
    for round in 0..8 {
        let worker = format!("w{}", round % 3);
        renew_lease(&store, &worker, at(1_000)).await;
        let claims = claim(&store, request_any(&worker, at(100), 3)).await;
        seen.extend(claimed_ids(&claims).into_iter().map(str::to_owned));
    }
    let all: Vec<_> = (0..10).map(|n| format!("run-{n}")).collect();
    assert_eq!(seen, all, "every run is handed out once");
    let none = claim(&store, request_one("w0", at(100), "run-3")).await;
    assert_eq!(
        claimed_ids(&none),
        [""; 0],
        "not even by its id to another than its holder"
    );
}

pub(super) async fn the_longest_due_run_is_claimed_first(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    for (id, created_at) in [("d", 30), ("a", 10), ("c", 20), ("b", 10)] {
        create_queued(&store, id, at(created_at)).await;
    }
    let paused = create_running(&store, "paused", "w", at(0)).await;
    commit(&store, suspend(paused, "paused", 2, at(15))).await;
    let released = create_running(&store, "released", "w", at(0)).await;
    store
        .release(released, Due::At(at(25)))
        .await
        .expect("a claim is released");
    let claims = claim(&store, request_any("w", at(30), 9)).await;
    assert_eq!(
        claimed_ids(&claims),
        ["a", "b", "paused", "c", "released", "d"],
        "the longest due first, then by creation"
    );
}

pub(super) async fn a_limit_is_kept(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    for n in 0..5 {
        create_queued(&store, &format!("run-{n}"), at(n)).await;
    }
    let none = claim(&store, request_any("w", at(9), 0)).await;
    assert_eq!(
        (claimed_ids(&none), none.next_due),
        (vec![], Some(at(0))),
        "none were requested, and one is due"
    );
    let none = claim(
        &store,
        ClaimRequest {
            limit: 0,
            ..request_one("w", at(9), "run-0")
        },
    )
    .await;
    assert_eq!(claimed_ids(&none), [""; 0], "none were requested");
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(9), 2)).await),
        ["run-0", "run-1"]
    );
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(9), 3)).await),
        ["run-2", "run-3", "run-4"]
    );
}

pub(super) async fn no_limit_is_too_large(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    create_queued(&store, "a", at(0)).await;
    create_ended(&store, "over", Status::Failed, at(0)).await;
    let listed = store
        .list(&RunFilter {
            limit: usize::MAX,
            ..RunFilter::default()
        })
        .await
        .expect("runs are listed");
    assert_eq!(listed.len(), 2, "all of them");
    let events = store
        .outbox(Position(0), Page::events(usize::MAX))
        .await
        .expect("the outbox is read");
    assert_eq!(events.len(), 3, "all of them");
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(0), usize::MAX)).await),
        ["a"],
        "all of them"
    );
    let purge = Purge {
        failed: Some(at(9)),
        limit: usize::MAX,
        ..Purge::default()
    };
    assert_eq!(
        super::fixture::purge(&store, purge).await.runs,
        1,
        "all of them"
    );
}

/// Requests runs of these workflows.
fn for_workflows(workflows: &[&str], request: ClaimRequest) -> ClaimRequest {
    ClaimRequest {
        workflows: Some(workflows.iter().map(|&name| name.to_owned()).collect()),
        ..request
    }
}

/// Creates a `Queued` run of a workflow.
async fn create_queued_of(store: &SharedStore, workflow: &str, id: &str, created_at: i64) {
    create(
        store,
        NewRun {
            workflow: workflow.to_owned(),
            ..new_run(id, at(created_at))
        },
    )
    .await;
}

pub(super) async fn only_requested_workflows_are_claimed(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    for (workflow, id, created_at) in [
        ("x", "x1", 3),
        ("y", "y1", 1),
        ("z", "z1", 2),
        ("x", "x2", 0),
        ("X", "X1", 0),
    ] {
        create_queued_of(&store, workflow, id, created_at).await;
    }
    let none = claim(&store, for_workflows(&[], request_any("w", at(9), 9))).await;
    assert_eq!(
        (claimed_ids(&none), none.next_due),
        (vec![], None),
        "no workflow is requested, so no time is worth waiting for"
    );
    let claims = claim(
        &store,
        for_workflows(&["x", "z"], request_any("w", at(9), 9)),
    )
    .await;
    assert_eq!(
        claimed_ids(&claims),
        ["x2", "z1", "x1"],
        "the longest due of the requested workflows"
    );
    assert_eq!(claims.next_due, None, "nothing else is theirs");
    let none = claim(&store, for_workflows(&["x"], request_one("w", at(9), "y1"))).await;
    assert_eq!(
        (claimed_ids(&none), none.next_due),
        (vec![], None),
        "by its id neither"
    );
    assert_eq!(
        claimed_ids(&claim(&store, for_workflows(&["y"], request_one("w", at(9), "y1"))).await),
        ["y1"]
    );
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(9), 9)).await),
        ["X1"],
        "without a filter, any"
    );
}

pub(super) async fn due_workflows_that_were_not_requested_are_named(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    let runs = [
        ("y", "y1", 1),
        ("x", "x1", 2),
        ("x", "x2", 3),
        ("y", "y2", 4),
        ("z", "z1", 5),
    ];
    for (workflow, id, created_at) in runs {
        create_queued_of(&store, workflow, id, created_at).await;
    }
    create_waiting_of(&store, "later", "l1", at(20)).await;
    let unknown = |claims: workflow_engine::store::Claims| {
        let mut unknown = claims.unknown;
        unknown.sort_unstable();
        unknown
    };
    let claims = claim(&store, for_workflows(&["x"], request_any("w", at(9), 1))).await;
    assert_eq!(claimed_ids(&claims), ["x1"]);
    assert_eq!(
        unknown(claims),
        ["y", "z"],
        "each due workflow is named once, even if it is due after the claimed runs"
    );
    let claims = claim(
        &store,
        for_workflows(&["x", "y"], request_any("w", at(20), 0)),
    )
    .await;
    assert_eq!(
        unknown(claims),
        ["later", "z"],
        "also when no run is requested"
    );
    let claims = claim(&store, request_any("w", at(3), 1)).await;
    assert_eq!(
        unknown(claims),
        [""; 0],
        "without a filter nothing is unknown"
    );
    let claims = claim(&store, for_workflows(&["x"], request_one("w", at(9), "z1"))).await;
    assert_eq!(
        (claimed_ids(&claims), unknown(claims.clone())),
        (vec![], vec!["z".to_owned()]),
        "only one run is considered"
    );
    let claims = claim(
        &store,
        for_workflows(&["nothing"], request_any("w", at(9), 9)),
    )
    .await;
    assert_eq!(unknown(claims), ["x", "y", "z"], "the remaining workflows");
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(9), 9)).await).len(),
        3,
        "naming a run is not claiming it"
    );
}

pub(super) async fn one_run_is_claimed_by_its_id(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    for n in 0..4 {
        create_queued(&store, &format!("run-{n}"), at(n)).await;
    }
    let claims = claim(
        &store,
        ClaimRequest {
            limit: 9,
            ..request_one("w", at(9), "run-2")
        },
    )
    .await;
    assert_eq!(claimed_ids(&claims), ["run-2"], "only that run");
    create_waiting(&store, "waiting", at(10)).await;
    for (id, now) in [("nobody", 9), ("waiting", 9), ("run", 9)] {
        let none = claim(&store, request_one("w", at(now), id)).await;
        assert_eq!(
            claimed_ids(&none),
            [""; 0],
            "{id:?} is not there, or not due"
        );
    }
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(9), 9)).await),
        ["run-0", "run-1", "run-3"],
        "the others stay due"
    );
}

pub(super) async fn a_run_is_claimed_again_by_its_holder(store: SharedStore) {
    let first = create_running(&store, "a", "w", at(0)).await;
    renew_lease(&store, "other", at(1_000)).await;
    let again = claim_run(&store, "w", at(1), "a").await;
    assert_eq!(
        again.claim,
        Claim {
            epoch: first.epoch + 1,
            ..first
        },
        "it is a new claim of the same run"
    );
    assert!(
        !again.died && again.run.recoveries == 0,
        "its holder is alive: {again:?}"
    );
    let none = claim(&store, request_one("other", at(1), "a")).await;
    assert_eq!(claimed_ids(&none), [""; 0], "another worker cannot have it");
    commit(&store, append(again.claim, "a", 2, Status::Running, at(1))).await;
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(1), 9)).await),
        [""; 0],
        "it is not due"
    );
}

pub(super) async fn a_claim_counts_up_the_epoch_and_keeps_the_status(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    create_queued(&store, "a", at(0)).await;
    let claimed = claim_run(&store, "w", at(0), "a").await;
    assert_eq!(claimed.claim.epoch, 1, "the first claim");
    assert_eq!(
        claimed.run,
        read_run(&store, "a").await,
        "the run comes with this claim counted"
    );
    assert_eq!(
        claimed.run.status,
        Status::Queued,
        "a claim is no transition"
    );
    assert_eq!(
        (claimed.run.due_at, claimed.run.worker.as_deref()),
        (None, Some("w")),
        "it is held, so it is not due"
    );
    commit(
        &store,
        append(claimed.claim, "a", 2, Status::Running, at(0)),
    )
    .await;
    commit(&store, suspend(claimed.claim, "a", 3, at(5))).await;
    let paused = read_run(&store, "a").await;
    assert_eq!(
        (paused.due_at, paused.worker),
        (Some(at(5)), None),
        "it is due, so it is not claimed"
    );
    let claimed = claim_run(&store, "w", at(5), "a").await;
    assert_eq!(
        (claimed.claim.epoch, claimed.run.status),
        (2, Status::Suspended),
        "the second claim"
    );
    store
        .release(claimed.claim, Due::At(at(6)))
        .await
        .expect("a claim is released");
    let released = read_run(&store, "a").await;
    assert_eq!(
        (released.status, released.due_at, released.worker),
        (Status::Suspended, Some(at(6)), None)
    );
    let claims = claim(&store, request_any("w", at(6), 9)).await;
    assert_eq!(claims.runs[0].claim.epoch, 3, "the third claim");
}
