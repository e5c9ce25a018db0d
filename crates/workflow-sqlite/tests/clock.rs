//! A clock that is set back keeps no run waiting.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use support::File;
use tracker_core::Clock;
use tracker_http::TokioClock;
use workflow_engine::store::{ClaimRequest, Due};
use workflow_engine::{Context, Engine, Failure, Status, Store, Timestamp, Workflow};

const ORDER: Workflow<(), ()> = Workflow::new("order");
const NIGHTLY: Workflow<(), ()> = Workflow::new("nightly");

async fn order(ctx: Context, (): ()) -> Result<(), Failure> {
    Ok(ctx
        .step("charge", || async { Ok::<_, Failure>(()) })
        .await?)
}

async fn nightly(ctx: Context, (): ()) -> Result<(), Failure> {
    ctx.sleep(Duration::from_secs(1_800)).await;
    Ok(())
}

/// A clock whose wall time is ahead by a number of seconds.
#[derive(Debug, Default)]
struct ShiftedClock {
    clock: TokioClock,
    seconds: AtomicU64,
}

impl ShiftedClock {
    fn set(&self, seconds: u64) {
        self.seconds.store(seconds, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl Clock for ShiftedClock {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn wall(&self) -> SystemTime {
        self.clock.wall() + Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await; // tidy: sleep: the method of the clock
    }
}

fn engine(store: Arc<dyn Store>, clock: &Arc<ShiftedClock>) -> Engine {
    let builder = Engine::builder().store(store).clock(clock.clone());
    builder
        .workflow(&ORDER, order)
        .workflow(&NIGHTLY, nightly)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_run_is_executed_although_the_clock_was_set_back_by_an_hour() {
    let file = File::new();
    let clock = Arc::new(ShiftedClock::default());
    let store = file.open();
    let first = engine(Arc::new(store.clone()), &clock);
    clock.set(3_600);
    first.start(&ORDER, "before", ()).await.unwrap();
    clock.set(0);
    assert_eq!(
        first.run_until_idle().await.unwrap().executed,
        1,
        "the same process executes it"
    );
    clock.set(3_600);
    first.start(&ORDER, "after", ()).await.unwrap();
    first.start(&NIGHTLY, "sleeping", ()).await.unwrap();
    let _ = first.shutdown(Duration::from_secs(10)).await;
    drop(first);
    file.close(store).await;

    clock.set(0);
    let store = file.open();
    let second = engine(Arc::new(store.clone()), &clock);
    let idle = second.run_until_idle().await.unwrap();
    assert_eq!(idle.executed, 2, "and so does the next one");
    assert!(idle.next_wake.is_some(), "only a sleep waits for the clock");
    assert_eq!(
        store.run("after").await.unwrap().unwrap().status,
        Status::Completed
    );
    assert_eq!(
        store.run("sleeping").await.unwrap().unwrap().status,
        Status::Suspended
    );
    let _ = second.shutdown(Duration::from_secs(10)).await;
}

/// A run was released for half a minute. If the clock is then set back by an hour, the run must not
/// wait for an hour once the file is opened again.
#[tokio::test]
async fn a_released_run_waits_no_longer_than_its_process_lives() {
    let file = File::new();
    let clock = Arc::new(ShiftedClock::default());
    clock.set(3_600);
    let store = Arc::new(file.open());
    let claim = support::started(&store, "released").await;
    let later = Timestamp::try_from(clock.wall() + Duration::from_secs(30)).unwrap();
    store.release(claim, Due::At(later)).await.unwrap();
    let closed = store.closed();
    drop(store);
    closed.await;

    clock.set(0);
    let now = Timestamp::try_from(clock.wall()).unwrap();
    let request = ClaimRequest {
        worker: "w".into(),
        now,
        run: None,
        workflows: None,
        limit: 9,
    };
    let store = file.open();
    store
        .renew("w", now.saturating_add(Duration::from_secs(60)))
        .await
        .unwrap();
    assert_eq!(store.claim(request).await.unwrap().runs.len(), 1);
}
