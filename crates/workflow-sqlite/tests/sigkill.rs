//! Real kills: a process is killed with SIGKILL at random moments, many times on one file, while
//! the receiver fails too. At the end every run has one outcome, every event has arrived, and no
//! step had its effect after its record.
//!
//! `KILLS` sets the number of kills (default 25); `cargo xtask kills` is the long form.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tracker_core::Config;
use tracker_http::testing::{Answer, FaultServer};
use workflow_engine::store::{EntryKind, Span};
use workflow_engine::{
    Context, Engine, Failure, HttpTransport, Retry, RunFilter, Status, Store, Timestamp, Workflow,
};
use workflow_sqlite::{Durability, SqliteStore};

const ORDER: Workflow<u64, u64> = Workflow::new("order");

/// Environment variables of a life of the process.
const FOLDER_VARIABLE: &str = "SIGKILL_FOLDER";
const ENDPOINT_VARIABLE: &str = "SIGKILL_ENDPOINT";
const LIFE_VARIABLE: &str = "SIGKILL_LIFE";

/// The world outside the process: a file to which every effect is appended before its step
/// returns.
#[derive(Clone)]
struct World {
    effects: Arc<Mutex<File>>,
    store: SqliteStore,
    /// Runs whose charge has failed once in this process.
    failed: Arc<Mutex<HashSet<String>>>,
}

impl World {
    /// Writes the effect of a step, and marks it as late if the end of the step is already
    /// recorded.
    async fn effect(&self, run: &str, step: &str) -> Result<(), Failure> {
        let key = self
            .store
            .run(run)
            .await?
            .ok_or_else(|| Failure::new("there is no such run"))?
            .key;
        let records = self.store.records(key, Span::All).await?;
        let is_completed = |kind| matches!(kind, EntryKind::StepCompleted | EntryKind::StepFailed);
        let late = records
            .iter()
            .filter_map(|record| record.entry.as_ref())
            .any(|entry| is_completed(entry.kind) && entry.name == step);
        let line = format!("{} {run} {step}\n", if late { "late" } else { "ok" });
        self.effects.lock().unwrap().write_all(line.as_bytes())?;
        Ok(())
    }
}

async fn order(ctx: Context, n: u64, world: World) -> Result<u64, Failure> {
    let id = ctx.run_id();
    let world = &world;
    let reserve = ctx
        .step("reserve", || async {
            world.effect(id, "reserve").await.map(|()| n)
        })
        .await?;
    let both = [("mail", 1), ("print", 2)].map(|(name, value)| {
        ctx.step(name, move || async move {
            world.effect(id, name).await.map(|()| value)
        })
    });
    let both: u64 = join_all(both).await.into_iter().sum::<Result<u64, _>>()?;
    ctx.sleep(Duration::from_millis(30)).await;
    let charge = || async {
        world.effect(id, "charge").await?;
        let fails = !n.is_multiple_of(3) && world.failed.lock().unwrap().insert(id.to_owned());
        if fails {
            Err(Failure::new("busy"))
        } else {
            Ok(4)
        }
    };
    let policy = Retry::constant(Duration::from_millis(20)).attempts(1_000)?;
    let charge = ctx
        .step("charge", charge)
        .retry(policy)
        .timeout(Duration::from_secs(10))
        .await?;
    let fallback = match ctx
        .step("broken", || async { Err::<u64, _>(Failure::new("no")) })
        .await
    {
        Ok(value) => value,
        Err(_) => {
            ctx.step("fallback", || async {
                world.effect(id, "fallback").await.map(|()| 8)
            })
            .await?
        }
    };
    Ok(reserve + both + charge + fallback)
}

/// Returns the output of [`order`] for `n`.
fn expected(n: u64) -> u64 {
    n + 3 + 4 + 8
}

fn engine(folder: &Path, endpoint: &str) -> (SqliteStore, Engine) {
    let opening = Instant::now();
    let store = loop {
        match SqliteStore::open(folder.join("runs.db")) {
            Ok(store) => break store,
            // The kernel may release the lock of a killed process with a delay.
            Err(error) => assert!(opening.elapsed() < Duration::from_secs(10), "{error}"),
        }
        std::thread::yield_now();
    };
    assert_eq!(store.durability(), Durability::PowerLoss);
    let effects = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("effects"))
        .unwrap();
    let world = World {
        effects: Arc::new(Mutex::new(effects)),
        store: store.clone(),
        failed: Arc::default(),
    };
    let engine = Engine::builder()
        .store(Arc::new(store.clone()))
        // Even the short waits of this test suspend the run.
        .suspend_after(Duration::from_millis(5))
        .max_recoveries(u32::MAX)
        .delivery(
            Config::builder()
                .initial_delay(Duration::from_millis(10))
                .max_delay(Duration::from_millis(50))
                .build()
                .unwrap(),
        )
        .sink(
            "receiver",
            Arc::new(HttpTransport::builder(endpoint).build().unwrap()),
        )
        .workflow(&ORDER, move |ctx, n| order(ctx, n, world.clone()))
        .build()
        .unwrap();
    (store, engine)
}

