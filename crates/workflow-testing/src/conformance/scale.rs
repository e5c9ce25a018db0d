//! A hundred thousand runs: none is lost, claimed twice, or out of order.

use std::sync::Arc;

use futures::future::join_all;
use workflow_engine::{RunKey, Status, Store};
use workflow_events::Timestamp;

use super::fixture::*;

/// The default number of runs of [`many_runs`].
pub const DEFAULT_RUNS: usize = 100_000;

/// The number of calls that are under way at once.
const CONCURRENT_CALLS: usize = 250;

/// The number of runs that are claimed at once.
const CLAIM_LIMIT: usize = 256;

/// The seconds between two rounds, which are enough to suspend the runs one second apart.
const ROUND_SECONDS: i64 = 10_000_000;

/// Creates `runs` runs on a fresh store, many at once, claims them all in batches, and suspends
/// each.
///
/// This takes seconds to minutes, depending on the store.
///
/// # Panics
///
/// At the first breach.
pub async fn many_runs(store: Arc<dyn Store>, runs: usize) {
    renew_lease(&store, "w", at(3 * ROUND_SECONDS)).await;
    // The times go up and down, so that the order of waking is not that of creation, and many are
    // equal.
    let due_second = |n: usize| (n as i64 * 7_919) % 1_000;
    let mut expected = Vec::with_capacity(runs);
    let create_due = async |n: usize| {
        (
            due_second(n),
            create_queued(&store, &format!("run-{n}"), at(due_second(n))).await,
        )
    };
    for first in (0..runs).step_by(CONCURRENT_CALLS) {
        expected
            .extend(join_all((first..runs.min(first + CONCURRENT_CALLS)).map(create_due)).await);
    }
    expected.sort_unstable();
    let keys: Vec<_> = expected.iter().map(|(_, key)| *key).collect();
    let woken = claim_and_suspend(&store, at(1_000), runs, 1, ROUND_SECONDS).await;
    assert!(
        woken == keys,
        "every run is claimed once, the longest due first, then in the order of creation"
    );
    let woken = claim_and_suspend(&store, at(ROUND_SECONDS), runs, 2, 2 * ROUND_SECONDS).await;
    assert!(
        woken.iter().rev().eq(&keys),
        "every run wakes once more, the longest due first"
    );
    let nothing = claim(&store, request_any("w", at(ROUND_SECONDS), 9)).await;
    assert_eq!(claimed_ids(&nothing), [""; 0], "no run is due");
    let end = store.outbox_end().await.expect("the end is read");
    assert_eq!(end.accepted, 5 * runs as u64, "every event is there");
}

/// Claims every due run in batches, then suspends them all, the last one for the shortest time.
/// Returns them in the order in which they were claimed.
async fn claim_and_suspend(
    store: &SharedStore,
    now: Timestamp,
    runs: usize,
    round: u64,
    last_wake: i64,
) -> Vec<RunKey> {
    let mut claimed = Vec::with_capacity(runs);
    loop {
        let claims = claim(store, request_any("w", now, CLAIM_LIMIT)).await.runs;
        if claims.is_empty() {
            break;
        }
        assert!(
            claims.iter().all(|claimed| claimed.claim.epoch == round),
            "each is claimed once a round"
        );
        claimed.extend(
            claims
                .into_iter()
                .map(|claimed| (claimed.claim, claimed.run.id)),
        );
        assert!(claimed.len() <= runs, "no run is handed out twice");
    }
    let suspend_claimed = async |place: usize| {
        let (claim, id) = &claimed[place];
        let seq = 2 * round;
        commit(store, append(*claim, id, seq, Status::Running, now)).await;
        commit(
            store,
            suspend(*claim, id, seq + 1, at(last_wake - place as i64)),
        )
        .await;
    };
    for first in (0..claimed.len()).step_by(CONCURRENT_CALLS) {
        join_all((first..claimed.len().min(first + CONCURRENT_CALLS)).map(suspend_claimed)).await;
    }
    claimed.into_iter().map(|(claim, _)| claim.key).collect()
}
