//! What the engine's tests share.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test binary compiles this module and uses a part of it"
)]

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use tracker_core::Clock;
use tracker_core::testing::{MemoryTransport, TestClock};
use workflow_engine::store::{Record, Span};
use workflow_engine::{
    Context, EncodedEvent, Engine, EngineBuilder, Failure, MemoryStore, Store, Timestamp, Workflow,
};
use workflow_events::Event;

/// Where test events go.
pub type Sink = MemoryTransport<EncodedEvent>;

/// `n` steps that do nothing, named `step-1` and so on; returns `n`.
pub const STEPS: Workflow<u32, u32> = Workflow::new("steps");

/// The function behind [`STEPS`].
pub async fn steps(ctx: Context, count: u32) -> Result<u32, Failure> {
    for n in 1..=count {
        ctx.step(format!("step-{n}"), || async { Ok::<_, Failure>(()) })
            .await?;
    }
    Ok(count)
}

/// An engine in memory on a clock that skips waits, with [`STEPS`] and one sink.
pub struct Bench {
    pub clock: Arc<TestClock>,
    pub store: Arc<MemoryStore>,
    pub sink: Arc<Sink>,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            clock: Arc::new(TestClock::new()),
            store: Arc::new(MemoryStore::new()),
            sink: Arc::new(Sink::new()),
        }
    }

    pub fn builder(&self) -> EngineBuilder {
        let builder = Engine::builder()
            .store(self.store.clone())
            .clock(self.clock.clone());
        builder
            .sink("collector", self.sink.clone())
            .workflow(&STEPS, steps)
    }

    /// The records of a run.
    pub async fn records(&self, id: &str) -> Vec<Record> {
        let run = self
            .store
            .run(id)
            .await
            .unwrap()
            .expect("there is such a run");
        self.store.records(run.key, Span::All).await.unwrap()
    }

    /// The types of the events in a run's history.
    pub async fn told(&self, id: &str) -> Vec<String> {
        let records = self.records(id).await;
        let events: Vec<_> = records
            .iter()
            .flat_map(|record| record.events.clone())
            .collect();
        types(&decode(&events))
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    pub fn delivered(&self) -> Vec<Event> {
        decode(&self.sink.delivered())
    }
}

pub fn decode(events: &[EncodedEvent]) -> Vec<Event> {
    events
        .iter()
        .map(|event| {
            event
                .decode()
                .expect("the engine writes events that can be read")
        })
        .collect()
}

pub fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.type_name()).collect()
}

/// Works through every sleep, until nothing is due any more.
pub async fn work_off(bench: &Bench, engine: &Engine) {
    for _ in 0..1_000 {
        let Some(next_wake) = engine.run_until_idle().await.unwrap().next_wake else {
            return;
        };
        bench
            .clock
            .sleep(next_wake.duration_since(now(bench)))
            .await;
    }
    panic!("there is no end to it");
}

/// The time of day on the test's clock.
pub fn now(bench: &Bench) -> Timestamp {
    Timestamp::try_from(bench.clock.wall()).unwrap()
}

/// Polls `future` for `time`, then drops it: as if its process had died.
pub async fn killed_after<F: Future>(bench: &Bench, time: Duration, future: F) {
    let future = pin!(future);
    assert!(
        matches!(
            select(future, bench.clock.sleep(time)).await,
            Either::Right(_)
        ),
        "it ended before"
    );
}
