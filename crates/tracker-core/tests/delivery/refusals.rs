//! Refusals: which event causes them, and which events are kept until that is known.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join;
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{
    BufferedTracker, Clock, Config, DeliveryError, Reason, Receipt, SendError, SendOptions,
    Transport,
};

use crate::{Rig, millis, secs};

/// Accepts the events that `refuses` does not refuse, and counts requests.
#[derive(Debug)]
struct Picky {
    refuses: fn(&[u32], &[u32]) -> Option<SendError>,
    /// Whether the first acknowledgement is lost.
    loses_first: bool,
    has: Mutex<Vec<u32>>,
    requests: Mutex<Vec<Vec<u32>>>,
}

impl Picky {
    fn new(refuses: fn(&[u32], &[u32]) -> Option<SendError>) -> Self {
        Self {
            refuses,
            loses_first: false,
            has: Mutex::default(),
            requests: Mutex::default(),
        }
    }

    fn has(&self) -> Vec<u32> {
        self.has.lock().expect("nobody panics under it").clone()
    }

    fn requests(&self) -> usize {
        self.requests.lock().expect("nobody panics under it").len()
    }
}

#[async_trait]
impl Transport<u32> for Picky {
    async fn send(&self, events: &[u32], _options: SendOptions) -> Result<Receipt, SendError> {
        let mut requests = self.requests.lock().expect("nobody panics under it");
        requests.push(events.to_vec());
        let mut has = self.has.lock().expect("nobody panics under it");
        if let Some(error) = (self.refuses)(events, &has) {
            return Err(error);
        }
        has.extend(events);
        if self.loses_first && requests.len() == 1 {
            return Err(SendError::no_answer("the acknowledgement was lost"));
        }
        Ok(Receipt::default())
    }
}

fn tracker(far_end: &Arc<Picky>, config: Config) -> (BufferedTracker<u32>, Arc<TestClock>) {
    let clock = Arc::new(TestClock::new());
    (
        BufferedTracker::new(config, far_end.clone(), clock.clone(), 7),
        clock,
    )
}

fn answer(status: u16, reason: &str) -> SendError {
    SendError::Answer {
        status,
        retry_after: None,
        encoded: false,
        reason: Reason::new(reason),
    }
}

#[test]
fn a_batch_of_which_every_event_is_refused_is_the_configurations_fault_and_is_kept() {
    for status in [400, 409, 413, 422] {
        let rig = Rig::with_defaults();
        rig.transport
            .always_fail(answer(status, "plain HTTP request to an HTTPS port"));
        rig.emit(0..512);
        let report = rig.clock.run(rig.tracker.shutdown(secs(30)));
        assert_eq!(
            (report.books.rejected, report.returned.len()),
            (0, 512),
            "{status}"
        );
        assert!(
            rig.transport.attempts() < 50,
            "{status}: {} requests",
            rig.transport.attempts()
        );
        let why = report.stop.unwrap().to_string();
        assert!(
            why.contains(&status.to_string()) && why.contains("HTTPS port"),
            "it names the answer: {why}"
        );
        assert_eq!(rig.now(), secs(0), "{status}: it stops at once");
    }
}

#[test]
fn the_words_may_differ_from_event_to_event() {
    let far_end = Arc::new(Picky::new(|events, _| {
        Some(answer(400, &format!("request {}", events[0])))
    }));
    let (tracker, clock) = tracker(&far_end, Config::default());
    (0..100).for_each(|event| tracker.emit(event).unwrap());
    let report = clock.run(tracker.shutdown(secs(30)));
    assert_eq!((report.books.rejected, report.returned.len()), (0, 100));
}

