//! Creating runs.

use workflow_engine::store::{Created, NewRun};
use workflow_engine::{Run, Status, StoreError};

use super::fixture::*;
use super::snapshot::{Snapshot, Written, history};

pub(super) async fn a_new_run_has_what_it_was_created_with(store: SharedStore) {
    renew_lease(&store, "creator", at(100)).await;
    for (id, status, execution_id) in [
        ("a", Status::Queued, Some("corr-1")),
        ("b", Status::Running, None),
    ] {
        let first = record(id, 1, at(7), 3);
        let new = NewRun {
            status,
            execution_id: execution_id.map(str::to_owned),
            workflow: "billing".to_owned(),
            record: first.clone(),
            ..new_run(id, at(7))
        };
        let created = create(&store, new).await;
        let run = read_run(&store, id).await;
        let expected = Run {
            key: created.key,
            id: id.to_owned(),
            workflow: "billing".to_owned(),
            execution_id: execution_id.map(str::to_owned),
            status,
            last_seq: 3,
            created_at: at(7),
            ended_at: None,
            due_at: (status == Status::Queued).then_some(at(7)),
            worker: (status == Status::Running).then(|| "creator".to_owned()),
            recoveries: 0,
            cancel: None,
        };
        assert_eq!(
            run, expected,
            "a new run has the values it was created with"
        );
        assert_eq!(
            history(&store, &run).await,
            [Written::from(&first)],
            "its history is its first record"
        );
    }
    assert_eq!(
        store.run("c").await.expect("a run is read"),
        None,
        "there is no run that was not created"
    );
}

pub(super) async fn an_existing_id_returns_its_run_unchanged(store: SharedStore) {
    let held = create_running(&store, "held", "w", at(0)).await;
    commit(&store, append(held, "held", 2, Status::Running, at(1))).await;
    create_queued(&store, "due", at(1)).await;
    create_ended(&store, "over", Status::Failed, at(2)).await;
    for id in ["held", "due", "over"] {
        let run = read_run(&store, id).await;
        let before = Snapshot::of(&store).await;
        for status in [Status::Queued, Status::Running] {
            let again = NewRun {
                status,
                workflow: "another".to_owned(),
                ..new_run(id, at(9))
            };
            match store.create(again).await {
                Ok(Created::Exists(existing)) => {
                    assert_eq!(*existing, run, "the run that has the id is returned")
                }
                other => {
                    panic!("the id {id:?} is taken, and the answer must say so, not {other:?}")
                }
            }
            assert_eq!(
                Snapshot::of(&store).await,
                before,
                "creating with a taken id changes nothing"
            );
        }
    }
    commit(&store, append(held, "held", 3, Status::Running, at(3))).await;
}

pub(super) async fn keys_are_in_the_order_of_creation(store: SharedStore) {
    let mut keys = Vec::new();
    for id in ["m", "a", "z", "b"] {
        // The runs are created in the reverse order of their times.
        keys.push(create_queued(&store, id, at(100 - keys.len() as i64)).await);
    }
    assert!(
        keys.is_sorted_by(|one, next| one < next),
        "each key is higher than the last: {keys:?}"
    );
    assert!(
        keys[0].0 > 0,
        "keys begin above 0, so that a list can begin after it"
    );
    let listed: Vec<_> = list_all(&store)
        .await
        .into_iter()
        .map(|run| run.key)
        .collect();
    assert_eq!(listed, keys, "runs are listed in the order of their keys");
}

pub(super) async fn a_queued_run_is_ready_and_unclaimed(store: SharedStore) {
    let created = create(&store, new_run("a", at(5))).await;
    let run = read_run(&store, "a").await;
    assert_eq!(
        (run.due_at, run.worker),
        (Some(at(5)), None),
        "a queued run is due since its creation, and not claimed"
    );
    let refused = store
        .commit(append(created, "a", 2, Status::Running, at(5)))
        .await;
    assert!(
        matches!(refused, Err(StoreError::Fenced { .. })),
        "creating a queued run is no claim: {refused:?}"
    );
    renew_lease(&store, "w", at(100)).await;
    let claims = claim(&store, request_any("w", at(5), 9)).await;
    assert_eq!(
        claimed_ids(&claims),
        ["a"],
        "it can be claimed at that very time"
    );
    assert_eq!(claims.runs[0].claim.epoch, 1, "its first claim has epoch 1");
    assert!(
        !claims.runs[0].died && claims.runs[0].run.recoveries == 0,
        "no worker died"
    );
}

pub(super) async fn a_running_run_is_claimed_by_its_creator_with_epoch_1(store: SharedStore) {
    let created = create_running(&store, "a", "w", at(0)).await;
    assert_eq!(created.epoch, 1, "the first claim has epoch 1");
    let run = read_run(&store, "a").await;
    assert_eq!(
        (run.key, run.due_at, run.worker.as_deref()),
        (created.key, None, Some("w")),
        "its creator holds it"
    );
    renew_lease(&store, "other", at(100)).await;
    assert_eq!(
        claimed_ids(&claim(&store, request_any("other", at(1), 9)).await),
        [""; 0],
        "no other worker can claim it"
    );
    assert_eq!(
        claimed_ids(&claim(&store, request_any("w", at(1), 9)).await),
        [""; 0],
        "and its creator has it already"
    );
    commit(&store, append(created, "a", 2, Status::Running, at(1))).await;
}

pub(super) async fn a_run_begins_as_queued_or_running_only(store: SharedStore) {
    let before = Snapshot::of(&store).await;
    for status in [
        Status::Suspended,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
    ] {
        match store
            .create(NewRun {
                status,
                ..new_run("a", at(0))
            })
            .await
        {
            Err(StoreError::Transition(refused)) => {
                assert_eq!((refused.from, refused.to), (None, status))
            }
            other => panic!("a run cannot begin as {status}, but: {other:?}"),
        }
        assert_eq!(
            Snapshot::of(&store).await,
            before,
            "a refused creation changes nothing"
        );
    }
    create_queued(&store, "a", at(0)).await;
}

pub(super) async fn a_run_begins_with_its_first_record(store: SharedStore) {
    let before = Snapshot::of(&store).await;
    for (first_seq, events) in [(0, 1), (2, 1), (1, 0)] {
        let new = NewRun {
            record: record_without_entry("a", first_seq, at(0), events),
            ..new_run("a", at(0))
        };
        let refused = store.create(new).await;
        assert!(
            matches!(refused, Err(StoreError::Behind { last_seq: 0, .. })),
            "{events} events from {first_seq} are no beginning of a history, but: {refused:?}"
        );
        assert_eq!(
            Snapshot::of(&store).await,
            before,
            "a refused creation changes nothing"
        );
    }
}
