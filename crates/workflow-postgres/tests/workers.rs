//! Four worker processes on one database, and everything that can happen to them.
//!
//! Each test ends with the same questions: has every run one outcome, is every history whole and
//! written under claims in their order, has every event arrived once, after duplicates are dropped?

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod cluster;
mod support;

use std::time::Duration;

use cluster::{Cluster, ORDER, REFUND};
use futures::future::{join, join3};
use support::{alone, runtime, server, sized, started};
use tracker_http::testing::Answer;
use workflow_engine::{RunFilter, Status, Store};
use workflow_postgres::testing::Stop;

/// Not a test: the worker processes are this binary with this name.
#[test]
fn worker_process() {
    cluster::live_as_a_worker();
}

/// How many runs each test has.
fn runs() -> u64 {
    sized(400, 10_000)
}

async fn moment(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await; // tidy: sleep: the moment of a fault
}

#[test]
fn workers_that_are_killed_and_frozen_lose_nothing() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let mut cluster = Cluster::new(server).await;
        cluster.start(&ORDER, runs()).await;
        cluster.add(4);
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..sized(8, 100) {
            moment(random.u64(50..500)).await;
            let victim = random.usize(0..4);
            if random.bool() {
                cluster.workers[victim].kill();
                cluster.replace(victim);
            } else {
                // It is stopped for longer than its lease: when it continues, other workers have
                // its runs.
                cluster.workers[victim].signal("-STOP");
                moment(random.u64(100..4_000)).await;
                cluster.workers[victim].signal("-CONT");
            }
        }
        cluster.check(runs() as usize).await;
    });
}

#[test]
fn a_server_that_is_restarted_under_load_loses_nothing() {
    let (_alone, Some(server)) = (alone(), started(&["autovacuum=off"])) else {
        return;
    };
    if server.address().is_none() {
        return eprintln!("skipped: the server of WF_TEST_PG_URL is not restarted");
    }
    runtime().block_on(async {
        let mut cluster = Cluster::new(&server).await;
        cluster.add(4);
        let restarts = async {
            for how in [Stop::Fast, Stop::Immediate]
                .into_iter()
                .cycle()
                .take(sized(4, 20))
            {
                moment(700).await;
                server.stop(how).await.unwrap();
                moment(300).await;
                server.resume().await.unwrap();
            }
        };
        let ended = cluster.until_ended(runs() as usize);
        let ((), (), pause) = join3(cluster.start(&ORDER, runs()), restarts, ended).await;
        println!("nothing ended for {pause:?} at most");
        cluster.check(runs() as usize).await;
    });
}

#[test]
fn connections_that_are_cut_lose_nothing() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let mut cluster = Cluster::new(server).await;
        cluster.add(4);
        let knife = cluster.raw("postgres").await;
        let database = cluster.url.split("dbname=").nth(1).unwrap().to_owned();
        let cuts = async {
            for _ in 0..sized(30, 300) {
                moment(70).await;
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 \
                           ORDER BY random() LIMIT 3";
                knife.query(cut, &[&database]).await.unwrap();
            }
        };
        join(cluster.start(&ORDER, runs()), cuts).await;
        cluster.check(runs() as usize).await;
    });
}

#[test]
fn workers_whose_clocks_are_an_hour_off_take_nothing_too_early_or_too_late() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let mut cluster = Cluster::new(server).await;
        // First all of them together; then one by one, so that it shows whether each of them works.
        for ahead in [0, 3_600, -3_600] {
            let worker = cluster.spawn(true, ahead);
            cluster.workers.push(worker);
        }
        cluster.start(&ORDER, runs()).await;
        cluster.until_ended(runs() as usize).await;
        let recovered =
            "SELECT count(*) FROM workflow.history WHERE events LIKE '%\"reason\":\"recovery\"%'";
        let database = cluster
            .raw(cluster.url.split("dbname=").nth(1).unwrap())
            .await;
        let recovered: i64 = database.query_one(recovered, &[]).await.unwrap().get(0);
        assert_eq!(recovered, 0, "no lease was thought over that was not");
        cluster.workers[0].kill();
        let mut ended = runs() as usize;
        for (index, other) in [(1, 2), (2, 1)] {
            cluster.workers[other].signal("-STOP");
            cluster.start(&REFUND, (ended + 10) as u64 - runs()).await;
            ended += 10;
            cluster.until_ended(ended).await;
            cluster.workers[other].signal("-CONT");
            assert!(cluster.workers[index].is_alive());
        }
        let all = cluster
            .store
            .list(&RunFilter {
                limit: 1 << 20,
                ..RunFilter::default()
            })
            .await
            .unwrap();
        let now = cluster.store.now().await.unwrap().unwrap();
        for run in &all {
            let at = run.ended_at.unwrap();
            let off = now.duration_since(at).max(at.duration_since(now));
            assert!(
                off < Duration::from_secs(600),
                "{}: it ended {off:?} from now, by its worker's clock",
                run.id
            );
        }
        cluster.workers.remove(0);
        cluster.check(ended).await;
    });
}

#[test]
fn workers_of_two_versions_take_what_they_know() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let mut cluster = Cluster::new(server).await;
        for _ in 0..2 {
            let worker = cluster.spawn(false, 0);
            cluster.workers.push(worker);
        }
        let each = runs() / 4;
        cluster.start(&REFUND, each).await;
        cluster.start(&ORDER, each).await;
        cluster.until_ended(each as usize).await;
        let queued = RunFilter {
            statuses: vec![Status::Queued],
            limit: 1 << 20,
            ..RunFilter::default()
        };
        assert_eq!(
            cluster.store.list(&queued).await.unwrap().len(),
            each as usize,
            "the old version leaves refunds alone"
        );
        cluster.add(2);
        cluster.check(2 * each as usize).await;
    });
}

#[test]
fn a_sink_that_is_down_all_the_time_gets_everything_in_the_end() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    runtime().block_on(async {
        let mut cluster = Cluster::new(server).await;
        cluster.receiver.always(Answer::Status(503));
        cluster.add(4);
        cluster.start(&ORDER, runs()).await;
        cluster.until_ended(runs() as usize).await;
        assert_eq!(cluster.receiver.received(), 0);
        cluster.receiver.always(Answer::Accept);
        cluster.check(runs() as usize).await;
    });
}
