//! What is learned of a far end, the callers that wait for it, and its last error, which every
//! report carries.

use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, join, select};
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{
    BufferedTracker, Clock, Config, DeliveryError, Reason, Receipt, SendError, SendOptions,
    Transport,
};

use crate::{Rig, millis, secs};

/// A far end that needs this long for each event.
#[derive(Debug)]
struct Slow {
    clock: Arc<TestClock>,
    each: Duration,
    requests: Mutex<Vec<usize>>,
}

#[async_trait]
impl Transport<u32> for Slow {
    async fn send(&self, events: &[u32], _options: SendOptions) -> Result<Receipt, SendError> {
        self.requests
            .lock()
            .expect("nobody panics under it")
            .push(events.len());
        self.clock.sleep(self.each * events.len() as u32).await;
        Ok(Receipt::default())
    }
}

fn slow(each: Duration, config: Config) -> (BufferedTracker<u32>, Arc<Slow>, Arc<TestClock>) {
    let clock = Arc::new(TestClock::new());
    let far_end = Arc::new(Slow {
        clock: clock.clone(),
        each,
        requests: Mutex::default(),
    });
    (
        BufferedTracker::new(config, far_end.clone(), clock.clone(), 7),
        far_end,
        clock,
    )
}

#[test]
fn a_far_end_that_is_too_slow_for_a_batch_gets_smaller_ones() {
    // 512 events take 51 s, and a request may take 10.
    let (tracker, far_end, clock) = slow(millis(100), Config::default());
    (0..512).for_each(|event| tracker.emit(event).unwrap());
    let report = clock.run(tracker.shutdown(secs(300)));
    assert!(report.ok().unwrap().all_delivered(), "{report}");
    let requests = far_end
        .requests
        .lock()
        .expect("nobody panics under it")
        .clone();
    assert_eq!(
        requests[..4],
        [512, 512, 256, 128],
        "repeated timeouts halve it"
    );
    assert!(
        requests.len() <= 4 + 8,
        "what was learned is kept: {requests:?}"
    );
}

#[test]
fn a_gateway_that_gives_up_waiting_is_too_slow_as_well() {
    for status in [408, 504] {
        let rig = Rig::with_defaults();
        (0..2).for_each(|_| rig.transport.then_status(status));
        rig.emit(0..8);
        assert!(
            rig.clock
                .run(rig.tracker.flush())
                .ok()
                .unwrap()
                .all_delivered()
        );
        assert_eq!(rig.transport.attempted(), [8, 8, 4, 4], "{status}");
        assert_eq!(rig.transport.delivered(), (0..8).collect::<Vec<_>>());
    }
}

#[test]
fn what_was_learned_about_the_size_holds_for_the_next_batch_and_quick_answers_undo_it() {
    let rig = Rig::new(|config| config.batch_events(8));
    (0..3).for_each(|_| rig.transport.then_hang());
    rig.emit(0..40);
    assert!(
        rig.clock
            .run(rig.tracker.shutdown(secs(60)))
            .ok()
            .unwrap()
            .all_delivered()
    );
    assert_eq!(
        rig.transport.attempted(),
        [8, 8, 4, 2, 2, 4, 8, 8, 8, 8][..rig.transport.attempts()]
    );
}

#[test]
fn a_success_that_takes_its_time_does_not_make_the_next_request_larger() {
    // Eight events take 8 s, sixteen 16: with a limit of 10 s a larger request would only cost
    // another timeout.
    let config = Config::builder().batch_events(32).build().unwrap();
    let (tracker, far_end, clock) = slow(secs(1), config);
    (0..64).for_each(|event| tracker.emit(event).unwrap());
    assert!(
        clock
            .run(tracker.shutdown(secs(600)))
            .ok()
            .unwrap()
            .all_delivered()
    );
    let requests = far_end
        .requests
        .lock()
        .expect("nobody panics under it")
        .clone();
    assert_eq!(requests[..3], [32, 32, 16]);
    assert!(
        requests[3..].iter().all(|events| *events == 8),
        "{requests:?}"
    );
}

/// A far end that refuses encodings and records for each request whether it was plain.
#[derive(Debug, Default)]
struct NoGzip(Mutex<Vec<bool>>);

