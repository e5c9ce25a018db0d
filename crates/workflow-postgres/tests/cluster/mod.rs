//! Several worker processes on one database, a receiver for their events, and what must be true at
//! the end.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use futures::future::join_all;
use tokio_postgres::{Client, NoTls};
use tracker_core::{Clock, Config};
use tracker_http::testing::FaultServer;
use workflow_engine::{
    Context, Engine, Failure, HttpTransport, RunFilter, Status, Store, TokioClock, Workflow,
};
use workflow_events::{Event, Payload, RunView};
use workflow_postgres::PostgresStore;
use workflow_postgres::testing::Server;

/// The environment of a worker process.
const URL: &str = "WF_WORKER_URL";
const SINK: &str = "WF_WORKER_SINK";
const KNOWS: &str = "WF_WORKER_KNOWS";
const AHEAD: &str = "WF_WORKER_AHEAD";

pub(crate) const ORDER: Workflow<u64, u64> = Workflow::new("order");
pub(crate) const REFUND: Workflow<u64, u64> = Workflow::new("refund");

/// Steps one after the other, two at once, and a short sleep between.
async fn order(ctx: Context, n: u64) -> Result<u64, Failure> {
    let step = |value: u64| async move {
        // As long as a call of another service takes.
        tokio::time::sleep(Duration::from_millis(5)).await; // tidy: sleep: a step's work
        Ok::<_, Failure>(value)
    };
    let charge = ctx.step("charge", || step(n)).await?;
    let both = join_all([ctx.step("pack", || step(1)), ctx.step("label", || step(2))]).await;
    ctx.sleep(Duration::from_millis(20)).await;
    let mail = ctx.step("mail", || step(3)).await?;
    Ok(charge + both.into_iter().sum::<Result<u64, _>>()? + mail)
}

/// A worker's clock, which may be wrong.
#[derive(Debug)]
struct Wrong(TokioClock, i64);

#[async_trait]
impl Clock for Wrong {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn wall(&self) -> SystemTime {
        let seconds = Duration::from_secs(self.1.unsigned_abs());
        if self.1 < 0 {
            self.0.wall() - seconds
        } else {
            self.0.wall() + seconds
        }
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

/// The life of a worker process: works until its input ends. Returns at once in a process that is
/// none.
pub(crate) fn live_as_a_worker() {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ahead = std::env::var(AHEAD)
            .ok()
            .and_then(|ahead| ahead.parse().ok())
            .unwrap_or(0);
        let store = loop {
            // A server that is being started again refuses for a moment.
            match PostgresStore::connect(&url).await {
                Ok(store) => break store,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await, // tidy: sleep: until it is there
            }
        };
        let config = Config::builder()
            .max_delay(Duration::from_millis(200))
            .initial_delay(Duration::from_millis(50))
            .build()
            .unwrap();
        let transport = HttpTransport::builder(std::env::var(SINK).unwrap())
            .build()
            .unwrap();
        let mut builder = Engine::builder()
            .store(Arc::new(store))
            .clock(Arc::new(Wrong(TokioClock::new(), ahead)))
            .delivery(config)
            .sink("collector", Arc::new(transport))
            .lease(Duration::from_secs(2))
            .poll_interval(Duration::from_millis(200))
            .max_concurrent_runs(64)
            .workflow(&ORDER, order);
        if std::env::var(KNOWS).is_ok_and(|knows| knows == "refund") {
            builder = builder.workflow(&REFUND, order);
        }
        let engine = builder.build().unwrap();
        let work = tokio::spawn({
            let engine = engine.clone();
            async move { engine.work().await }
        });
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
            .await
            .unwrap()
            .unwrap();
        let report = engine.shutdown(Duration::from_secs(10)).await;
        work.await.unwrap();
        println!("{report}");
    });
    // Not the harness's exit, which would say that a test has passed.
    std::process::exit(0);
}

/// A worker process.
pub(crate) struct Worker {
    process: Child,
    knows_refunds: bool,
    ahead: i64,
}

impl Worker {
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Nothing that a test has started outlives it.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) struct Cluster<'a> {
    server: &'a Server,
    pub(crate) url: String,
    pub(crate) receiver: FaultServer,
    pub(crate) store: PostgresStore,
    pub(crate) workers: Vec<Worker>,
    pub(crate) runs: AtomicU32,
}

impl<'a> Cluster<'a> {
    pub(crate) async fn new(server: &'a Server) -> Self {
        let url = server.database().await.unwrap();
        let store = PostgresStore::connect(&url).await.unwrap();
        let receiver = FaultServer::start().await.unwrap();
        Self {
            server,
            url,
            receiver,
            store,
            workers: Vec::new(),
            runs: AtomicU32::new(0),
        }
    }

