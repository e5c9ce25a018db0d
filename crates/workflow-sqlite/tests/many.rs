//! More runs than one search considers or one query sorts: the answers are those of the store in
//! memory.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use futures::future::join_all;
use support::{File, commit, event, new_run, record, started};
use workflow_engine::store::{Claim, Cursor, Due, NewRun, Page, Position, Purge, Record};
use workflow_engine::{MemoryStore, Run, RunFilter, RunKey, Status, Store, Timestamp};
use workflow_sqlite::SqliteStore;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// Fills a store. Two stores that are filled with the same ids have the same keys.
async fn fill(store: &dyn Store, ids: &[String]) {
    let mut random = fastrand::Rng::with_seed(7);
    let workers = ["w", "x", "worker"];
    join_all(workers.map(|worker| store.renew(worker, Timestamp::MAX))).await;
    for (key, id) in (1..).map(RunKey).zip(ids) {
        let rarely = random.u8(..20) == 0;
        let workflow = if rarely {
            ["rare\0", "rare"][random.usize(..2)]
        } else {
            "busy"
        };
        let worker = workers[random.usize(..3)];
        let new = NewRun {
            workflow: workflow.into(),
            worker: worker.into(),
            ..new_run(id, Status::Running)
        };
        store.create(new).await.unwrap();
        let status = match random.u8(..40) {
            0..2 => Status::Failed,
            2..4 => Status::Cancelled,
            4..14 => Status::Suspended,
            14..36 => Status::Completed,
            36..38 => {
                store
                    .release(Claim { key, epoch: 1 }, Due::Now(at(0)))
                    .await
                    .unwrap();
                continue;
            }
            _ => continue,
        };
        let last = commit(Claim { key, epoch: 1 }, vec![record(2, 1)], status);
        store.commit(last).await.unwrap();
    }
}

#[tokio::test]
async fn a_list_is_what_the_filter_admits_whichever_index_finds_it() {
    let mut random = fastrand::Rng::with_seed(1);
    let letters = [
        "a",
        "a",
        "a",
        "b",
        "\0",
        "é",
        "\u{7f}",
        "\u{10ffff}",
        "%",
        "_",
    ];
    let mut text = || {
        (0..random.usize(..5))
            .map(|_| letters[random.usize(..letters.len())])
            .collect::<String>()
    };
    let mut ids: Vec<String> = (0..3_000).map(|n| format!("{}{n}", text())).collect();
    // Most ids have a common prefix.
    ids.iter_mut()
        .enumerate()
        .filter(|(n, _)| n % 7 != 0)
        .for_each(|(_, id)| id.insert_str(0, "order-"));
    let memory = MemoryStore::new();
    let file = File::new();
    let sqlite = SqliteStore::options()
        .durability(workflow_sqlite::Durability::ProcessCrash)
        .open(file.path())
        .unwrap();
    fill(&memory, &ids).await;
    fill(&sqlite, &ids).await;
    let mut random = fastrand::Rng::with_seed(2);
    for number in 0..1_500 {
        let statuses = Status::ALL
            .into_iter()
            .filter(|_| random.u8(..4) == 0)
            .collect();
        let mut one_of = |texts: &[&str]| {
            let at = random.usize(..texts.len() + 4);
            texts.get(at).map(|&text| text.to_owned())
        };
        let filter = RunFilter {
            workflow: one_of(&["busy", "rare", "rare\0", "nothing", ""]),
            worker: one_of(&["w", "x", "worker", "nobody"]),
            id_prefix: one_of(&[
                "order-",
                "order-a",
                "a",
                "aa",
                "\0",
                "é",
                "\u{10ffff}",
                "%",
                "_",
                "z",
                "",
                "order-a\0",
            ]),
            statuses: if random.bool() { Vec::new() } else { statuses },
            after: random.bool().then(|| RunKey(random.u64(..3_100))),
            limit: [0, 1, 10, 100, usize::MAX][random.usize(..5)],
        };
        let expected = memory.list(&filter).await.unwrap();
        let found = sqlite.list(&filter).await.unwrap();
        let keys = |runs: &[Run]| runs.iter().map(|run| run.key.0).collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&expected), "{number}: {filter:?}");
        assert!(found == expected, "{number}: {filter:?}");
    }
}