#[test]
fn where_one_event_is_taken_the_others_are_to_blame_themselves() {
    // All but the last two; all but the first; the first fifteen; each second one.
    let cases: [fn(&u32) -> bool; 4] = [
        |event| *event < 9,
        |event| *event > 0,
        |event| *event < 15,
        |event| event.is_multiple_of(2),
    ];
    for (case, poison) in cases.into_iter().enumerate() {
        let rig = Rig::over(MemoryTransport::new().refuse_if(poison), |config| config);
        let events = if case == 2 { 64 } else { 11 };
        rig.emit(0..events);
        let report = rig.clock.run(rig.tracker.shutdown(secs(5)));
        let good: Vec<_> = (0..events).filter(|event| !poison(event)).collect();
        assert_eq!(rig.transport.delivered(), good, "case {case}: in order");
        assert_eq!(
            (report.books.delivered, report.books.rejected),
            (good.len() as u64, u64::from(events) - good.len() as u64)
        );
        let rejected: Vec<_> = rig
            .seen
            .rejected()
            .into_iter()
            .map(|(event, _)| event)
            .collect();
        assert_eq!(
            rejected,
            (0..events).filter(poison).collect::<Vec<_>>(),
            "case {case}"
        );
    }
}

/// At a wrong port one gateway answers 400, and the other 413.
#[test]
fn the_statuses_may_differ_as_well() {
    let far_end = Arc::new(Picky::new(|events, _| {
        Some(answer(if events[0] % 2 == 0 { 400 } else { 413 }, ""))
    }));
    let (tracker, clock) = tracker(&far_end, Config::default());
    (0..512).for_each(|event| tracker.emit(event).unwrap());
    let report = clock.run(tracker.shutdown(secs(5)));
    assert_eq!((report.books.rejected, report.returned.len()), (0, 512));
    assert!(far_end.requests() < 50, "{} requests", far_end.requests());
}

/// Two events that are too large precede a hundred that are not.
#[test]
fn refused_events_at_the_head_are_set_aside_after_as_many_refusals_as_is_wished_for() {
    let far_end = Arc::new(Picky::new(|events, _| {
        events
            .iter()
            .any(|event| *event < 20)
            .then(|| answer(413, "large"))
    }));
    let (tracker, clock) = tracker(&far_end, set_aside(2));
    (0..121).for_each(|event| tracker.emit(event).unwrap());
    let mut flushes = 0;
    while tracker.books().pending() > 0 && flushes < 10 {
        let _ = clock.run(tracker.flush());
        flushes += 1;
    }
    assert_eq!(
        (tracker.books().rejected, tracker.books().delivered),
        (20, 101),
        "after {flushes} flushes"
    );
    assert_eq!(far_end.has(), (20..121).collect::<Vec<_>>());
}

#[test]
fn the_only_event_of_a_batch_is_rejected() {
    let rig = Rig::with_defaults();
    rig.transport.always_fail(answer(400, "no"));
    rig.emit([1]);
    assert_eq!(
        rig.clock.run(rig.tracker.shutdown(secs(5))).books.rejected,
        1
    );
}

#[test]
fn what_is_refused_while_the_configuration_is_wrong_arrives_once_it_is_right() {
    let rig = Rig::new(|config| config.max_delay(secs(3)));
    rig.transport.always_fail(answer(400, "wrong port"));
    rig.clock.run(join(rig.tracker.run(), async {
        rig.emit(0..40);
        rig.clock.sleep(secs(60)).await;
        assert_eq!(rig.tracker.books().pending(), 40);
        rig.transport.recover();
        rig.clock.sleep(secs(4)).await;
        assert!(
            rig.tracker
                .shutdown(secs(1))
                .await
                .ok()
                .unwrap()
                .all_delivered()
        );
    }));
    assert_eq!(rig.transport.delivered(), (0..40).collect::<Vec<_>>());
}

/// A receiver that keeps one event per id, and answers 409 to an id that it has.
fn conflict(events: &[u32], has: &[u32]) -> Option<SendError> {
    events
        .iter()
        .any(|event| has.contains(event))
        .then(|| answer(409, "it exists"))
}

