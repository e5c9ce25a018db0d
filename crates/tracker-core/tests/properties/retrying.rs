//! Retries: bounded by the deadline and not by a count, never earlier than asked, never beyond the
//! deadline.

use std::time::Duration;

use proptest::prelude::*;
use tracker_core::{Action, Config, Delivery, DeliveryError, Reason, Receipt, SendError};

fn failure(retry_after: Option<Duration>) -> Result<Receipt, SendError> {
    Err(SendError::Answer {
        status: 503,
        retry_after,
        encoded: false,
        reason: Reason::new("busy"),
    })
}

/// Milliseconds from nothing to beyond every default.
fn millis(most: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0..=most * 1000).prop_map(Duration::from_micros)
    ]
}

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn no_wait_reaches_the_deadline_and_retry_after_is_a_minimum(
        seed in any::<u64>(),
        deadline in millis(40_000),
        steps in prop::collection::vec((millis(3_000), prop::option::of(millis(8_000))), 1..60),
    ) {
        let mut delivery = Delivery::new(&Config::default(), deadline, seed);
        let mut now = Duration::ZERO;
        for (request, retry_after) in steps {
            now += request;
            match delivery.on_answer(3, failure(retry_after), now) {
                Action::Wait(delay) => {
                    prop_assert!(now + delay < deadline, "{delay:?} at {now:?} goes beyond {deadline:?}");
                    prop_assert!(delay >= retry_after.unwrap_or_default(), "earlier than asked");
                    prop_assert!(delay <= Duration::from_secs(5).max(retry_after.unwrap_or_default()));
                    now += delay;
                }
                Action::Stop(DeliveryError::Deadline { last }) => {
                    let left = deadline.saturating_sub(now);
                    let asked_too_much = retry_after.is_some_and(|asked| asked >= left);
                    prop_assert!(left < Duration::from_millis(10) || asked_too_much, "gave up with {left:?} left");
                    prop_assert_eq!(last, failure(retry_after).err(), "the report says what the last attempt met");
                    return Ok(());
                }
                other => prop_assert!(false, "503 led to {:?}", other),
            }
        }
    }

    #[test]
    fn delays_are_within_their_bounds_and_the_same_for_the_same_seed(
        seed in any::<u64>(),
        initial in 1..5_000u64,
        cap in 1..60_000u64,
        failures in 1..70usize,
    ) {
        let initial = initial.min(cap);
        let config = Config::builder()
            .initial_delay(Duration::from_millis(initial))
            .max_delay(Duration::from_millis(cap))
            .build()
            .unwrap();
        let delays = || {
            let mut delivery = Delivery::new(&config, Duration::MAX, seed);
            let wait = |_| match delivery.on_answer(1, failure(None), Duration::ZERO) {
                Action::Wait(delay) => delay,
                other => panic!("{other:?}"),
            };
            (0..failures).map(wait).collect::<Vec<_>>()
        };
        let first = delays();
        prop_assert_eq!(&first, &delays(), "the same seed gives the same delays");
        for (retry, delay) in first.iter().enumerate() {
            let bound = u128::from(initial).checked_shl(retry as u32).filter(|_| retry < 64).unwrap_or(u128::MAX);
            let bound = bound.saturating_mul(1000).min(u128::from(cap) * 1000);
            prop_assert!(delay.as_micros() <= bound, "delay {retry} is {delay:?}");
        }
    }

    #[test]
    fn attempts_end_with_the_deadline_even_if_every_answer_is_instant(seed in any::<u64>()) {
        let mut delivery = Delivery::new(&Config::default(), Duration::from_secs(30), seed);
        let mut now = Duration::ZERO;
        let mut attempts = 0;
        while let Action::Wait(delay) = delivery.on_answer(1, failure(None), now) {
            now += delay;
            attempts += 1;
            prop_assert!(attempts < 200, "a deadline that comes near must not be chased for ever");
        }
        prop_assert!(now > Duration::from_secs(29), "it gave up at {now:?} of 30 s");
    }

    #[test]
    fn a_success_starts_the_delays_anew(seed in any::<u64>(), failures in 6..40u32) {
        let mut delivery = Delivery::new(&Config::default(), Duration::MAX, seed);
        (0..failures).for_each(|_| drop(delivery.on_answer(2, failure(None), Duration::ZERO)));
        delivery.on_answer(1, Ok(Receipt::default()), Duration::ZERO);
        let next = delivery.on_answer(1, failure(None), Duration::ZERO);
        prop_assert!(matches!(next, Action::Wait(delay) if delay <= Duration::from_millis(100)), "{next:?}");
    }
}

#[test]
fn time_left_is_none_from_the_deadline_on() {
    let delivery = Delivery::new(&Config::default(), Duration::from_secs(1), 7);
    assert_eq!(
        delivery.time_left(Duration::ZERO),
        Some(Duration::from_secs(1))
    );
    assert_eq!(
        delivery.time_left(Duration::from_nanos(999_999_999)),
        Some(Duration::from_nanos(1))
    );
    assert_eq!(delivery.time_left(Duration::from_secs(1)), None);
    assert_eq!(delivery.time_left(Duration::from_secs(2)), None);
}

#[test]
fn the_last_ten_milliseconds_see_no_further_attempt() {
    let decide = |left| {
        let mut delivery = Delivery::new(&Config::default(), Duration::from_secs(1), 7);
        delivery.on_answer(1, failure(None), Duration::from_secs(1) - left)
    };
    assert!(
        matches!(decide(Duration::from_millis(10)), Action::Wait(delay) if delay <= Duration::from_millis(5))
    );
    assert!(matches!(
        decide(Duration::from_micros(9_999)),
        Action::Stop(DeliveryError::Deadline { last: Some(_) })
    ));
}

#[test]
fn a_retry_after_of_exactly_the_time_left_is_too_long() {
    let decide = |asked| {
        let mut delivery = Delivery::new(&Config::default(), Duration::from_secs(20), 7);
        delivery.on_answer(1, failure(Some(asked)), Duration::ZERO)
    };
    assert!(matches!(
        decide(Duration::from_secs(20)),
        Action::Stop(DeliveryError::Deadline { .. })
    ));
    let shorter = Duration::from_secs(20) - Duration::from_nanos(1);
    assert_eq!(decide(shorter), Action::Wait(shorter));
}

/// Half of what is left bounds a delay that was drawn; only then is there time for another attempt.
#[test]
fn a_long_delay_near_the_deadline_leaves_half_of_the_time() {
    let config = Config::builder()
        .initial_delay(Duration::from_secs(5))
        .build()
        .unwrap();
    let delays = (0..64).map(|seed| {
        let mut delivery = Delivery::new(&config, Duration::from_millis(200), seed);
        let Action::Wait(delay) = delivery.on_answer(1, failure(None), Duration::ZERO) else {
            panic!("there is time")
        };
        delay
    });
    assert_eq!(delays.max(), Some(Duration::from_millis(100)));
}
