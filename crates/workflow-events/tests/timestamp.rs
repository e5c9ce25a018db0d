//! Timestamps as text, as milliseconds, as system time, and their arithmetic.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, as the test does"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use workflow_events::{Timestamp, TimestampError};

#[test]
fn text_has_at_least_milliseconds_and_loses_nothing() {
    for (read, written) in [
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000Z"),
        ("2026-03-01T12:00:00.1Z", "2026-03-01T12:00:00.100Z"),
        ("2026-03-01T12:00:00.123Z", "2026-03-01T12:00:00.123Z"),
        ("2026-03-01T12:00:00.1234Z", "2026-03-01T12:00:00.1234Z"),
        ("2026-03-01T12:00:00.000001Z", "2026-03-01T12:00:00.000001Z"),
        (
            "2026-03-01T12:00:00.123456789Z",
            "2026-03-01T12:00:00.123456789Z",
        ),
        ("2026-03-01T12:00:00.123000000Z", "2026-03-01T12:00:00.123Z"),
        ("1969-12-31T23:59:59.9995Z", "1969-12-31T23:59:59.9995Z"),
        ("2026-03-01T12:00:00+00:00", "2026-03-01T12:00:00.000Z"),
        ("2026-03-01T12:00:00-00:00", "2026-03-01T12:00:00.000Z"),
        ("2026-03-01T14:30:00.5+02:30", "2026-03-01T12:00:00.500Z"),
        ("2026-02-28T23:00:00-13:00", "2026-03-01T12:00:00.000Z"),
        ("2026-03-01t12:00:00z", "2026-03-01T12:00:00.000Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(
            read.parse::<Timestamp>().unwrap().to_string(),
            written,
            "{read}"
        );
    }
}

#[test]
fn only_rfc_3339_is_read() {
    for text in [
        "",
        "now",
        "2026-03-01",
        "2026-03-01T12:00Z",
        "2026-03-01T12:00:00",
        "20260301T120000Z",
        "2026-03-01T12:00:00+0200",
        "2026-03-01T12:00:00+02",
        "2026-03-01T12:00:00.Z",
        "2026-03-01T12:00:00,5Z",
        "2026-03-01T12:00:00.1234567891Z",
        "2026-13-01T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T12:00:00Z[UTC]",
        "+002026-03-01T12:00:00Z",
        " 2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00Z ",
        "२०२६-03-01T12:00:00Z",
    ] {
        assert_eq!(
            text.parse::<Timestamp>(),
            Err(TimestampError::NotRfc3339),
            "{text}"
        );
    }
}

#[test]
fn a_moment_outside_the_range_is_no_wrong_text() {
    for text in [
        "0000-01-01T00:00:00+01:00",
        "0000-01-01T00:00:00.999999999+00:01",
        "9999-12-30T22:00:01Z",
        "9999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59-23:59",
        "9999-12-30T22:00:00.5-00:30",
    ] {
        assert_eq!(
            text.parse::<Timestamp>(),
            Err(TimestampError::OutOfRange),
            "{text}"
        );
    }
    for text in [
        "9999-12-32T00:00:00Z",
        "9999-12-31T00:00:00+24:00",
        "9999-12-31T00:00:00+1é:00",
        "9999-02-29T00:00:00Z",
    ] {
        assert_eq!(
            text.parse::<Timestamp>(),
            Err(TimestampError::NotRfc3339),
            "{text}"
        );
    }
    let last = "9999-12-30T23:59:59.999999999+23:59"
        .parse::<Timestamp>()
        .unwrap();
    assert_eq!(last.to_string(), "9999-12-30T00:00:59.999999999Z");
}

#[test]
fn milliseconds_round_down_and_know_their_range() {
    let millis = |text: &str| text.parse::<Timestamp>().unwrap().as_millis();
    assert_eq!(millis("1970-01-01T00:00:01.0019Z"), 1001);
    assert_eq!(millis("1969-12-31T23:59:59.9999Z"), -1);
    for at in [Timestamp::MIN, Timestamp::MAX] {
        assert_eq!(
            Timestamp::from_millis(at.as_millis()).unwrap().as_millis(),
            at.as_millis()
        );
        assert_eq!(at.to_string().parse(), Ok(at));
    }
    for millis in [
        i64::MIN,
        Timestamp::MIN.as_millis() - 1,
        Timestamp::MAX.as_millis() + 1,
        i64::MAX,
    ] {
        assert_eq!(
            Timestamp::from_millis(millis),
            Err(TimestampError::OutOfRange)
        );
    }
}