#[test]
fn a_conflict_after_a_lost_acknowledgement_says_that_the_event_is_there() {
    for events in [1, 2, 7, 40] {
        let far_end = Arc::new(Picky {
            loses_first: true,
            ..Picky::new(conflict)
        });
        let (tracker, clock) = tracker(&far_end, Config::default());
        (0..events).for_each(|event| tracker.emit(event).unwrap());
        let report = clock.run(tracker.shutdown(secs(5)));
        assert!(report.ok().unwrap().all_delivered(), "{events}: {report}");
        assert_eq!(
            far_end.has(),
            (0..events).collect::<Vec<_>>(),
            "by the receiver's own count"
        );
    }
}

/// The flush that lost the acknowledgement has ended; the next flush knows of the loss.
#[test]
fn a_conflict_is_understood_by_the_next_flush_as_well() {
    let far_end = Arc::new(Picky {
        loses_first: true,
        ..Picky::new(conflict)
    });
    let config = Config::builder().flush_timeout(millis(5)).build().unwrap();
    let (tracker, clock) = tracker(&far_end, config);
    (0..3).for_each(|event| tracker.emit(event).unwrap());
    assert_eq!(clock.run(tracker.flush()).unsettled, 3);
    assert!(clock.run(tracker.flush()).ok().unwrap().all_delivered());
}

/// A `Retry-After` is an answer: the far end has not accepted the event.
#[test]
fn a_conflict_after_a_temporary_answer_is_a_rejection() {
    for status in [429, 503] {
        let rig = Rig::with_defaults();
        rig.transport.then_status(status);
        rig.transport.then_status(409);
        rig.emit([1]);
        let report = rig.clock.run(rig.tracker.shutdown(secs(5)));
        assert_eq!(
            (report.books.delivered, report.books.rejected),
            (0, 1),
            "{status}"
        );
    }
}

/// The flush was dropped before the answer came; the far end has taken the events.
#[test]
fn a_conflict_after_a_cancelled_flush_says_that_the_event_is_there() {
    let rig = Rig::with_defaults();
    rig.transport.then_hang();
    rig.emit([1, 2]);
    {
        let mut flush = Box::pin(rig.tracker.flush());
        assert!(futures::FutureExt::now_or_never(flush.as_mut()).is_none());
    }
    (0..3).for_each(|_| rig.transport.then_status(409));
    assert!(
        rig.clock
            .run(rig.tracker.shutdown(secs(5)))
            .ok()
            .unwrap()
            .all_delivered()
    );
}

/// Two batches in flight lose their answers at once, and their events are not adjacent.
#[test]
fn conflicts_are_understood_for_every_request_that_had_no_answer() {
    let rig = Rig::new(|config| config.batch_events(2).in_flight(2));
    (0..2).for_each(|_| rig.transport.then_lose_answer());
    (0..6).for_each(|_| rig.transport.then_status(409));
    rig.emit([1, 2, 3, 4]);
    assert!(
        rig.clock
            .run(rig.tracker.shutdown(secs(5)))
            .ok()
            .unwrap()
            .all_delivered()
    );
}

#[test]
fn an_attempt_that_was_cut_for_want_of_time_is_no_failure_of_the_event() {
    let rig = Rig::new(|config| config.set_aside_after(NonZeroU32::new(2)));
    rig.transport.hang();
    rig.emit([1]);
    let report = rig.clock.run(rig.tracker.shutdown(secs(1)));
    assert_eq!((report.books.rejected, report.returned), (0, vec![1]));
}

/// A far end that does not know encodings answers 400, and not 415.
#[test]
fn an_encoding_that_is_answered_with_400_is_left_out_before_anything_is_rejected() {
    #[derive(Debug, Default)]
    struct NoGzip(Mutex<Vec<bool>>);

    #[async_trait]
    impl Transport<u32> for NoGzip {
        async fn send(&self, _: &[u32], options: SendOptions) -> Result<Receipt, SendError> {
            self.0
                .lock()
                .expect("nobody panics under it")
                .push(options.plain);
            let refused = SendError::Answer {
                status: 400,
                retry_after: None,
                encoded: true,
                reason: Reason::default(),
            };
            if options.plain {
                Ok(Receipt::default())
            } else {
                Err(refused)
            }
        }
    }

    for events in [1, 3] {
        let transport = Arc::new(NoGzip::default());
        let clock = Arc::new(TestClock::new());
        let tracker = BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), 7);
        (0..events).for_each(|event| tracker.emit(event).unwrap());
        assert!(
            clock
                .run(tracker.shutdown(secs(5)))
                .ok()
                .unwrap()
                .all_delivered()
        );
        assert_eq!(*transport.0.lock().unwrap(), [false, true]);
    }
}

