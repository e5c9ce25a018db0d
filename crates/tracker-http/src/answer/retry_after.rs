//! `Retry-After`, measured by the server's clock.

use std::time::{Duration, SystemTime};

use hyper::header::{DATE, HeaderMap, RETRY_AFTER};

/// Reads how long the server asks to wait (RFC 9110, section 10.2.3): a number of seconds, or a
/// date. Any other value is ignored.
///
/// A date is read from the server's clock, so the wait counts from the answer's `Date`, and from
/// `now` only if the answer has no `Date`. Seconds may have a fraction. A number beyond the range
/// of a duration becomes the longest duration. Of several values, the longest counts.
pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let texts = |name| {
        headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::trim)
    };
    let far_now = texts(DATE)
        .find_map(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(now);
    let wait = |text: &str| {
        let date = || {
            Some(
                httpdate::parse_http_date(text)
                    .ok()?
                    .duration_since(far_now)
                    .unwrap_or_default(),
            )
        };
        seconds(text).or_else(date)
    };
    texts(RETRY_AFTER).filter_map(wait).max()
}

/// Reads a number of seconds such as `7` or `1.5`.
fn seconds(text: &str) -> Option<Duration> {
    const NANOSECOND_DIGITS: usize = 9;

    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    // At this point only a number that is too large fails to parse.
    let whole = whole.parse().unwrap_or(u64::MAX);
    let fraction = &fraction[..fraction.len().min(NANOSECOND_DIGITS)];
    let nanoseconds = format!("{fraction:0<NANOSECOND_DIGITS$}")
        .parse()
        .unwrap_or_default();
    Some(Duration::new(whole, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epoch_plus(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn read_at(now: SystemTime, lines: &[(hyper::header::HeaderName, &str)]) -> Option<Duration> {
        let headers = lines
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        read(&HeaderMap::from_iter(headers), now)
    }

    fn read_one(text: &str) -> Option<Duration> {
        read_at(epoch_plus(1_000_000_000), &[(RETRY_AFTER, text)])
    }

    #[test]
    fn seconds_are_read_at_the_ends_of_their_domain() {
        assert_eq!(read_one("0"), Some(Duration::ZERO));
        assert_eq!(read_one(" 7\t"), Some(Duration::from_secs(7)));
        assert_eq!(read_one("007"), Some(Duration::from_secs(7)));
        assert_eq!(read_one("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(read_one("0.0000000019"), Some(Duration::from_nanos(1)));
        assert_eq!(
            read_one(&u64::MAX.to_string()),
            Some(Duration::from_secs(u64::MAX))
        );
        assert_eq!(
            read_one(&"9".repeat(1000)),
            Some(Duration::from_secs(u64::MAX))
        );
        for nonsense in [
            "", "-1", "+1", "soon", "1.", ".5", "1.-5", "1e3", "7 s", "7, 8", "١",
        ] {
            assert_eq!(read_one(nonsense), None, "{nonsense}");
        }
        assert_eq!(read_at(SystemTime::now(), &[]), None);
    }

    #[test]
    fn a_date_counts_from_our_clock_only_if_the_answer_has_none() {
        let now = epoch_plus(1_000_000_000);
        let far = epoch_plus(1_500_000_000);
        let date = |time: SystemTime| httpdate::fmt_http_date(time);
        let in_a_minute = date(far + Duration::from_secs(60));
        let minute = Some(Duration::from_secs(60));
        assert_eq!(
            read_at(now, &[(RETRY_AFTER, &in_a_minute), (DATE, &date(far))]),
            minute
        );
        assert_eq!(read_at(far, &[(RETRY_AFTER, &in_a_minute)]), minute);
        assert_eq!(
            read_at(far, &[(RETRY_AFTER, &in_a_minute), (DATE, "today")]),
            minute
        );
        assert_eq!(
            read_at(now, &[(RETRY_AFTER, "60"), (DATE, &date(far))]),
            minute
        );
        assert_eq!(
            read_at(far, &[(RETRY_AFTER, &date(now))]),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn the_longest_of_several_counts() {
        let wait = read_at(
            SystemTime::now(),
            &[
                (RETRY_AFTER, "7"),
                (RETRY_AFTER, "90"),
                (RETRY_AFTER, "soon"),
            ],
        );
        assert_eq!(wait, Some(Duration::from_secs(90)));
    }

    proptest! {
        /// The wait is what the server meant, for any difference between the two clocks.
        #[test]
        fn a_date_means_the_same_wait_on_every_clock(
            ours in 0_u64..253_402_300_800,
            theirs in 0_u64..253_402_300_000,
            wait in 0_u64..1_000_000_000,
        ) {
            let until = theirs.saturating_add(wait).min(253_402_300_799);
            let date = httpdate::fmt_http_date(epoch_plus(theirs));
            let until_date = httpdate::fmt_http_date(epoch_plus(until));
            let read = read_at(epoch_plus(ours), &[(RETRY_AFTER, &until_date), (DATE, &date)]);
            prop_assert_eq!(read, Some(Duration::from_secs(until - theirs)));
        }

        #[test]
        fn every_number_of_seconds_is_that_long(seconds: u64, nanoseconds in 0_u32..1_000_000_000) {
            prop_assert_eq!(read_one(&seconds.to_string()), Some(Duration::from_secs(seconds)));
            let text = format!("{seconds}.{nanoseconds:09}");
            prop_assert_eq!(read_one(&text), Some(Duration::new(seconds, nanoseconds)));
        }

        #[test]
        fn nothing_that_a_header_can_hold_panics(text in "[ -~]{0,40}") {
            read_one(&text);
        }
    }
}
