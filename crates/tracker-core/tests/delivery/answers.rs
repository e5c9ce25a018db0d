//! Every row of the table of answers, from the emit to the far end.

use std::sync::Arc;

use async_trait::async_trait;
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{
    BufferedTracker, Clock, Config, Courier, DeliveryError, FarEnd, Reason, Receipt, SendError,
    SendOptions, Settlement, Transport,
};

use crate::{Rig, millis, secs};

#[test]
fn an_answer_that_says_later_is_tried_again_until_it_succeeds() {
    for status in [100, 102, 425, 429, 500, 502, 503, 507, 599, 600, 999] {
        let rig = Rig::with_defaults();
        (0..3).for_each(|_| rig.transport.then_status(status));
        rig.emit([1, 2, 3]);
        let report = rig.clock.run(rig.tracker.flush());
        assert!(report.ok().unwrap().all_delivered(), "{status}");
        assert_eq!(
            rig.transport.attempted(),
            [3, 3, 3, 3],
            "{status} is retried with the whole batch"
        );
        assert_eq!(rig.transport.delivered(), [1, 2, 3], "{status}");
        assert!(
            rig.now() <= millis(100 + 200 + 400),
            "{status}: it waited until {:?}",
            rig.now()
        );
    }
}

#[test]
fn no_answer_is_tried_again_and_what_arrived_unseen_arrives_twice() {
    let rig = Rig::with_defaults();
    rig.transport
        .then_fail(SendError::no_answer("connection refused"));
    rig.transport.then_lose_answer();
    rig.emit([1, 2]);
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!(
        report.ok().unwrap().delivered,
        2,
        "each event is counted once"
    );
    assert_eq!(
        rig.transport.delivered(),
        [1, 2, 1, 2],
        "at least once: the far end drops duplicates by identity"
    );
}

#[test]
fn a_success_status_without_a_receipt_acknowledges() {
    for status in [200, 202, 204, 299] {
        let rig = Rig::with_defaults();
        rig.transport.then_fail(SendError::status(status));
        rig.emit([1, 2]);
        assert!(
            rig.clock
                .run(rig.tracker.flush())
                .ok()
                .unwrap()
                .all_delivered(),
            "{status}"
        );
        assert_eq!(rig.transport.attempts(), 1);
    }
}

#[test]
fn a_configuration_error_stops_at_once_keeps_the_events_and_the_next_flush_tries_again() {
    for status in [
        300, 301, 304, 308, 401, 402, 403, 404, 405, 410, 415, 418, 451, 499, 501, 505,
    ] {
        let rig = Rig::new(|config| config.batch_events(2));
        rig.transport.then_status(status);
        rig.emit([1, 2, 3]);
        let report = rig.clock.run(rig.tracker.flush());
        assert_eq!(
            report.stop,
            Some(DeliveryError::Configuration(SendError::status(status))),
            "{status}"
        );
        assert_eq!(
            (report.unsettled, rig.transport.attempts(), rig.now()),
            (3, 1, secs(0)),
            "{status}"
        );
        assert_eq!(rig.tracker.books().queued, 3, "{status} keeps the events");
        let undelivered = report.ok().unwrap_err().to_string();
        assert!(
            undelivered.contains(&status.to_string()) && undelivered.contains("3 pending"),
            "{undelivered}"
        );

        assert!(
            rig.clock
                .run(rig.tracker.flush())
                .ok()
                .unwrap()
                .all_delivered(),
            "{status}, then repaired"
        );
        assert_eq!(rig.transport.delivered(), [1, 2, 3]);
    }
}