#[test]
fn a_conflict_of_an_event_that_was_never_sent_before_is_a_rejection() {
    let far_end = Arc::new(Picky::new(|events, _| {
        events.contains(&1).then(|| answer(409, "another version"))
    }));
    let (tracker, clock) = tracker(&far_end, Config::default());
    (0..3).for_each(|event| tracker.emit(event).unwrap());
    let report = clock.run(tracker.shutdown(secs(5)));
    assert_eq!(
        (report.books.delivered, report.books.rejected, far_end.has()),
        (2, 1, vec![0, 2])
    );
    assert_eq!(report.rejections[0].reason.as_str(), "409: another version");
}

#[test]
fn a_refusal_that_names_a_time_is_waited_for() {
    for status in [400, 403, 404, 409, 413, 422, 501] {
        let rig = Rig::with_defaults();
        rig.transport.then_retry_after(status, secs(7));
        rig.emit(0..64);
        let report = rig.clock.run(rig.tracker.shutdown(secs(30)));
        assert!(report.ok().unwrap().all_delivered(), "{status}: {report}");
        assert_eq!(rig.transport.attempted(), [64, 64], "{status}");
        assert!(rig.now() >= secs(7), "{status}");
    }
}

#[test]
fn verdicts_about_an_event_that_was_not_sent_are_no_consent() {
    let rig = Rig::with_defaults();
    rig.transport.then_reject([0, 4]);
    rig.emit(0..4);
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!(
        (
            report.books.delivered,
            report.books.rejected,
            report.unsettled
        ),
        (0, 0, 4)
    );
    let Some(DeliveryError::Configuration(SendError::Unreadable { reason, .. })) = report.stop
    else {
        panic!("{report:?}")
    };
    assert_eq!(reason.as_str(), "it rejects event 4 of a batch of 4");
}

#[test]
fn an_answer_that_cannot_be_read_keeps_the_events_and_says_why() {
    let rig = Rig::with_defaults();
    rig.transport.then_fail(SendError::Unreadable {
        status: 200,
        reason: Reason::new("rejected is a text"),
    });
    rig.emit(0..4);
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!((report.books.queued, rig.transport.attempts()), (4, 1));
    let why = report.ok().unwrap_err().to_string();
    assert!(
        why.contains("rejected is a text") && why.contains("4 pending"),
        "{why}"
    );
}

fn set_aside(after: u32) -> Config {
    Config::builder()
        .set_aside_after(NonZeroU32::new(after))
        .build()
        .expect("no limit is zero")
}