/// Creates a run with two events that ended at `ended_at`.
async fn ended(store: &SqliteStore, id: &str, ended_at: i64) {
    let claim = started(store, id).await;
    let last = Record {
        at: at(ended_at),
        ..record(2, 1)
    };
    store
        .commit(commit(claim, vec![last], Status::Completed))
        .await
        .unwrap();
}

#[tokio::test]
async fn runs_that_a_sink_has_not_settled_hide_none_that_can_be_purged() {
    let file = File::new();
    let store = SqliteStore::options()
        .durability(workflow_sqlite::Durability::ProcessCrash)
        .open(file.path())
        .unwrap();
    // The clock was set back: the first runs of the outbox ended last.
    for n in 0..5 {
        ended(&store, &format!("first-{n}"), 10_000).await;
    }
    let settled = store.outbox_end().await.unwrap().position;
    for n in 0..2_500 {
        ended(&store, &format!("kept-{n}"), 1 + n % 3).await;
    }
    store.open_cursor("sink").await.unwrap();
    let held = store
        .claim_sink("sink", "worker", at(0))
        .await
        .unwrap()
        .unwrap();
    let cursor = Cursor {
        position: settled,
        delivered: 10,
        ..Cursor::default()
    };
    store.set_cursor(&held, cursor).await.unwrap();
    let purge = Purge {
        completed: Some(at(20_000)),
        limit: 256,
        ..Purge::default()
    };
    let mut removed = 0;
    for _ in 0..4 {
        removed += store.purge(purge).await.unwrap().runs;
    }
    assert_eq!(removed, 5, "each call considers other runs");
    for _ in 0..4 {
        assert_eq!(
            store.purge(purge).await.unwrap().runs,
            0,
            "no run is purged whose events the sink has not settled"
        );
    }
    let end = store.outbox_end().await.unwrap();
    let cursor = Cursor {
        position: end.position,
        delivered: end.accepted,
        ..Cursor::default()
    };
    store.set_cursor(&held, cursor).await.unwrap();
    let mut removed = 0;
    loop {
        let purged = store.purge(purge).await.unwrap();
        assert!(purged.runs <= 256);
        if purged.runs == 0 {
            break;
        }
        removed += purged.runs;
    }
    assert_eq!(
        removed, 2_500,
        "all runs are purged once the sink has settled their events"
    );
}

#[tokio::test]
async fn a_purge_removes_a_bounded_number_of_records() {
    let file = File::new();
    let store = SqliteStore::options()
        .durability(workflow_sqlite::Durability::ProcessCrash)
        .open(file.path())
        .unwrap();
    for n in 0..6 {
        let claim = started(&store, &format!("long-{n}")).await;
        for first in (0..4_000).step_by(1_000) {
            let records = (first..first + 1_000)
                .map(|n| Record {
                    first_seq: n + 2,
                    at: at(0),
                    events: vec![event(n + 2)],
                    entry: None,
                })
                .collect();
            store
                .commit(commit(claim, records, Status::Running))
                .await
                .unwrap();
        }
        store
            .commit(commit(claim, vec![record(4_002, 1)], Status::Completed))
            .await
            .unwrap();
    }
    let purge = Purge {
        completed: Some(at(20_000)),
        limit: 256,
        ..Purge::default()
    };
    let mut calls = Vec::new();
    loop {
        let purged = store.purge(purge).await.unwrap();
        if purged.runs == 0 {
            break;
        }
        calls.push((purged.runs, purged.events));
    }
    assert_eq!(
        calls,
        [(3, 3 * 4_002), (3, 3 * 4_002)],
        "whole runs, and a bounded number of records"
    );
    assert_eq!(
        store
            .outbox(Position(0), Page::events(9))
            .await
            .unwrap()
            .len(),
        0
    );
}