#[test]
fn a_batch_that_is_too_large_is_halved_until_it_fits() {
    let rig = Rig::over(MemoryTransport::new().max_events(2), |config| config);
    rig.emit(0..7);
    assert!(
        rig.clock
            .run(rig.tracker.flush())
            .ok()
            .unwrap()
            .all_delivered()
    );
    assert_eq!(rig.transport.delivered(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(rig.transport.attempted(), [7, 3, 1, 2, 4, 2, 2]);
}

#[test]
fn a_single_event_that_is_too_large_is_rejected_and_the_others_arrive() {
    let rig = Rig::new(|config| config.batch_events(1));
    rig.transport.then_status(413);
    rig.emit([1, 2, 3]);
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!(
        (report.rejected, report.books.rejected, report.unsettled),
        (1, 1, 0)
    );
    assert!(report.ok().is_err(), "a rejected event did not arrive");
    assert_eq!(rig.transport.delivered(), [2, 3]);
    assert_eq!(
        rig.seen.rejected(),
        [(1, "413: no reason given".to_owned())]
    );
}

#[test]
fn a_poison_event_is_rejected_alone_with_the_reason_and_the_others_arrive_in_order() {
    for poison in 0..9 {
        static POISON: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        POISON.store(poison, std::sync::atomic::Ordering::Relaxed);
        let is_poison = |event: &u32| *event == POISON.load(std::sync::atomic::Ordering::Relaxed);
        let rig = Rig::over(MemoryTransport::new().refuse_if(is_poison), |config| config);
        rig.emit(0..9);
        let report = rig.clock.run(rig.tracker.shutdown(secs(5)));
        assert_eq!((report.books.delivered, report.books.rejected), (8, 1));
        assert_eq!(
            rig.transport.delivered(),
            (0..9).filter(|event| *event != poison).collect::<Vec<_>>()
        );
        assert_eq!(
            rig.seen.rejected(),
            [(poison, "400: no reason given".to_owned())]
        );
        assert_eq!(report.rejections.len(), 1);
        assert_eq!(report.rejections[0].seq, u64::from(poison));
        assert_eq!(rig.now(), secs(0), "nothing waits for a poison event");
    }
}

#[test]
fn verdicts_per_event_reject_only_those() {
    let rig = Rig::with_defaults();
    rig.transport.then_reject([0, 2]);
    rig.emit([10, 11, 12, 13]);
    let report = rig.clock.run(rig.tracker.shutdown(secs(5)));
    assert_eq!((report.books.delivered, report.books.rejected), (2, 2));
    assert_eq!(
        rig.seen
            .rejected()
            .iter()
            .map(|(event, _)| *event)
            .collect::<Vec<_>>(),
        [10, 12]
    );
    assert_eq!(
        report
            .rejections
            .iter()
            .map(|rejection| rejection.seq)
            .collect::<Vec<_>>(),
        [0, 2]
    );
    assert_eq!(rig.transport.delivered(), [11, 13]);
}

#[test]
fn an_event_that_cannot_be_encoded_does_not_take_its_batch_with_it() {
    let rig = Rig::with_defaults();
    let unencodable = |index| SendError::Unencodable {
        index,
        reason: Reason::new("not a number"),
    };
    rig.transport.then_fail(unencodable(2));
    rig.transport.then_reject([]);
    rig.transport.then_fail(unencodable(0));
    rig.emit([1, 2, 3, 4]);
    let report = rig.clock.run(rig.tracker.flush());
    assert_eq!((report.books.delivered, report.rejected), (3, 1));
    assert_eq!(rig.transport.delivered(), [1, 2, 4]);
    let rejected = rig.seen.rejected();
    assert!(
        rejected.len() == 1 && rejected[0].0 == 3 && rejected[0].1.contains("not a number"),
        "{rejected:?}"
    );
}

#[test]
fn a_request_that_hangs_is_given_up_and_tried_again() {
    let rig = Rig::with_defaults();
    rig.transport.then_hang();
    rig.emit([1]);
    assert!(
        rig.clock
            .run(rig.tracker.flush())
            .ok()
            .unwrap()
            .all_delivered()
    );
    assert_eq!(rig.transport.attempts(), 2);
    assert!(
        rig.now() >= secs(10) && rig.now() <= secs(10) + millis(100),
        "it took {:?}",
        rig.now()
    );
}

#[test]
fn the_wait_that_the_far_end_asks_for_is_a_minimum() {
    let rig = Rig::with_defaults();
    rig.transport.then_retry_after(429, secs(7));
    rig.transport.then_retry_after(503, millis(1));
    rig.emit([1]);
    assert!(
        rig.clock
            .run(rig.tracker.flush())
            .ok()
            .unwrap()
            .all_delivered()
    );
    assert!(
        rig.now() >= secs(7) + millis(1) && rig.now() <= secs(7) + millis(200),
        "it took {:?}",
        rig.now()
    );
}

/// Refuses encoded requests, and records the options of each.
#[derive(Debug, Default)]
struct NoGzip {
    plain: std::sync::Mutex<Vec<bool>>,
    never: bool,
}

#[async_trait]
impl Transport<u32> for NoGzip {
    async fn send(&self, _events: &[u32], options: SendOptions) -> Result<Receipt, SendError> {
        self.plain
            .lock()
            .expect("nobody panics under it")
            .push(options.plain);
        if options.plain && !self.never {
            return Ok(Receipt::default());
        }
        Err(SendError::Answer {
            status: 415,
            retry_after: None,
            encoded: !options.plain,
            reason: Reason::default(),
        })
    }
}

#[test]
fn an_encoding_that_is_refused_is_left_out_once_and_if_that_does_not_help_nothing_is_lost() {
    for never in [false, true] {
        let transport = Arc::new(NoGzip {
            never,
            ..NoGzip::default()
        });
        let clock = Arc::new(TestClock::new());
        let tracker = BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), 7);
        tracker.emit(1).unwrap();
        let report = clock.run(tracker.flush());
        assert_eq!(*transport.plain.lock().unwrap(), [false, true]);
        assert_eq!(
            matches!(report.stop, Some(DeliveryError::Configuration(_))),
            never
        );
        assert_eq!(
            (report.books.delivered, report.books.queued),
            if never { (0, 1) } else { (1, 0) }
        );
    }
}