#[async_trait]
impl Transport<u32> for NoGzip {
    async fn send(&self, _events: &[u32], options: SendOptions) -> Result<Receipt, SendError> {
        self.0
            .lock()
            .expect("nobody panics under it")
            .push(options.plain);
        match options.plain {
            true => Ok(Receipt::default()),
            false => Err(SendError::Answer {
                status: 415,
                retry_after: None,
                encoded: true,
                reason: Reason::default(),
            }),
        }
    }
}

#[test]
fn an_encoding_that_is_refused_is_left_out_from_then_on() {
    let transport = Arc::new(NoGzip::default());
    let clock = Arc::new(TestClock::new());
    let config = Config::builder().batch_events(1).build().unwrap();
    let tracker = BufferedTracker::new(config, transport.clone(), clock.clone(), 7);
    (0..2).for_each(|event| tracker.emit(event).unwrap());
    clock.run(tracker.flush()).ok().unwrap();
    tracker.emit(2).unwrap();
    clock.run(tracker.flush()).ok().unwrap();
    assert_eq!(
        *transport.0.lock().expect("nobody panics under it"),
        [false, true, true, true],
        "learned once per far end"
    );
}

/// 12 s of 503, then healthy, then `shutdown(1 s)`: the backoff of the background loop must not use
/// that second up.
#[test]
fn a_flush_or_shutdown_wakes_the_back_off_of_the_background() {
    for seed in 0..20 {
        let transport = Arc::new(MemoryTransport::new());
        let clock = Arc::new(TestClock::new());
        let tracker =
            BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), seed);
        transport.always_fail(SendError::status(503));
        clock.run(join(tracker.run(), async {
            tracker.emit(1).unwrap();
            clock.sleep(secs(12)).await;
            transport.recover();
            let report = if seed % 2 == 0 {
                tracker.shutdown(secs(1)).await.ok()
            } else {
                let flushed = tracker.flush().await.ok();
                tracker.shutdown(secs(1)).await.ok().and(flushed)
            };
            assert!(
                report.is_ok_and(|books| books.all_delivered()),
                "seed {seed}"
            );
        }));
    }
}

/// The far end recovers only while the shutdown waits: one attempt at its beginning would not be
/// enough.
#[test]
fn while_somebody_waits_the_background_tries_again_soon() {
    for seed in 0..20 {
        let transport = Arc::new(MemoryTransport::new());
        let clock = Arc::new(TestClock::new());
        let tracker =
            BufferedTracker::new(Config::default(), transport.clone(), clock.clone(), seed);
        transport.always_fail(SendError::status(503));
        clock.run(join(tracker.run(), async {
            tracker.emit(1).unwrap();
            clock.sleep(secs(60)).await;
            let recovers = async {
                clock.sleep(millis(100)).await;
                transport.recover();
            };
            let (report, ()) = join(tracker.shutdown(secs(1)), recovers).await;
            assert!(report.ok().is_ok(), "seed {seed}: {report:?}");
        }));
    }
}

#[test]
fn a_flush_wakes_the_back_off_of_another_flush() {
    let rig = Rig::new(|config| config.initial_delay(secs(5)));
    rig.transport.then_status(503);
    rig.emit([1]);
    rig.clock.run(async {
        let mut first = pin!(rig.tracker.flush());
        assert!(matches!(
            select(first.as_mut(), rig.clock.sleep(millis(1))).await,
            Either::Right(_)
        ));
        let began = rig.now();
        let (first, second) = join(first, rig.tracker.flush()).await;
        assert!(first.ok().is_ok() && second.ok().is_ok());
        assert!(rig.now() <= began + millis(50));
    });
}

/// Each of a thousand requests to a web server flushes: that must not make a thousand requests to a
/// far end that is down.
#[test]
fn however_many_callers_come_there_is_time_between_two_attempts() {
    let rig = Rig::with_defaults();
    rig.transport.always_fail(SendError::status(503));
    rig.clock.run(join(rig.tracker.run(), async {
        rig.emit([1]);
        rig.clock.sleep(secs(1)).await;
        let before = rig.transport.attempts();
        for _ in 0..1000 {
            assert!(matches!(
                select(pin!(rig.tracker.flush()), rig.clock.sleep(millis(1))).await,
                Either::Right(_)
            ));
        }
        let attempts = rig.transport.attempts() - before;
        assert!(
            (5..=40).contains(&attempts),
            "{attempts} attempts in a second"
        );
        let _ = rig.tracker.shutdown(secs(1)).await;
    }));
}

