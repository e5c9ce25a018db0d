//! Events that are lost with the process are logged once, as an error, and no log line carries
//! payload.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{BufferedTracker, Clock, Config, EventBuffer, Reason, SendError};

use crate::secs;

/// Collects the lines that are logged at `WARN` and `ERROR`.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("a string takes everything");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("nobody panics under it").push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn logged(program: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), program);
    let lines = lines.0.lock().expect("nobody panics under it");
    lines.clone()
}

#[test]
fn a_buffer_that_is_dropped_with_unsettled_events_says_so_once() {
    let lines = logged(|| {
        let buffer = EventBuffer::new(&Config::default());
        (0..3).for_each(|_| buffer.push("SECRET").unwrap());
        let other = buffer.clone();
        drop(buffer);
        drop(other);
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("unsettled=3") && lines[0].contains("3 pending"),
        "{lines:?}"
    );
    assert!(!lines[0].contains("SECRET"), "{lines:?}");
}

#[test]
fn a_lease_that_outlives_the_last_handle_can_still_settle_and_then_nothing_is_said() {
    let outlive = |ack: bool| {
        logged(|| {
            let buffer = EventBuffer::new(&Config::default());
            buffer.push("SECRET").unwrap();
            let batch = buffer
                .next_batch(buffer.barrier())
                .now_or_never()
                .flatten()
                .expect("one event is queued");
            drop(buffer);
            if ack {
                batch.ack();
            }
        })
    };
    assert_eq!(outlive(true), [""; 0]);
    assert_eq!(outlive(false).len(), 1);
}

#[test]
fn a_buffer_without_pending_events_is_dropped_in_silence() {
    let lines = logged(|| {
        let buffer = EventBuffer::new(&Config::default());
        buffer.push("SECRET").unwrap();
        assert_eq!(buffer.drain(), ["SECRET"]);
    });
    assert_eq!(lines, [""; 0]);
}

#[test]
fn the_background_loop_logs_a_refusal_with_its_status_and_without_the_reason() {
    let lines = logged(|| {
        let transport = Arc::new(MemoryTransport::new());
        let clock = Arc::new(TestClock::new());
        let reason = Reason::new("bad event SECRET");
        transport.then_fail(SendError::Answer {
            status: 403,
            retry_after: None,
            encoded: false,
            reason,
        });
        let tracker = BufferedTracker::new(Config::default(), transport, clock.clone(), 7);
        clock.run(futures::future::join(tracker.run(), async {
            tracker.emit("SECRET").unwrap();
            clock.sleep(secs(30)).await;
            tracker.shutdown(secs(1)).await.ok().unwrap();
        }));
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("403"), "{lines:?}");
    assert!(!lines[0].contains("SECRET"), "{lines:?}");
}
