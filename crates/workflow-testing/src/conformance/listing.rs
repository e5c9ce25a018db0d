//! Lists of runs: filters and order.

use workflow_engine::store::NewRun;
use workflow_engine::{RunFilter, RunKey, Status};

use super::fixture::*;

/// Returns the ids of the runs that a filter admits.
async fn listed(store: &SharedStore, filter: RunFilter) -> Vec<String> {
    let runs = store.list(&filter).await.expect("runs are listed");
    runs.into_iter().map(|run| run.id).collect()
}

pub(super) async fn runs_are_listed_in_the_order_of_creation(store: SharedStore) {
    assert_eq!(
        listed(&store, RunFilter::default()).await,
        [""; 0],
        "a fresh store has no runs"
    );
    let mut created = Vec::new();
    for n in 0..120_i64 {
        // The order of creation differs from that of the ids and of the times.
        let id = format!("run-{}", (n * 7) % 120);
        create_queued(&store, &id, at(-n)).await;
        created.push(id);
    }
    let default = listed(&store, RunFilter::default()).await;
    assert_eq!(default, created[..100], "the default admits the first 100");
    let runs = list_all(&store).await;
    assert!(
        runs.iter().map(|run| &run.id).eq(&created),
        "all of them, in the order of their creation"
    );
    for run in runs {
        assert_eq!(
            read_run(&store, &run.id).await,
            run,
            "a listed run is the run as it is kept"
        );
    }
}

pub(super) async fn filters_are_combined(store: SharedStore) {
    renew_lease(&store, "w", at(100)).await;
    for (n, workflow) in ["order", "billing", "Order"].into_iter().enumerate() {
        for status in Status::ALL {
            let id = format!("{status}-{n}");
            let new = NewRun {
                workflow: workflow.to_owned(),
                worker: "w".to_owned(),
                ..new_run(&id, at(0))
            };
            if status == Status::Queued {
                create(&store, new).await;
                continue;
            }
            let claim = create(
                &store,
                NewRun {
                    status: Status::Running,
                    ..new
                },
            )
            .await;
            match status {
                Status::Running => {}
                Status::Suspended => drop(commit(&store, suspend(claim, &id, 2, at(9))).await),
                _ => drop(commit(&store, append(claim, &id, 2, status, at(1))).await),
            }
        }
    }
    for status in Status::ALL {
        let filter = RunFilter {
            statuses: vec![status],
            ..RunFilter::default()
        };
        assert_eq!(
            listed(&store, filter).await,
            ["0", "1", "2"].map(|n| format!("{status}-{n}"))
        );
    }
    let two = RunFilter {
        statuses: vec![Status::Failed, Status::Queued],
        ..RunFilter::default()
    };
    let both = [
        "queued-0", "failed-0", "queued-1", "failed-1", "queued-2", "failed-2",
    ];
    assert_eq!(
        listed(&store, two.clone()).await,
        both,
        "any of the statuses"
    );
    let order = RunFilter {
        workflow: Some("order".to_owned()),
        ..two
    };
    assert_eq!(
        listed(&store, order.clone()).await,
        ["queued-0", "failed-0"],
        "and exactly the workflow"
    );
    let prefix = RunFilter {
        id_prefix: Some("que".to_owned()),
        ..order.clone()
    };
    assert_eq!(listed(&store, prefix).await, ["queued-0"], "and the prefix");
    let none = RunFilter {
        id_prefix: Some("queued-1".to_owned()),
        ..order
    };
    assert_eq!(listed(&store, none).await, [""; 0], "all filters together");
    let unknown = RunFilter {
        workflow: Some("%".to_owned()),
        ..RunFilter::default()
    };
    assert_eq!(
        listed(&store, unknown).await,
        [""; 0],
        "a workflow is a name, not a pattern"
    );
}

