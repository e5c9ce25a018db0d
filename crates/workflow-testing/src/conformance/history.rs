//! Commits: what they append, and how they change the run.

use workflow_engine::store::{Claim, Commit, NewRun, Span};
use workflow_engine::{RunKey, Status, StoreError};

use super::fixture::*;
use super::snapshot::{Snapshot, Written, history};

pub(super) async fn records_are_appended_in_order(store: SharedStore) {
    let claim = create_running(&store, "a", "w", at(0)).await;
    let mut written = history(&store, &read_run(&store, "a").await).await;
    let commits = [
        vec![record("a", 2, at(1), 1)],
        vec![record("a", 3, at(1), 9)],
        vec![
            record_without_entry("a", 12, at(1), 4),
            record("a", 16, at(2), 2),
            record_without_entry("a", 18, at(0), 1),
        ],
        vec![record_without_entry("a", 19, at(3), 1)],
    ];
    for records in commits {
        written.extend(records.iter().map(Written::from));
        let last_seq = records
            .last()
            .map(workflow_engine::store::Record::last_seq)
            .expect("there are records");
        commit(
            &store,
            Commit {
                claim,
                records,
                status: Status::Running,
                due_at: None,
            },
        )
        .await;
        let now = read_run(&store, "a").await;
        assert_eq!(
            (now.status, now.last_seq),
            (Status::Running, last_seq),
            "the run knows where its history ends"
        );
        assert_eq!(
            (now.due_at, now.worker.as_deref()),
            (None, Some("w")),
            "the claim is still valid"
        );
        assert_eq!(
            history(&store, &now).await,
            written,
            "the history is what was committed, in order"
        );
    }
}

pub(super) async fn records_that_do_not_follow_are_refused(store: SharedStore) {
    let new = NewRun {
        status: Status::Running,
        record: record("a", 1, at(0), 3),
        ..new_run("a", at(0))
    };
    renew_lease(&store, "creator", at(1_000)).await;
    let claim = create(&store, new).await;
    let before = Snapshot::of(&store).await;
    let breaches = [
        ("a gap", vec![record("a", 5, at(1), 1)]),
        ("an overlap", vec![record("a", 3, at(1), 1)]),
        ("a repetition", vec![record("a", 1, at(1), 3)]),
        ("a record without events", vec![record("a", 4, at(1), 0)]),
        ("no records", vec![]),
        (
            "a gap between records",
            vec![record("a", 4, at(1), 1), record("a", 6, at(1), 1)],
        ),
        (
            "an overlap of records",
            vec![record("a", 4, at(1), 2), record("a", 5, at(1), 1)],
        ),
        (
            "a record without events behind another",
            vec![record("a", 4, at(1), 1), record("a", 5, at(1), 0)],
        ),
        (
            "records in reverse",
            vec![record("a", 5, at(1), 1), record("a", 4, at(1), 1)],
        ),
    ];
    for (breach, records) in breaches {
        for status in [Status::Running, Status::Completed] {
            match store
                .commit(Commit {
                    claim,
                    records: records.clone(),
                    status,
                    due_at: None,
                })
                .await
            {
                Err(StoreError::Behind { key, last_seq, .. }) => {
                    assert_eq!(
                        (key, last_seq),
                        (claim.key, 3),
                        "the refusal says where the history ends"
                    );
                }
                other => panic!("{breach} must be refused as behind, but: {other:?}"),
            }
            assert_eq!(
                Snapshot::of(&store).await,
                before,
                "{breach} changes nothing"
            );
        }
    }
    let gap = store
        .commit(append(claim, "a", 9, Status::Running, at(1)))
        .await;
    assert!(
        matches!(gap, Err(StoreError::Behind { first_seq: 9, .. })),
        "it says where the record starts: {gap:?}"
    );
    commit(&store, append(claim, "a", 4, Status::Running, at(1))).await;
}

