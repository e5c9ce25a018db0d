//! What `BufferedTracker`, `Courier` and `NoopTracker` do, through the public API, over a far end
//! in memory and a clock that skips waits.
#![cfg(not(loom))]

#[path = "delivery/answers.rs"]
mod answers;
#[path = "delivery/background.rs"]
mod background;
#[path = "delivery/books.rs"]
mod books;
#[path = "delivery/config.rs"]
mod config;
#[path = "delivery/conformance.rs"]
mod conformance;
#[path = "delivery/far_end.rs"]
mod far_end;
#[path = "delivery/flush.rs"]
mod flush;
#[path = "delivery/in_flight.rs"]
mod in_flight;
#[path = "delivery/logs.rs"]
mod logs;
#[path = "delivery/overflow.rs"]
mod overflow;
#[path = "delivery/panics.rs"]
mod panics;
#[path = "delivery/refusals.rs"]
mod refusals;
#[path = "delivery/secrets.rs"]
mod secrets;
#[path = "delivery/shutdown.rs"]
mod shutdown;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{BufferedTracker, Clock, Config, ConfigBuilder, Observer, Reason};

/// A tracker, its far end, its clock and its observer.
struct Rig {
    tracker: BufferedTracker<u32>,
    transport: Arc<MemoryTransport<u32>>,
    clock: Arc<TestClock>,
    seen: Arc<Seen>,
}

impl Rig {
    fn new(configure: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Self {
        Self::over(MemoryTransport::new(), configure)
    }

    fn over(
        transport: MemoryTransport<u32>,
        configure: impl FnOnce(ConfigBuilder) -> ConfigBuilder,
    ) -> Self {
        let config = configure(Config::builder())
            .build()
            .expect("no limit is zero");
        let transport = Arc::new(transport);
        let clock = Arc::new(TestClock::new());
        let seen = Arc::new(Seen::default());
        let tracker = BufferedTracker::new(config, transport.clone(), clock.clone(), 7)
            .observed_by(seen.clone());
        Self {
            tracker,
            transport,
            clock,
            seen,
        }
    }

    fn with_defaults() -> Self {
        Self::new(|config| config)
    }

    fn emit(&self, events: impl IntoIterator<Item = u32>) {
        events
            .into_iter()
            .for_each(|event| self.tracker.emit(event).expect("there is room"));
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }
}

/// Records the calls of the tracker.
#[derive(Debug, Default)]
struct Seen {
    dropped: Mutex<Vec<u32>>,
    rejected: Mutex<Vec<(u32, String)>>,
}

impl Seen {
    fn dropped(&self) -> Vec<u32> {
        self.dropped.lock().expect("nobody panics under it").clone()
    }

    fn rejected(&self) -> Vec<(u32, String)> {
        self.rejected
            .lock()
            .expect("nobody panics under it")
            .clone()
    }
}

impl Observer<u32> for Seen {
    fn dropped(&self, event: u32) {
        self.dropped
            .lock()
            .expect("nobody panics under it")
            .push(event);
    }

    fn rejected(&self, event: u32, reason: &Reason) {
        self.rejected
            .lock()
            .expect("nobody panics under it")
            .push((event, reason.to_string()));
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
