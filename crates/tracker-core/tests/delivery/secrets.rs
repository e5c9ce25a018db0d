//! Events are payload: no log line and no `Debug` output shows one.

use std::sync::Arc;

use futures::FutureExt;
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{
    BufferedTracker, Config, Courier, EventBuffer, FarEnd, NoopTracker, Overflow, PushError,
    Reason, Tracker, UndeliveredError,
};

use crate::secs;

const PAYLOAD: &str = "SECRET";

/// An event whose `Debug` shows its payload, as a user's event may.
type Event = &'static str;

fn is_silent(shown: impl Into<String>) {
    let shown = shown.into();
    assert!(!shown.contains(PAYLOAD), "{shown}");
    assert!(!shown.is_empty());
}

fn rig(
    config: Config,
) -> (
    BufferedTracker<Event>,
    Arc<MemoryTransport<Event>>,
    Arc<TestClock>,
) {
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    (
        BufferedTracker::new(config, transport.clone(), clock.clone(), 7),
        transport,
        clock,
    )
}

#[test]
fn no_tracker_buffer_lease_or_transport_shows_an_event() {
    let (tracker, transport, clock) = rig(Config::builder()
        .capacity_events(2)
        .overflow(Overflow::DropOldest)
        .build()
        .unwrap());
    (0..3).for_each(|_| tracker.emit(PAYLOAD).unwrap());
    is_silent(format!("{tracker:?}"));
    is_silent(format!("{tracker:#?}"));
    let _ = clock.run(tracker.flush()).ok();
    is_silent(format!("{transport:?} {tracker:?} {clock:?}"));

    let buffer = EventBuffer::new(&Config::default());
    buffer.push(PAYLOAD).unwrap();
    is_silent(format!("{buffer:?}"));
    let batch = buffer
        .next_batch(buffer.barrier())
        .now_or_never()
        .flatten()
        .expect("one event is queued");
    is_silent(format!("{batch:?} {buffer:?}"));
    let config = Config::default();
    is_silent(format!(
        "{:?}",
        Courier::new(&*transport, &*clock, &config, &FarEnd::new(), secs(1), 7)
    ));
    is_silent(format!("{:?}", NoopTracker::new()));
}

#[test]
fn no_report_shows_an_event() {
    let (tracker, transport, clock) = rig(Config::default());
    transport.then_reject([0]);
    (0..3).for_each(|_| tracker.emit(PAYLOAD).unwrap());
    let flushed = clock.run(tracker.flush());
    is_silent(format!("{flushed:?} {}", flushed.books));
    is_silent(undelivered(&flushed.ok().unwrap_err()));

    let (tracker, transport, clock) = rig(Config::default());
    transport.then_status(401);
    tracker.emit(PAYLOAD).unwrap();
    let report = clock.run(tracker.shutdown(secs(1)));
    assert_eq!(report.returned, [PAYLOAD]);
    is_silent(format!("{report:?} {report}"));
    is_silent(undelivered(&report.ok().unwrap_err()));
}

fn undelivered(error: &UndeliveredError) -> String {
    format!("{error:?} {error}")
}

#[test]
fn no_refusal_shows_the_event_and_each_returns_it() {
    let reason = || Reason::new("too deep");
    let refusals = [
        PushError::Closed(PAYLOAD),
        PushError::Full(PAYLOAD),
        PushError::TooLarge {
            event: PAYLOAD,
            bytes: 9,
            limit: 8,
        },
        PushError::Unencodable {
            event: PAYLOAD,
            reason: reason(),
        },
    ];
    let says = [
        "the tracker is closed",
        "the buffer is full",
        "9 bytes are more than the limit of 8",
        "too deep",
    ];
    for (refused, says) in refusals.into_iter().zip(says) {
        is_silent(format!("{refused:?} {refused}"));
        assert!(refused.to_string().contains(says), "{refused}");
        let kind = (refused.is_closed(), refused.is_full());
        let mapped = refused.map(str::len);
        assert_eq!((mapped.is_closed(), mapped.is_full()), kind);
        assert_eq!(mapped.into_event(), PAYLOAD.len());
    }
    let tracker = NoopTracker::new();
    let _ = Tracker::<Event>::shutdown(&tracker, secs(1)).now_or_never();
    is_silent(format!(
        "{:?}",
        Tracker::emit(&tracker, PAYLOAD).unwrap_err()
    ));
}

#[test]
fn a_reason_is_cut_between_characters() {
    let long = "ä".repeat(400);
    let reason = Reason::new(format!("x{long}"));
    assert!(
        reason.as_str().len() <= Reason::MAX_BYTES
            && reason.as_str().len() >= Reason::MAX_BYTES - 3
    );
    assert!(reason.as_str().ends_with('ä'));
    assert_eq!(Reason::new("short").to_string(), "short");
    assert_eq!(Reason::default().to_string(), "no reason given");
}