    /// Starts a worker.
    pub(crate) fn spawn(&self, knows_refunds: bool, ahead: i64) -> Worker {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["worker_process", "--exact", "--nocapture"])
            .env(URL, &self.url)
            .env(SINK, self.receiver.url());
        command
            .env(KNOWS, if knows_refunds { "refund" } else { "" })
            .env(AHEAD, ahead.to_string());
        let process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Worker {
            process,
            knows_refunds,
            ahead,
        }
    }

    pub(crate) fn add(&mut self, workers: usize) {
        for _ in 0..workers {
            self.workers.push(self.spawn(true, 0));
        }
    }

    /// Replaces a process that has ended.
    pub(crate) fn replace(&mut self, index: usize) {
        let Worker {
            knows_refunds,
            ahead,
            ..
        } = self.workers[index];
        self.workers[index] = self.spawn(knows_refunds, ahead);
    }

    /// Starts runs, as a service does that executes nothing itself.
    pub(crate) async fn start(&self, workflow: &Workflow<u64, u64>, runs: u64) {
        let engine = Engine::builder().store(Arc::new(self.store.clone()));
        let engine = engine
            .workflow(&ORDER, order)
            .workflow(&REFUND, order)
            .build()
            .unwrap();
        for n in 0..runs {
            let id = format!("{}-{n}", workflow.name());
            // The server may be unavailable for a while.
            while engine.start(workflow, id.clone(), n).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await; // tidy: sleep: a client that tries again
            }
            self.runs.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) async fn raw(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.server.url_of(database), NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    /// Returns how many runs have ended.
    pub(crate) async fn ended(&self) -> usize {
        let statuses = vec![Status::Completed, Status::Failed, Status::Cancelled];
        let filter = RunFilter {
            statuses,
            limit: 1_000_000,
            ..RunFilter::default()
        };
        self.store.list(&filter).await.map_or(0, |runs| runs.len())
    }

    /// Waits until the given number of runs have ended; returns the longest time without an end.
    pub(crate) async fn until_ended(&self, runs: usize) -> Duration {
        let (mut last, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
        while last < runs {
            tokio::time::sleep(Duration::from_millis(100)).await; // tidy: sleep: between two looks
            let ended = self.ended().await;
            longest = longest.max(since.elapsed());
            if ended > last {
                (last, since) = (ended, Instant::now());
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "nothing goes on: {last} of {runs} runs have ended"
            );
        }
        longest
    }

    /// Lets everything end in good order, and checks that every run has one outcome, every history
    /// is whole and was written under claims in their order, and every event has arrived, in order.
    pub(crate) async fn check(mut self, runs: usize) {
        self.until_ended(runs).await;
        for worker in &mut self.workers {
            // They may have been frozen.
            worker.signal("-CONT");
            drop(worker.process.stdin.take());
        }
        self.workers
            .iter_mut()
            .for_each(|worker| drop(worker.process.wait()));
        // What the last of them had no time for.
        let transport = Arc::new(HttpTransport::builder(self.receiver.url()).build().unwrap());
        let rest = Engine::builder()
            .store(Arc::new(self.store.clone()))
            .sink("collector", transport)
            .build()
            .unwrap();
        let report = rest.shutdown(Duration::from_secs(60)).await;
        assert!(report.is_complete(), "{report}");

        let all = self
            .store
            .list(&RunFilter {
                limit: 1_000_000,
                ..RunFilter::default()
            })
            .await
            .unwrap();
        assert_eq!(all.len(), runs);
        let mut received: HashMap<String, Vec<(u64, String)>> = HashMap::new();
        let mut known = HashSet::new();
        for event in self.receiver.events() {
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            if known.insert(text("eventId")) {
                let seq = event["seq"].as_u64().unwrap();
                received
                    .entry(text("workflowId"))
                    .or_default()
                    .push((seq, text("eventId")));
            }
        }
        let histories = join_all(all.iter().map(|run| rest.history(&run.id))).await;
        for (run, history) in all.iter().zip(histories) {
            let history: Vec<Event> = history.unwrap();
            assert_eq!(run.status, Status::Completed, "{run:?}");
            let ends = history
                .iter()
                .filter(|event| event.kind.type_name() == "workflow.completed")
                .count();
            assert_eq!(ends, 1, "{}: one outcome", run.id);
            let view = RunView::from_events(&history);
            assert!(
                view.is_complete(),
                "{}: {:?}",
                run.id,
                view.missing().collect::<Vec<_>>()
            );
            let n: u64 = run.id.split('-').next_back().unwrap().parse().unwrap();
            assert_eq!(
                view.output(),
                Some(&Payload::encode(&(n + 6)).unwrap()),
                "{}",
                run.id
            );
            let written: Vec<_> = history
                .iter()
                .map(|event| (event.seq, event.event_id.to_string()))
                .collect();
            assert_eq!(
                received.remove(&run.id).unwrap_or_default(),
                written,
                "{}: what arrived",
                run.id
            );
        }
        let database = self
            .url
            .split("dbname=")
            .nth(1)
            .unwrap_or("postgres")
            .to_owned();
        let falls = "SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER (PARTITION BY run ORDER BY seq) AS falls \
                     FROM workflow.history) h WHERE falls";
        let falls: i64 = self
            .raw(&database)
            .await
            .query_one(falls, &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(falls, 0, "records under an epoch that was over");
        let duplicates = self.receiver.events().len() - known.len();
        let claims: i64 = self
            .raw(&database)
            .await
            .query_one("SELECT last_value FROM workflow.sink_epochs", &[])
            .await
            .unwrap()
            .get(0);
        println!(
            "{runs} runs, {} events, {duplicates} of them sent more than once; the last claim on the sink was number {claims}",
            known.len()
        );
        let _ = std::io::stdout().flush();
    }
}