/// One life of the process, which is killed in the middle.
#[test]
fn life() {
    // Only the other test sets the variable.
    let Ok(folder) = std::env::var(FOLDER_VARIABLE).map(PathBuf::from) else {
        return;
    };
    let endpoint = std::env::var(ENDPOINT_VARIABLE).unwrap();
    let life = std::env::var(LIFE_VARIABLE).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (_, engine) = engine(&folder, &endpoint);
        let worker = tokio::spawn({
            let engine = engine.clone();
            async move { engine.work().await }
        });
        for n in 0.. {
            let handle = engine
                .start(&ORDER, format!("{life}-{n}"), n)
                .await
                .unwrap();
            let ran = engine.run(&ORDER, format!("{life}-{n}-here"), n).await;
            assert!(ran.is_ok(), "{ran:?}");
            if n % 4 == 3 {
                let _ = handle.result().await.unwrap();
            }
        }
        worker.await.unwrap();
    });
}

#[test]
fn nothing_is_lost_however_often_the_process_is_killed() {
    let kills: u32 =
        std::env::var("KILLS").map_or(25, |kills| kills.parse().expect("KILLS is a number"));
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let receiver = Arc::new(runtime.block_on(FaultServer::start()).unwrap());
    let mut random = fastrand::Rng::new();
    for life in 0..kills {
        for _ in 0..random.usize(..4) {
            let answers = [
                Answer::Status(503),
                Answer::LoseAnswer,
                Answer::Reset,
                Answer::AtMost(7),
                Answer::ResetInBody,
            ];
            receiver.then(random.choice(answers).unwrap());
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["life", "--exact", "--nocapture"])
            .env(FOLDER_VARIABLE, folder.path())
            .env(ENDPOINT_VARIABLE, receiver.url())
            .env(LIFE_VARIABLE, life.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let moment = Duration::from_millis(random.u64(1..250));
        std::thread::sleep(moment); // tidy: sleep: the random moment of the kill is the test
        assert!(
            child.try_wait().unwrap().is_none(),
            "life {life} ended by itself"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
    runtime.block_on(async {
        let (store, engine) = engine(folder.path(), &receiver.url());
        let deadline = Instant::now() + Duration::from_secs(120);
        while let Some(next_wake) = engine.run_until_idle().await.unwrap().next_wake {
            assert!(Instant::now() < deadline, "the runs do not end");
            let now = Timestamp::try_from(std::time::SystemTime::now()).unwrap();
            tokio::time::sleep(next_wake.duration_since(now)).await; // tidy: sleep: the runs sleep on the real clock
        }
        let report = engine.shutdown(Duration::from_secs(60)).await;
        assert!(report.is_complete(), "{report}");
        let summary = check(&store, folder.path(), &receiver).await;
        println!("{kills} kills: {summary}\n{report}");
    });
}

/// Checks the guarantees at the end, and returns the counts.
async fn check(store: &SqliteStore, folder: &Path, receiver: &FaultServer) -> String {
    let effects = std::fs::read_to_string(folder.join("effects")).unwrap();
    let late: Vec<_> = effects
        .lines()
        .filter(|line| line.starts_with("late"))
        .collect();
    assert!(late.is_empty(), "effects after their records: {late:?}");
    let effects: HashSet<&str> = effects
        .lines()
        .filter_map(|line| line.strip_prefix("ok "))
        .collect();

    let runs = store
        .list(&RunFilter {
            limit: usize::MAX >> 1,
            ..RunFilter::default()
        })
        .await
        .unwrap();
    let mut written = HashMap::new();
    let mut resumed = 0;
    for run in &runs {
        assert_eq!(run.status, Status::Completed, "{run:?}");
        let records = store.records(run.key, Span::All).await.unwrap();
        let mut seq = 0;
        for event in records.iter().flat_map(|record| &record.events) {
            let event = event.decode().unwrap();
            seq += 1;
            assert_eq!(event.seq, seq, "the history of {} has a gap", run.id);
            resumed += usize::from(event.kind.type_name() == "workflow.resumed");
            assert!(
                written
                    .insert(event.event_id.to_string(), (run.id.clone(), seq))
                    .is_none(),
                "two events have the same id"
            );
        }
        let entries: Vec<_> = records
            .iter()
            .filter_map(|record| record.entry.as_ref())
            .collect();
        let outcomes = entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Completed)
            .count();
        assert_eq!(outcomes, 1, "run {} has one outcome", run.id);
        let n: u64 = run.id.split('-').nth(1).unwrap().parse().unwrap();
        let output: u64 = entries
            .last()
            .unwrap()
            .payload
            .as_ref()
            .unwrap()
            .decode()
            .unwrap();
        assert_eq!(output, expected(n), "run {}", run.id);
        for step in ["reserve", "mail", "print", "charge", "fallback"] {
            assert!(
                effects.contains(format!("{} {step}", run.id).as_str()),
                "{} has no effect of {step}",
                run.id
            );
        }
    }

    let received = receiver.events();
    let mut known = HashSet::new();
    let mut last_seqs = HashMap::new();
    for event in &received {
        let id = event["eventId"].as_str().unwrap();
        let (run, seq) = written
            .get(id)
            .expect("the receiver has an event that is in no history");
        if known.insert(id) {
            let last = last_seqs.entry(run).or_insert(0);
            assert_eq!(
                *seq,
                *last + 1,
                "the events of {run} have arrived out of order"
            );
            *last = *seq;
        }
    }
    assert_eq!(known.len(), written.len(), "the receiver has every event");
    let duplicates = received.len() - known.len();
    format!(
        "{} runs, {} events, {resumed} resumptions, {duplicates} duplicates dropped",
        runs.len(),
        written.len()
    )
}