#[test]
fn a_courier_without_events_sends_nothing_and_past_its_deadline_it_stops() {
    let transport = MemoryTransport::new();
    let clock = TestClock::new();
    let far_end = FarEnd::new();
    let config = Config::default();
    let place = |index| index as u64;
    clock.run(async {
        let mut courier = Courier::new(&transport, &clock, &config, &far_end, secs(1), 7);
        assert_eq!(courier.deliver(&[], place).await, Ok(Settlement::default()));
        assert_eq!(
            courier.deliver(&[1, 2], place).await,
            Ok(Settlement::delivered(2))
        );
        clock.sleep(secs(1)).await;
        assert_eq!(
            courier.deliver(&[3], place).await,
            Err(DeliveryError::Deadline { last: None })
        );
    });
    assert_eq!(transport.delivered(), [1, 2]);
    assert_eq!(
        transport.attempts(),
        1,
        "nothing is sent without time for an answer"
    );
}

#[test]
fn a_courier_settles_the_first_events_and_goes_on_with_the_rest() {
    let transport = MemoryTransport::new().max_events(2);
    let clock = TestClock::new();
    let far_end = FarEnd::new();
    let config = Config::default();
    let events = [1, 2, 3, 4, 5];
    let settled = clock.run(async {
        let mut courier = Courier::new(&transport, &clock, &config, &far_end, secs(1), 7);
        let mut done = 0;
        let mut settled = Vec::new();
        while done < events.len() {
            let settlement = courier
                .deliver(&events[done..], |index| (done + index) as u64)
                .await
                .unwrap();
            done += settlement.events;
            settled.push(settlement.events);
        }
        settled
    });
    assert_eq!(settled, [2, 1, 2]);
    assert_eq!(transport.delivered(), events);
}
