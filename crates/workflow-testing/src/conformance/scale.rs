//! A hundred thousand runs: none is lost, claimed twice, or out of order.

use std::sync::Arc;

use futures::future::join_all;
use workflow_events::Timestamp;

use super::fixture::*;
use workflow_engine::{RunKey, Status, Store};

/// The default number of runs of [`many_runs`].
pub const MANY: usize = 100_000;

/// The number of calls that are under way at once.
const AT_ONCE: usize = 250;

/// The number of runs that are claimed at once.
const BATCH: usize = 256;

/// A time far enough ahead that the runs can be suspended one second apart.
const FAR: i64 = 10_000_000;

/// Creates `runs` runs on a fresh store, many at once, claims them all in batches, and suspends
/// each.
///
/// This takes seconds to minutes, depending on the store.
///
/// # Panics
///
/// At the first breach.
pub async fn many_runs(store: Arc<dyn Store>, runs: usize) {
    lease(&store, "w", at(3 * FAR)).await;
    // The times go up and down, so that the order of waking is not that of creation, and many are
    // equal.
    let due = |n: usize| (n as i64 * 7_919) % 1_000;
    let mut expected = Vec::with_capacity(runs);
    let begin = async |n: usize| {
        (
            due(n),
            queued(&store, &format!("run-{n}"), at(due(n))).await,
        )
    };
    for first in (0..runs).step_by(AT_ONCE) {
        expected.extend(join_all((first..runs.min(first + AT_ONCE)).map(begin)).await);
    }
    expected.sort_unstable();
    let keys: Vec<_> = expected.iter().map(|(_, key)| *key).collect();
    let woken = claim_and_pause(&store, at(1_000), runs, 1, FAR).await;
    assert!(
        woken == keys,
        "every run is claimed once, the longest due first, then in the order of creation"
    );
    let woken = claim_and_pause(&store, at(FAR), runs, 2, 2 * FAR).await;
    assert!(
        woken.iter().rev().eq(&keys),
        "every run wakes once more, the longest due first"
    );
    let nothing = claim(&store, any("w", at(FAR), 9)).await;
    assert_eq!(ids(&nothing), [""; 0], "nothing is due any more");
    let end = store.outbox_end().await.expect("the end is read");
    assert_eq!(end.accepted, 5 * runs as u64, "every event is there");
}

/// Claims every due run in batches, then suspends them all, the last one for the shortest time.
/// Returns them in the order in which they were claimed.
async fn claim_and_pause(
    store: &Shared,
    now: Timestamp,
    runs: usize,
    round: u64,
    pause_until: i64,
) -> Vec<RunKey> {
    let mut claimed = Vec::with_capacity(runs);
    loop {
        let claims = claim(store, any("w", now, BATCH)).await.runs;
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
    let go_on = async |place: usize| {
        let ((claim, id), seq) = (&claimed[place], 2 * round);
        commit(store, append(*claim, id, seq, Status::Running, now)).await;
        commit(
            store,
            pause(*claim, id, seq + 1, at(pause_until - place as i64)),
        )
        .await;
    };
    for first in (0..claimed.len()).step_by(AT_ONCE) {
        join_all((first..claimed.len().min(first + AT_ONCE)).map(go_on)).await;
    }
    claimed.into_iter().map(|(claim, _)| claim.key).collect()
}