#[test]
fn arithmetic_saturates() {
    let epoch = Timestamp::UNIX_EPOCH;
    let second = Duration::from_secs(1);
    let later = epoch.checked_add(second).unwrap();
    assert_eq!(later.as_millis(), 1000);
    assert_eq!(later.duration_since(epoch), second);
    assert_eq!(epoch.duration_since(later), Duration::ZERO);
    assert_eq!(epoch.checked_add(Duration::MAX), None);
    assert_eq!(epoch.saturating_add(Duration::MAX), Timestamp::MAX);
    assert_eq!(Timestamp::MAX.checked_add(Duration::from_nanos(1)), None);
    assert_eq!(later.checked_sub(second), Some(epoch));
    assert_eq!(epoch.saturating_sub(second).as_millis(), -1000);
    assert_eq!(Timestamp::MAX.checked_sub(Duration::MAX), None);
    assert_eq!(Timestamp::MAX.saturating_sub(Duration::MAX), Timestamp::MIN);
    assert_eq!(Timestamp::MIN.checked_sub(Duration::from_nanos(1)), None);
    assert_eq!(
        Timestamp::MAX.saturating_sub(Timestamp::MAX.duration_since(Timestamp::MIN)),
        Timestamp::MIN
    );
    assert_eq!(
        Timestamp::MIN.saturating_add(Timestamp::MAX.duration_since(Timestamp::MIN)),
        Timestamp::MAX
    );
}

proptest! {
    #[test]
    fn text_round_trips_and_sorts_as_time(a in moment(), b in moment()) {
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(a <= b, a.duration_since(b).is_zero());
        if a >= b {
            prop_assert_eq!(b.checked_add(a.duration_since(b)), Some(a));
            prop_assert_eq!(a.checked_sub(a.duration_since(b)), Some(b));
        }
        prop_assert_eq!(SystemTime::try_from(a).and_then(Timestamp::try_from), Ok(a));
        let whole = Timestamp::from_millis(a.as_millis()).unwrap();
        prop_assert!(whole <= a && a.duration_since(whole) < Duration::from_millis(1));
    }

    #[test]
    fn sums_stay_in_range_and_in_order(at in moment(), one in duration(), other in duration()) {
        let less = one.min(other);
        let more = one.max(other);
        prop_assert!(at <= at.saturating_add(less) && at.saturating_add(less) <= at.saturating_add(more));
        prop_assert!(at >= at.saturating_sub(less) && at.saturating_sub(less) >= at.saturating_sub(more));
        prop_assert!(at.saturating_add(more) <= Timestamp::MAX && at.saturating_sub(more) >= Timestamp::MIN);
        if let Some(sum) = at.checked_add(more) {
            prop_assert_eq!(sum.duration_since(at), more);
            prop_assert_eq!(sum.checked_sub(more), Some(at));
        }
    }

    #[test]
    fn system_time_round_trips(nanos in -10_000_000_000_000_000_000_i128..10_000_000_000_000_000_000) {
        let distance = Duration::from_nanos_u128(nanos.unsigned_abs());
        let time = if nanos < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
        let at = Timestamp::try_from(time).unwrap();
        prop_assert_eq!(SystemTime::try_from(at).unwrap(), time);
        prop_assert_eq!(i128::from(at.as_millis()), nanos.div_euclid(1_000_000));
    }

    #[test]
    fn no_text_panics(text in "[0-9TtZz:.+ -]{0,40}|\\PC{0,40}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?[+-][0-9]{2}:[0-9]{2}") {
        if let Ok(at) = text.parse::<Timestamp>() {
            prop_assert_eq!(at.to_string().parse(), Ok(at));
        }
    }
}

/// Generates moments, often one near an end of the range or near the epoch.
fn moment() -> impl Strategy<Value = Timestamp> {
    let range = Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis();
    let fraction = prop_oneof![Just(0), 0..1_000_000_u64];
    let any = (range, fraction).prop_map(|(ms, ns)| {
        Timestamp::from_millis(ms)
            .unwrap()
            .saturating_add(Duration::from_nanos(ns))
    });
    let near = || prop_oneof![Just(0), Just(1), 0..2_000_000_u64].prop_map(Duration::from_nanos);
    prop_oneof![
        4 => any,
        1 => near().prop_map(|after| Timestamp::MIN.saturating_add(after)),
        1 => near().prop_map(|before| Timestamp::MAX.saturating_sub(before)),
        1 => near().prop_map(|after| Timestamp::UNIX_EPOCH.saturating_add(after)),
        1 => near().prop_map(|before| Timestamp::UNIX_EPOCH.saturating_sub(before)),
    ]
}

/// Generates durations, often one at an end of the range.
fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        any::<u64>().prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_secs),
    ]
}
