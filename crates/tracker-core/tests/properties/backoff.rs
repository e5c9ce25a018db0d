//! Backoff: each delay is within `[0, min(cap, initial · 2^n)]`, even if these numbers overflow.

use std::time::Duration;

use proptest::prelude::*;
use tracker_core::Backoff;

/// `min(cap, initial · 2^n)` in nanoseconds, computed where nothing overflows: 2^128 ns exceeds
/// every `Duration`.
fn bound(initial: Duration, cap: Duration, retry: u32) -> Duration {
    let initial = initial.as_nanos();
    if initial == 0 {
        return Duration::ZERO;
    }
    let exceeds = retry >= initial.leading_zeros() || initial << retry >= cap.as_nanos();
    if exceeds {
        cap
    } else {
        Duration::from_nanos_u128(initial << retry)
    }
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        any::<u32>().prop_map(|nanos| Duration::from_nanos(nanos.into())),
        (0..10_000u64).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_secs),
    ]
}

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn every_delay_is_within_its_bound(initial in duration(), cap in duration(), seed in any::<u64>()) {
        let mut backoff = Backoff::new(initial, cap, seed);
        for retry in 0..140 {
            let expected = bound(initial, cap, retry);
            prop_assert_eq!(backoff.bound(), expected, "the bound of delay {}", retry);
            let delay = backoff.next_delay();
            prop_assert!(delay <= expected, "{delay:?} exceeds {expected:?}");
            prop_assert_eq!(delay.subsec_nanos() % 1000, 0, "whole microseconds");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_delays(initial in duration(), cap in duration(), seed in any::<u64>()) {
        let delays = || {
            let mut backoff = Backoff::new(initial, cap, seed);
            (0..40).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        prop_assert_eq!(delays(), delays());
    }

    #[test]
    fn a_reset_starts_the_bounds_anew(initial in duration(), cap in duration(), delays in 0..50) {
        let mut backoff = Backoff::new(initial, cap, 7);
        let first = backoff.bound();
        for _ in 0..delays {
            backoff.next_delay();
        }
        backoff.reset();
        prop_assert_eq!(backoff.bound(), first);
    }
}

#[test]
fn bounds_double_until_the_cap() {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), 7);
    let mut bounds = Vec::new();
    for _ in 0..8 {
        bounds.push(backoff.bound().as_millis());
        backoff.next_delay();
    }
    assert_eq!(bounds, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

/// "The delays may be zero" (`ConfigBuilder::build`): zero stays zero after any number of
/// doublings.
#[test]
fn an_initial_delay_of_zero_stays_zero() {
    let mut backoff = Backoff::new(Duration::ZERO, Duration::from_secs(5), 7);
    for retry in 0..100 {
        assert_eq!(
            backoff.bound(),
            Duration::ZERO,
            "the bound of delay {retry}"
        );
        assert_eq!(backoff.next_delay(), Duration::ZERO);
    }
}

/// Jitter is full: the delays fill the whole interval and differ between seeds.
#[test]
fn the_jitter_is_full() {
    let first =
        |seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(1), seed).next_delay();
    let delays: Vec<_> = (0..1000).map(first).collect();
    let below = |millis| {
        delays
            .iter()
            .filter(|delay| **delay < Duration::from_millis(millis))
            .count()
    };
    let quarters = [
        below(250),
        below(500) - below(250),
        below(750) - below(500),
        1000 - below(750),
    ];
    assert!(
        quarters.iter().all(|count| (180..=320).contains(count)),
        "{quarters:?} of 1000 draws per quarter"
    );
}

/// The count of retries saturates and the longest delay that can be drawn is 2^64 − 1 µs.
#[test]
fn nothing_overflows() {
    let mut backoff = Backoff::new(Duration::MAX, Duration::MAX, 7);
    let longest = (0..1000).map(|_| backoff.next_delay()).max();
    assert!(
        longest > Some(Duration::from_secs(1)) && longest <= Some(Duration::from_micros(u64::MAX))
    );
    assert_eq!(backoff.bound(), Duration::MAX);
}