/// Callers with less time than the far end needs must not cut every attempt that is made for them.
#[test]
fn callers_in_a_hurry_do_not_starve_the_background() {
    let config = Config::builder()
        .flush_timeout(millis(100))
        .build()
        .expect("no limit is zero");
    let (tracker, _, clock) = slow(millis(150), config);
    clock.run(join(tracker.run(), async {
        tracker.emit(1).unwrap();
        clock.sleep(millis(201)).await;
        assert_eq!(tracker.books().in_flight, 1, "the background has it");
        let mut flushes = 0;
        while tracker.books().pending() > 0 {
            let _ = tracker.flush().await;
            flushes += 1;
            assert!(flushes < 20, "every attempt is cut");
        }
        assert!(tracker.shutdown(secs(1)).await.ok().is_ok());
    }));
}

#[test]
fn a_flush_that_has_just_enough_time_succeeds_once_it_is_known_how_much_is_needed() {
    let config = Config::builder()
        .flush_timeout(millis(200))
        .build()
        .expect("no limit is zero");
    let (tracker, far_end, clock) = slow(millis(150), config);
    tracker.emit(1).unwrap();
    let first = clock.run(tracker.flush()).ok().is_ok();
    assert!(first || clock.run(tracker.flush()).ok().is_ok());
    tracker.emit(2).unwrap();
    let before = far_end
        .requests
        .lock()
        .expect("nobody panics under it")
        .len();
    assert!(
        clock.run(tracker.flush()).ok().is_ok(),
        "half of the time would be in vain"
    );
    assert_eq!(
        far_end
            .requests
            .lock()
            .expect("nobody panics under it")
            .len(),
        before + 1
    );
}

#[test]
fn a_rest_that_the_far_end_asked_for_is_kept_whoever_waits() {
    let rig = Rig::with_defaults();
    rig.transport.then_retry_after(503, secs(10));
    rig.clock.run(async {
        let program = async {
            rig.emit([1]);
            rig.clock.sleep(secs(1)).await;
            let began = rig.now();
            let report = rig.tracker.shutdown(secs(30)).await;
            assert!(report.ok().unwrap().all_delivered());
            assert!(
                rig.now() >= began + secs(9),
                "the rest is kept: {:?}",
                rig.now() - began
            );
        };
        join(rig.tracker.run(), program).await;
    });
    assert_eq!(rig.transport.attempts(), 2);
}

/// The flush that was asked to wait has ended; the next flush must wait too.
#[test]
fn a_rest_outlives_the_flush_that_was_told_of_it() {
    let rig = Rig::with_defaults();
    rig.transport.then_retry_after(429, secs(60));
    rig.emit([1]);
    for _ in 0..3 {
        let report = rig.clock.run(rig.tracker.flush());
        let told = matches!(
            report.stop,
            Some(DeliveryError::Deadline {
                last: Some(SendError::Answer { status: 429, .. })
            })
        );
        assert!(told, "{report:?}");
    }
    assert_eq!(rig.transport.attempts(), 1);
    rig.clock.run(rig.clock.sleep(secs(60)));
    assert!(rig.clock.run(rig.tracker.flush()).ok().is_ok());
}

/// A pooled connection that is dead answers nothing: there must be time for another one.
#[test]
fn an_attempt_without_an_answer_leaves_time_for_a_second_one() {
    for timeout in [millis(50), secs(1), secs(5), secs(10)] {
        let rig = Rig::with_defaults();
        rig.transport.then_hang();
        rig.emit([1]);
        let report = rig.clock.run(rig.tracker.shutdown(timeout));
        assert!(report.ok().is_ok(), "shutdown({timeout:?}): {report:?}");
    }
}

#[test]
fn the_second_attempt_has_all_the_time_that_is_left() {
    // It needs 2 s of the 5: half of them for the first attempt, and what is left for the second.
    let (tracker, far_end, clock) = slow(millis(2_400), Config::default());
    tracker.emit(1).unwrap();
    let report = clock.run(tracker.shutdown(secs(5)));
    assert!(
        report.ok().is_ok()
            && far_end
                .requests
                .lock()
                .expect("nobody panics under it")
                .len()
                == 1
    );
    let rig = Rig::new(|config| config.request_timeout(secs(100)));
    rig.transport.then_hang();
    let hold = rig.transport.then_hold();
    rig.emit([1]);
    let release = async {
        rig.clock.sleep(millis(9_500)).await;
        hold.release();
    };
    let (report, ()) = rig.clock.run(join(rig.tracker.shutdown(secs(10)), release));
    assert!(report.ok().is_ok(), "{report:?}");
}

