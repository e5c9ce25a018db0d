//! Helpers that the tests of the engine share.

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

/// The sink of test events.
pub type Sink = MemoryTransport<EncodedEvent>;

/// A workflow of `n` steps that do nothing, named `step-1` and so on. It returns `n`.
pub const STEPS: Workflow<u32, u32> = Workflow::new("steps");

/// The function behind [`STEPS`].
pub async fn steps(ctx: Context, count: u32) -> Result<u32, Failure> {
    for n in 1..=count {
        ctx.step(format!("step-{n}"), || async { Ok::<_, Failure>(()) })
            .await?;
    }
    Ok(count)
}

/// The parts of an engine in memory on a clock that skips waits, with [`STEPS`] and one sink.
pub struct Fixture {
    pub clock: Arc<TestClock>,
    pub store: Arc<MemoryStore>,
    pub sink: Arc<Sink>,
}

impl Fixture {
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

    /// Returns the records of a run.
    pub async fn records(&self, id: &str) -> Vec<Record> {
        let run = self.store.run(id).await.unwrap().expect("the run exists");
        self.store.records(run.key, Span::All).await.unwrap()
    }

    /// Returns the types of the events in a run's history.
    pub async fn event_types(&self, id: &str) -> Vec<String> {
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

/// Executes runs through all their sleeps, until no run is due.
pub async fn run_until_done(fixture: &Fixture, engine: &Engine) {
    for _ in 0..1_000 {
        let Some(next_wake) = engine.run_until_idle().await.unwrap().next_wake else {
            return;
        };
        fixture
            .clock
            .sleep(next_wake.duration_since(now(fixture)))
            .await;
    }
    panic!("runs are still due after 1,000 sleeps");
}

/// Returns the wall-clock time of the test clock.
pub fn now(fixture: &Fixture) -> Timestamp {
    Timestamp::try_from(fixture.clock.wall()).unwrap()
}

/// Polls `future` for `time` and then drops it, as a dead process does.
///
/// # Panics
///
/// When the future completes before.
pub async fn drop_after<F: Future>(fixture: &Fixture, time: Duration, future: F) {
    let future = pin!(future);
    assert!(
        matches!(
            select(future, fixture.clock.sleep(time)).await,
            Either::Right(_)
        ),
        "the future completed before it was dropped"
    );
}
