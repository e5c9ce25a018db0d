//! A moment in time, written as RFC 3339; the crate jiff is not part of the public API.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NANOS_PER_MILLI: i128 = 1_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A moment in time, UTC, exact to the nanosecond.
///
/// The text form is RFC 3339 with a `Z` and the fewest digits of a second that keep the exact
/// value, but at least three: `2026-03-01T12:00:00.000Z`. Reading accepts every offset, and a
/// fraction of up to nine digits. There is no `now`, because the caller has the clock.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use workflow_events::Timestamp;
///
/// let start: Timestamp = "2026-03-01T13:00:00+01:00".parse()?;
/// assert_eq!(start.to_string(), "2026-03-01T12:00:00.000Z");
///
/// let end = start.saturating_add(Duration::from_micros(1_500));
/// assert_eq!(end.to_string(), "2026-03-01T12:00:00.0015Z");
/// assert_eq!(end.duration_since(start), Duration::from_micros(1_500));
/// # Ok::<(), workflow_events::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// 0000-01-01T00:00:00Z, the first moment that RFC 3339 can express.
    pub const MIN: Self = Self(jiff::Timestamp::constant(-62_167_219_200, 0));
    /// 9999-12-30T22:00:00.999999999Z, so that the local time stays within the year 9999 for every
    /// offset.
    pub const MAX: Self = Self(jiff::Timestamp::MAX);
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(jiff::Timestamp::UNIX_EPOCH);

    /// Returns the moment this number of milliseconds after the Unix epoch, or before the epoch if
    /// negative.
    ///
    /// # Errors
    ///
    /// [`TimestampError::OutOfRange`] outside [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    pub fn from_millis(millis: i64) -> Result<Self, TimestampError> {
        Self::from_nanos(i128::from(millis) * NANOS_PER_MILLI)
    }

    /// Returns the milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        let seconds = self.0.as_nanosecond().div_euclid(NANOS_PER_SECOND);
        let millis = self.0.as_nanosecond().rem_euclid(NANOS_PER_SECOND) / NANOS_PER_MILLI;
        // No overflow: MIN to MAX is ten thousand years, less than 2^49 milliseconds.
        seconds as i64 * 1_000 + millis as i64
    }

    /// Returns this moment plus a duration, or `None` beyond [`MAX`](Self::MAX).
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = i128::try_from(duration.as_nanos()).ok()?;
        Self::from_nanos(self.0.as_nanosecond().checked_add(nanos)?).ok()
    }

    /// Returns this moment plus a duration, at most [`MAX`](Self::MAX).
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self::MAX)
    }

    /// Returns this moment minus a duration, or `None` before [`MIN`](Self::MIN).
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        let nanos = i128::try_from(duration.as_nanos()).ok()?;
        Self::from_nanos(self.0.as_nanosecond().checked_sub(nanos)?).ok()
    }

    /// Returns this moment minus a duration, at least [`MIN`](Self::MIN).
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        self.checked_sub(duration).unwrap_or(Self::MIN)
    }

    /// Returns the time since an earlier moment; zero if that moment is later than this one.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        let nanos = self.0.as_nanosecond() - earlier.0.as_nanosecond();
        u128::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos_u128)
    }

    fn from_nanos(nanos: i128) -> Result<Self, TimestampError> {
        let at = jiff::Timestamp::from_nanosecond(nanos).map_err(|_| TimestampError::OutOfRange)?;
        if at < Self::MIN.0 {
            return Err(TimestampError::OutOfRange);
        }
        Ok(Self(at))
    }
}

/// The error of a text or a number that is not a [`Timestamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// The text is not a date and time of RFC 3339, or its fraction has more than nine digits.
    #[error("not an RFC 3339 timestamp")]
    NotRfc3339,
    /// The moment is outside [`Timestamp::MIN`] to [`Timestamp::MAX`].
    #[error("timestamp outside the years 0000 to 9999")]
    OutOfRange,
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        // The parser below also accepts other forms of ISO 8601, which other readers would refuse.
        if !has_shape_of_rfc3339(text.as_bytes()) {
            return Err(TimestampError::NotRfc3339);
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(at) => Self::from_nanos(at.as_nanosecond()),
            // The last moments of the year 9999 are valid RFC 3339, but after MAX.
            Err(_)
                if text[..date_time_len(text)]
                    .parse::<jiff::civil::DateTime>()
                    .is_ok() =>
            {
                Err(TimestampError::OutOfRange)
            }
            Err(_) => Err(TimestampError::NotRfc3339),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fraction = self.0.as_nanosecond().rem_euclid(NANOS_PER_SECOND);
        let mut digits = 9;
        while digits > 3 && fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        write!(f, "{:.digits$}", self.0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = TimestampError;

    fn try_from(time: SystemTime) -> Result<Self, TimestampError> {
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()),
            Err(before) => i128::try_from(before.duration().as_nanos()).map(|nanos| -nanos),
        };
        Self::from_nanos(nanos.map_err(|_| TimestampError::OutOfRange)?)
    }
}

impl TryFrom<Timestamp> for SystemTime {
    /// An error if the platform's clock begins later than this moment: Windows counts from 1601.
    type Error = TimestampError;

    fn try_from(at: Timestamp) -> Result<Self, TimestampError> {
        if at >= Timestamp::UNIX_EPOCH {
            UNIX_EPOCH.checked_add(at.duration_since(Timestamp::UNIX_EPOCH))
        } else {
            UNIX_EPOCH.checked_sub(Timestamp::UNIX_EPOCH.duration_since(at))
        }
        .ok_or(TimestampError::OutOfRange)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 timestamp")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Returns whether the separators are in the places that RFC 3339 requires; the parser checks the
/// values.
fn has_shape_of_rfc3339(text: &[u8]) -> bool {
    let Some((date_time, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let fraction = match rest {
        [b'.', after @ ..] => {
            1 + after
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        }
        _ => 0,
    };
    date_time.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        10 => matches!(byte, b'T' | b't' | b' '),
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    }) && match &rest[fraction..] {
        [b'Z' | b'z'] => true,
        // The parser would accept an hour from 24 on.
        [b'+' | b'-', b'0'..=b'1', b'0'..=b'9', b':', minutes @ ..] => is_minute(minutes),
        [b'+' | b'-', b'2', b'0'..=b'3', b':', minutes @ ..] => is_minute(minutes),
        _ => false,
    }
}

fn is_minute(text: &[u8]) -> bool {
    matches!(text, [b'0'..=b'5', b'0'..=b'9'])
}

/// Returns the length of the date and the time in a text of the right shape; the offset follows.
fn date_time_len(text: &str) -> usize {
    text.len()
        - if text.ends_with(['Z', 'z']) {
            1
        } else {
            "+00:00".len()
        }
}