#[test]
fn a_shutdown_cuts_an_attempt_of_the_background_so_that_there_is_a_second_one() {
    let rig = Rig::with_defaults();
    rig.transport.then_hang();
    rig.clock.run(join(rig.tracker.run(), async {
        rig.emit([1]);
        rig.clock.sleep(secs(1)).await;
        assert_eq!(rig.tracker.books().in_flight, 1);
        let report = rig.tracker.shutdown(secs(1)).await;
        assert!(report.ok().is_ok(), "{report:?}");
    }));
}

#[test]
fn the_last_reason_reaches_flush_shutdown_and_report() {
    let errors = [
        SendError::Unreachable {
            reason: Reason::new("name not found"),
        },
        SendError::no_answer("connection reset"),
        SendError::status(503),
    ];
    for error in errors {
        let rig = Rig::new(|config| config.flush_timeout(secs(2)));
        rig.transport.always_fail(error.clone());
        rig.clock.run(join(rig.tracker.run(), async {
            rig.emit([1]);
            rig.clock.sleep(secs(60)).await;
            assert_eq!(rig.tracker.report().last_error, Some(error.clone()));
            let stop = Some(DeliveryError::Deadline {
                last: Some(error.clone()),
            });
            assert_eq!(
                rig.tracker.flush().await.stop,
                stop,
                "the background holds the events: it knows why"
            );
            assert_eq!(rig.tracker.shutdown(secs(2)).await.stop, stop);
        }));
    }
}

#[test]
fn a_success_clears_the_trouble() {
    let rig = Rig::with_defaults();
    rig.transport.then_status(503);
    rig.emit([1]);
    assert_eq!(rig.tracker.report().last_error, None);
    rig.clock.run(rig.tracker.flush()).ok().unwrap();
    let report = rig.tracker.report();
    assert!(
        report.last_error.is_none()
            && report.books.all_delivered()
            && report.background_ended.is_none()
    );
}

#[test]
fn a_capacity_smaller_than_a_batch_does_not_wait_for_the_linger() {
    let small: [fn(tracker_core::ConfigBuilder) -> tracker_core::ConfigBuilder; 2] = [
        |config| config.capacity_events(8),
        |config| config.capacity_bytes(35),
    ];
    for configure in small {
        let rig = Rig::new(|config| configure(config.linger(secs(100))));
        rig.clock.run(join(rig.tracker.run(), async {
            for event in 0..800 {
                rig.tracker.emit_wait(event).await.unwrap();
            }
            let report = rig.tracker.shutdown(secs(1)).await;
            assert!(report.ok().unwrap().all_delivered());
        }));
        assert!(
            rig.now() < secs(100),
            "full is the lesser of batch and capacity: {:?}",
            rig.now()
        );
        assert!(rig.transport.attempts() >= 100);
    }
}

#[test]
fn an_emit_that_is_refused_for_want_of_room_has_the_others_sent() {
    // 10 bytes, events of 4: after two of them there is no room, and the bytes are not full.
    let rig = Rig::new(|config| config.capacity_bytes(11).linger(secs(100)));
    rig.clock.run(join(rig.tracker.run(), async {
        rig.clock.sleep(millis(1)).await;
        rig.emit([1, 2]);
        assert!(rig.tracker.emit(3).unwrap_err().is_full());
        rig.clock.sleep(millis(1)).await;
        assert_eq!(rig.transport.attempted(), [2]);
        rig.tracker.shutdown(secs(1)).await.ok().unwrap();
    }));
}

#[test]
fn an_emit_that_waits_drops_nothing_whatever_the_policy() {
    let rig = Rig::new(|config| {
        config
            .capacity_events(2)
            .overflow(tracker_core::Overflow::DropOldest)
    });
    rig.emit([1, 2]);
    rig.clock.run(async {
        let wait = async { rig.tracker.emit_wait(3).await.unwrap() };
        let ((), report) = join(wait, rig.tracker.flush()).await;
        assert_eq!(report.dropped, 0);
        assert_eq!(
            rig.tracker.shutdown(secs(1)).await.ok().unwrap().delivered,
            3
        );
    });
    assert_eq!(
        (rig.transport.delivered(), rig.seen.dropped()),
        (vec![1, 2, 3], vec![])
    );
}