pub(super) async fn runs_are_listed_by_worker(store: SharedStore) {
    renew_lease(&store, "w", at(100)).await;
    renew_lease(&store, "v", at(100)).await;
    for (id, worker) in [("a", "w"), ("b", "v"), ("c", "w")] {
        let new = NewRun {
            status: Status::Running,
            worker: worker.to_owned(),
            ..new_run(id, at(0))
        };
        create(&store, new).await;
    }
    let held_by = |worker: &str| RunFilter {
        worker: Some(worker.to_owned()),
        ..RunFilter::default()
    };
    assert_eq!(listed(&store, held_by("w")).await, ["a", "c"]);
    store.retire("w", at(1)).await.expect("a worker retires");
    assert_eq!(
        listed(&store, held_by("w")).await,
        [""; 0],
        "it holds no run"
    );
    assert_eq!(listed(&store, held_by("v")).await, ["b"]);
}

pub(super) async fn a_prefix_is_literal(store: SharedStore) {
    let unusual = [
        "a%b",
        "a_b",
        "axb",
        "a%",
        "A%b",
        "é-1",
        "e\u{301}-1",
        "流程/1",
        "流/2",
        "a\\%b",
        "a*b",
        "a[b]",
        "a'b",
        "\u{10ffff}",
        "\u{10ffff}z",
        "a\u{ff}",
        "aé",
        "a",
    ];
    for id in unusual {
        create_queued(&store, id, at(0)).await;
    }
    let prefixes = [
        "a%",
        "a_",
        "a",
        "A",
        "é",
        "e",
        "流",
        "流程",
        "a\\",
        "a*",
        "a[",
        "a'",
        "%",
        "_",
        "\u{10ffff}",
        "aé",
        "",
        "z",
        "a\u{ff}b",
        // Extreme prefixes: the last character, more of them than an id has, and a prefix longer
        // than every id.
        "\u{10ffff}\u{10ffff}",
        "\u{10ffff}zz",
        "\u{7f}",
        "\u{7ff}",
        "\u{ffff}",
        "a%b and very much longer than any of the ids that there are",
    ];
    for prefix in prefixes {
        let expected: Vec<_> = unusual
            .into_iter()
            .filter(|id| id.starts_with(prefix))
            .collect();
        let filter = RunFilter {
            id_prefix: Some(prefix.to_owned()),
            ..RunFilter::default()
        };
        assert_eq!(
            listed(&store, filter).await,
            expected,
            "ids that start with {prefix:?}"
        );
    }
}

pub(super) async fn pages_follow_each_other(store: SharedStore) {
    for n in 0..10 {
        let id = format!("{}-{n}", ["even", "odd"][n % 2]);
        create_queued(&store, &id, at(0)).await;
    }
    for (prefix, limit) in [
        ("", 3),
        ("", 10),
        ("odd", 2),
        ("odd", 5),
        ("even", 1),
        ("none", 4),
    ] {
        let whole = RunFilter {
            id_prefix: Some(prefix.to_owned()),
            ..RunFilter::default()
        };
        let expected = listed(&store, whole.clone()).await;
        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let page = RunFilter {
                after,
                limit,
                ..whole.clone()
            };
            let page = store.list(&page).await.expect("runs are listed");
            assert!(page.len() <= limit, "at most {limit}");
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            pages.extend(page.into_iter().map(|run| run.id));
            assert!(
                pages.len() <= expected.len(),
                "a page begins after the last: {pages:?}"
            );
        }
        assert_eq!(pages, expected, "page by page it is the same");
    }
    assert_eq!(
        listed(
            &store,
            RunFilter {
                limit: 0,
                ..RunFilter::default()
            }
        )
        .await,
        [""; 0],
        "none were requested"
    );
    let from_start = RunFilter {
        after: Some(RunKey(0)),
        ..RunFilter::default()
    };
    assert_eq!(
        listed(&store, from_start).await.len(),
        10,
        "nothing is before the first key"
    );
}