pub(super) async fn a_history_has_a_first_and_a_last_record(store: SharedStore) {
    let claim = create_running(&store, "a", "w", at(0)).await;
    // Another run has records in between, because first and last are per run.
    create_queued(&store, "b", at(0)).await;
    let only = store
        .records(claim.key, Span::First)
        .await
        .expect("records are read");
    let last = store
        .records(claim.key, Span::Last)
        .await
        .expect("records are read");
    assert_eq!(
        (only.len(), last.len()),
        (1, 1),
        "the only record is the first and the last"
    );
    let records = vec![
        record("a", 2, at(1), 2),
        record_without_entry("a", 4, at(1), 3),
    ];
    commit(
        &store,
        Commit {
            claim,
            records,
            status: Status::Running,
            due_at: None,
        },
    )
    .await;
    for (span, expected) in [
        (Span::First, vec![1]),
        (Span::Last, vec![4]),
        (Span::All, vec![1, 2, 4]),
    ] {
        let records = store
            .records(claim.key, span)
            .await
            .expect("records are read");
        let seqs: Vec<_> = records.iter().map(|record| record.first_seq).collect();
        assert_eq!(seqs, expected, "{span:?}");
    }
}

pub(super) async fn an_unknown_run_has_no_history(store: SharedStore) {
    let key = create_queued(&store, "a", at(0)).await;
    for span in [Span::All, Span::First, Span::Last] {
        let records = store
            .records(RunKey(key.0 + 1), span)
            .await
            .expect("records are read");
        assert!(
            records.is_empty(),
            "{span:?}: a run that is not there has no records"
        );
    }
}

pub(super) async fn every_legal_transition_is_taken_and_no_other(store: SharedStore) {
    renew_lease(&store, "w", at(1_000)).await;
    for from in [Status::Queued, Status::Running, Status::Suspended] {
        for to in Status::ALL {
            let id = format!("{from}-{to}");
            let claim = create_held(&store, &id, from).await;
            let last_seq = read_run(&store, &id).await.last_seq;
            let due_at = (to == Status::Suspended).then_some(at(50));
            let next = Commit {
                due_at,
                ..append(claim, &id, last_seq + 1, to, at(1))
            };
            let legal = Status::check(Some(from), to);
            match (store.commit(next).await, legal) {
                (Ok(_), Ok(())) => {}
                (Err(StoreError::Transition(refused)), Err(expected)) => {
                    assert_eq!(refused, expected)
                }
                (answer, legal) => panic!("from {from} to {to}: {legal:?}, but {answer:?}"),
            }
            let run = read_run(&store, &id).await;
            assert_eq!(
                run.status,
                if legal.is_ok() { to } else { from },
                "from {from} to {to}"
            );
        }
    }
}

/// Makes a run with this status that `w` holds.
async fn create_held(store: &SharedStore, id: &str, status: Status) -> Claim {
    if status == Status::Queued {
        create_queued(store, id, at(0)).await;
        return claim_run(store, "w", at(0), id).await.claim;
    }
    let claim = create(
        store,
        NewRun {
            status: Status::Running,
            worker: "w".to_owned(),
            ..new_run(id, at(0))
        },
    )
    .await;
    if status == Status::Running {
        return claim;
    }
    commit(store, suspend(claim, id, 2, at(0))).await;
    claim_run(store, "w", at(0), id).await.claim
}

pub(super) async fn the_status_and_time_of_an_end_are_kept(store: SharedStore) {
    for (status, ended_at) in [
        (Status::Completed, at(5)),
        (Status::Failed, at(6)),
        (Status::Cancelled, at(7)),
    ] {
        let id = &status.to_string();
        let claim = create_running(&store, id, "w", at(0)).await;
        assert_eq!(
            read_run(&store, id).await.ended_at,
            None,
            "a run that continues has not ended"
        );
        commit(&store, append(claim, id, 2, status, ended_at)).await;
        let run = read_run(&store, id).await;
        assert_eq!(
            (run.status, run.ended_at),
            (status, Some(ended_at)),
            "it ended when its last record was written"
        );
        assert_eq!(
            (run.due_at, run.worker),
            (None, None),
            "it is neither due nor held"
        );
    }
    let claim = create_running(&store, "at once", "w", at(0)).await;
    let records = vec![
        record("at once", 2, at(7), 1),
        record("at once", 3, at(9), 1),
        record_without_entry("at once", 4, at(8), 1),
    ];
    commit(
        &store,
        Commit {
            claim,
            records,
            status: Status::Completed,
            due_at: None,
        },
    )
    .await;
    assert_eq!(
        read_run(&store, "at once").await.ended_at,
        Some(at(8)),
        "the last record says when, not the latest"
    );
    assert_eq!(
        store
            .claim(request_any("w", at(5_000), 9))
            .await
            .expect("a claim is answered")
            .runs
            .len(),
        0
    );
}
