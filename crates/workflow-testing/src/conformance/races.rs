//! Concurrent callers, which a store may answer from other threads and in any order.

use std::collections::BTreeSet;

use futures::future::join_all;
use workflow_engine::store::{Commit, Created, NewRun, Position};
use workflow_engine::{Status, StoreError};

use super::fixture::*;
use super::snapshot::{events, history};

pub(super) async fn concurrent_creations_of_one_id_make_one_run(store: SharedStore) {
    for n in 0..32 {
        renew_lease(&store, &format!("w{n}"), at(100)).await;
    }
    let new = |n| NewRun {
        status: Status::Running,
        worker: format!("w{n}"),
        ..new_run("a", at(n))
    };
    let answers = join_all((0..32).map(|n| store.create(new(n)))).await;
    let run = read_run(&store, "a").await;
    let mut news = 0;
    for answer in answers {
        match answer.expect("a creation is answered") {
            Created::New(claim) => {
                news += 1;
                assert_eq!((claim.key, claim.epoch), (run.key, 1));
            }
            Created::Exists(existing) => {
                assert_eq!(*existing, run, "the others get the run that won")
            }
        }
    }
    assert_eq!(news, 1, "exactly one creates the run");
    assert_eq!(list_all(&store).await, [run], "there is one run");
    assert_eq!(events(&store, Position(0)).await.len(), 1, "with one event");
}

pub(super) async fn concurrent_claimers_share_the_runs(store: SharedStore) {
    join_all(
        (0..64)
            .map(|n| create(&store, new_run(&format!("run-{n}"), at(n))))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|creation| async move { creation.await.key }),
    )
    .await;
    for n in 0..16 {
        renew_lease(&store, &format!("w{n}"), at(1_000)).await;
    }
    let answers =
        join_all((0..32).map(|n| claim(&store, request_any(&format!("w{}", n % 16), at(100), 3))))
            .await;
    let handed: Vec<_> = answers.iter().flat_map(|claims| &claims.runs).collect();
    let different: BTreeSet<_> = handed.iter().map(|claimed| claimed.claim.key).collect();
    assert_eq!(handed.len(), different.len(), "no run is handed out twice");
    assert_eq!(
        handed.len(),
        64,
        "every run is handed out: 32 claims of 3 are enough for 64"
    );
    for claims in &answers {
        assert!(claims.runs.len() <= 3, "a limit is kept");
        assert!(
            claims
                .runs
                .is_sorted_by_key(|claimed| claimed.run.created_at),
            "the longest due first"
        );
    }
    for claimed in handed {
        assert_eq!(
            read_run(&store, &claimed.run.id).await,
            claimed.run,
            "the worker that got the claim holds the run"
        );
    }
}

pub(super) async fn concurrent_claims_of_one_run_have_one_winner(store: SharedStore) {
    create_queued(&store, "a", at(0)).await;
    for n in 0..16 {
        renew_lease(&store, &format!("w{n}"), at(1_000)).await;
    }
    let answers =
        join_all((0..16).map(|n| claim(&store, request_one(&format!("w{n}"), at(1), "a")))).await;
    let winners: Vec<_> = answers.iter().flat_map(|claims| &claims.runs).collect();
    assert_eq!(winners.len(), 1, "one worker gets it: {winners:?}");
    commit(
        &store,
        append(winners[0].claim, "a", 2, Status::Running, at(1)),
    )
    .await;
}

pub(super) async fn concurrent_commits_under_one_claim_have_one_winner(store: SharedStore) {
    let held = create_running(&store, "a", "w", at(0)).await;
    let commits = (0..16).map(|n| store.commit(append(held, "a", 2, Status::Running, at(n))));
    let answers = join_all(commits).await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(
        accepted, 1,
        "one record follows on the history: {answers:?}"
    );
    for answer in answers {
        assert!(
            matches!(answer, Ok(_) | Err(StoreError::Behind { last_seq: 2, .. })),
            "the others come late: {answer:?}"
        );
    }
    assert_eq!(read_run(&store, "a").await.last_seq, 2);
    assert_eq!(
        events(&store, Position(0)).await.len(),
        2,
        "and nothing else was written"
    );
}

pub(super) async fn concurrent_writers_leave_every_history_whole(store: SharedStore) {
    let write = async |n: usize| {
        let store = &store;
        let id = format!("run-{n}");
        let held = create_running(store, &id, &format!("w{}", n % 3), at(0)).await;
        for seq in 0..8 {
            let records = vec![
                record_without_entry(&id, 2 + 2 * seq, at(1), 1),
                record(&id, 3 + 2 * seq, at(1), 1),
            ];
            commit(
                store,
                Commit {
                    claim: held,
                    records,
                    status: Status::Running,
                    due_at: None,
                },
            )
            .await;
        }
        commit(store, append(held, &id, 18, Status::Completed, at(2))).await;
    };
    join_all((0..16).map(write)).await;
    let outbox = events(&store, Position(0)).await;
    assert!(
        outbox.is_sorted_by(|(one, _), (next, _)| one < next),
        "positions increase"
    );
    assert_eq!(outbox.len(), 16 * 18, "every event is there once");
    let accepted = store.outbox_end().await.expect("the end is read").accepted;
    assert_eq!(accepted, 16 * 18, "and counted once");
    for run in list_all(&store).await {
        assert_eq!((run.status, run.last_seq), (Status::Completed, 18));
        assert_eq!(
            history(&store, &run).await.len(),
            18,
            "every record is there"
        );
        let seqs = outbox
            .iter()
            .filter(|(_, event)| event.contains(&format!(r#""workflowId":"{}""#, run.id)));
        let in_order = seqs
            .zip(1..)
            .all(|((_, event), seq)| event.contains(&format!(r#""seq":{seq},"#)));
        assert!(
            in_order,
            "the events of {} are in the order of their seq",
            run.id
        );
    }
}