#[test]
fn an_event_that_fails_every_request_is_set_aside_if_that_is_wished_for() {
    let failures: [fn() -> SendError; 4] = [
        || answer(500, "a null pointer"),
        || SendError::no_answer("the connection broke"),
        || SendError::Unreadable {
            status: 200,
            reason: Reason::new("<html>"),
        },
        || SendError::Panicked {
            reason: Reason::new("index out of bounds"),
        },
    ];
    fn refuses<const CASE: usize>(events: &[u32], _: &[u32]) -> Option<SendError> {
        let failures: [fn() -> SendError; 4] = [
            || answer(500, "a null pointer"),
            || SendError::no_answer("the connection broke"),
            || SendError::Unreadable {
                status: 200,
                reason: Reason::new("<html>"),
            },
            || SendError::Panicked {
                reason: Reason::new("index out of bounds"),
            },
        ];
        events.contains(&33).then(failures[CASE])
    }
    let far_ends = [refuses::<0>, refuses::<1>, refuses::<2>, refuses::<3>];
    for (refuses, failure) in far_ends.into_iter().zip(failures) {
        let far_end = Arc::new(Picky::new(refuses));
        let (tracker, clock) = tracker(&far_end, set_aside(3));
        (0..64).for_each(|event| tracker.emit(event).unwrap());
        // If a delivery stops with each answer, the next flush sends again.
        let mut flushes = 0;
        while tracker.books().pending() > 0 && flushes < 40 {
            let _ = clock.run(tracker.flush());
            flushes += 1;
        }
        let report = clock.run(tracker.shutdown(secs(5)));
        assert_eq!(
            (report.books.delivered, report.books.rejected),
            (63, 1),
            "{}: {report:?}",
            failure()
        );
        assert_eq!(report.rejections[0].seq, 33);
        let reason = report.rejections[0].reason.as_str();
        assert!(
            reason.starts_with("set aside after 3 equal answers: ")
                && reason.contains(&failure().to_string()),
            "{reason}"
        );
        assert_eq!(
            far_end.has(),
            (0..64).filter(|event| *event != 33).collect::<Vec<_>>(),
            "in order"
        );
    }
}

#[test]
fn without_the_option_nothing_is_set_aside_and_what_is_in_the_way_is_named() {
    let rig = Rig::with_defaults();
    rig.transport.always_fail(answer(500, "a null pointer"));
    rig.emit([1]);
    let report = rig.clock.run(rig.tracker.shutdown(secs(30)));
    assert_eq!((report.books.rejected, report.returned), (0, vec![1]));
    assert!(
        report
            .stop
            .unwrap()
            .to_string()
            .contains("500: a null pointer")
    );
}

#[test]
fn an_outage_sets_nothing_aside() {
    let errors = [
        answer(503, "down"),
        answer(429, "slowly"),
        SendError::Unreachable {
            reason: Reason::new("connection refused"),
        },
        answer(401, "who are you"),
    ];
    for error in errors {
        let transport = Arc::new(MemoryTransport::new());
        let clock = Arc::new(TestClock::new());
        let tracker = BufferedTracker::new(set_aside(2), transport.clone(), clock.clone(), 7);
        transport.always_fail(error.clone());
        tracker.emit(1).unwrap();
        (0..5).for_each(|_| drop(clock.run(tracker.flush())));
        assert_eq!(tracker.books().queued, 1, "{error}");
    }
}

/// The far end fails on every event, so no single event is the cause.
#[test]
fn a_far_end_that_fails_on_every_event_of_a_batch_sets_none_aside() {
    let transport = Arc::new(MemoryTransport::new());
    let clock = Arc::new(TestClock::new());
    let config = Config::builder()
        .set_aside_after(NonZeroU32::new(2))
        .flush_timeout(Duration::from_secs(3600));
    let tracker =
        BufferedTracker::new(config.build().unwrap(), transport.clone(), clock.clone(), 7);
    transport.always_fail(answer(500, "down"));
    (0..8).for_each(|event| tracker.emit(event).unwrap());
    let report = clock.run(tracker.flush());
    assert_eq!(
        (report.books.rejected, report.unsettled),
        (0, 8),
        "{report:?}"
    );
    assert!(
        matches!(report.stop, Some(DeliveryError::Configuration(_))),
        "{report:?}"
    );
    assert!(clock.now() < secs(3600));
}

#[test]
fn one_poison_event_costs_few_requests_once_it_is_known_to_be_one() {
    let far_end = Arc::new(Picky::new(|events, _| {
        events.contains(&300).then(|| answer(500, "crash"))
    }));
    let (tracker, clock) = tracker(&far_end, set_aside(3));
    (0..512).for_each(|event| tracker.emit(event).unwrap());
    let report = clock.run(tracker.shutdown(secs(3600)));
    assert_eq!((report.books.delivered, report.books.rejected), (511, 1));
    assert!(
        far_end.requests() <= 3 + 2 * 9 + 3,
        "{} requests",
        far_end.requests()
    );
}
