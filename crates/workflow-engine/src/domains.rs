//! Every pure function of time, delay and randomness, at the ends of its domain.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use proptest::prelude::*;
use tracker_core::Clock;
use workflow_events::{EventKind, Timestamp};

use crate::clock::{after, ceil, millis, wall};
use crate::execution::outgoing::{Draft, Ids, Outgoing};
use crate::random::Seed;
use crate::worker::settings::Retention;
use crate::workflow::retry::Retry;

const MILLI: Duration = Duration::from_millis(1);

/// A clock that stands still, at any time of day that the system knows.
#[derive(Debug)]
struct Still(SystemTime);

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> SystemTime {
        self.0
    }

    async fn sleep(&self, _: Duration) {}
}

proptest! {
    #[test]
    fn a_delay_keeps_to_its_cap_its_half_and_its_budget(
        (base, step, cap, elapsed, budget) in (duration(), duration(), duration(), duration(), duration()),
        factor in prop_oneof![Just(1.0), Just(1.0 + f64::EPSILON), Just(2.0), Just(1e300), Just(f64::MAX), 1.0..10.0],
        attempt in prop_oneof![1..70_u32, Just(u32::MAX - 1), any::<u32>().prop_map(|n| n.clamp(1, u32::MAX - 1))],
        seed in any::<u64>(),
    ) {
        let seed = Seed::new(seed);
        let exponential = Retry::exponential(base, factor, cap).unwrap();
        let function = Retry::function(move |_| base);
        let policies = [
            (Retry::constant(base), base),
            (Retry::linear(step, cap), cap),
            (exponential, cap),
            (function, base),
        ];
        for (policy, cap) in policies {
            let policy = policy.attempts(u32::MAX).unwrap();
            let longest = policy.clone().without_jitter().delay(attempt, Duration::ZERO, seed).unwrap();
            let delay = policy.delay(attempt, Duration::ZERO, seed).unwrap();
            prop_assert!(longest <= cap, "{longest:?} is above {cap:?}");
            prop_assert!(delay <= longest && delay >= longest / 2, "{delay:?} is not in the upper half of {longest:?}");
            for whole in [longest, delay] {
                prop_assert_eq!(whole, Duration::from_millis(millis(whole)));
            }
            let within = policy.clone().within(budget).delay(attempt, elapsed, seed);
            prop_assert_eq!(within.is_some(), elapsed.saturating_add(delay) <= budget);
            prop_assert_eq!(policy.attempts(attempt).unwrap().delay(attempt, Duration::ZERO, seed), None);
        }
    }

    #[test]
    fn an_exponential_delay_begins_with_its_base_and_never_shrinks(
        (base, cap) in (duration(), duration()),
        factor in prop_oneof![Just(1.0), Just(1.5), Just(2.0), Just(1e300), Just(f64::MAX)],
        attempt in prop_oneof![1..70_u32, Just(u32::MAX - 2)],
    ) {
        let policy = Retry::exponential(base, factor, cap).unwrap().attempts(u32::MAX).unwrap().without_jitter();
        let delay = |attempt| policy.delay(attempt, Duration::ZERO, Seed::new(0)).unwrap();
        prop_assert_eq!(delay(1), Duration::from_millis(millis(base.min(cap))));
        prop_assert!(delay(attempt) <= delay(attempt + 1));
        let nothing = Retry::exponential(Duration::ZERO, factor, cap).unwrap().attempts(u32::MAX).unwrap();
        prop_assert_eq!(nothing.delay(attempt, Duration::ZERO, Seed::new(0)), Some(Duration::ZERO));
    }

    #[test]
    fn a_rounded_moment_is_a_whole_millisecond_and_not_too_early(at in moment(), duration in duration()) {
        for (rounded, exact) in [(ceil(at), at), (after(at, duration), at.saturating_add(duration))] {
            prop_assert_eq!(Timestamp::from_millis(rounded.as_millis()), Ok(rounded));
            let last = Timestamp::from_millis(Timestamp::MAX.as_millis()).unwrap();
            prop_assert!(rounded >= exact.min(last), "{} is too early for {}", rounded, exact);
            prop_assert!(rounded.duration_since(exact) < MILLI);
            prop_assert_eq!(ceil(rounded), rounded);
        }
        prop_assert!(after(at, duration) >= ceil(at));
    }

    #[test]
    fn the_time_of_day_is_the_nearest_there_is(at in moment(), beyond in 1..1_000_000_000_000_u64) {
        let rounded = wall(&Still(SystemTime::try_from(at).unwrap()));
        prop_assert!(rounded <= at && at.duration_since(rounded) < MILLI);
        let beyond = Duration::from_secs(beyond);
        let late = SystemTime::try_from(Timestamp::MAX).unwrap().checked_add(beyond);
        let early = SystemTime::try_from(Timestamp::MIN).unwrap().checked_sub(beyond);
        if let (Some(late), Some(early)) = (late, early) {
            prop_assert_eq!(wall(&Still(late)).as_millis(), Timestamp::MAX.as_millis());
            prop_assert_eq!(wall(&Still(early)), Timestamp::MIN);
        }
    }

    #[test]
    fn a_purge_takes_nothing_whose_time_is_not_over(now in moment(), time in duration()) {
        let purge = Retention::all(time).purge(now, 1);
        for before in [purge.completed, purge.failed, purge.cancelled] {
            let before = before.unwrap();
            prop_assert!(before <= now);
            prop_assert!(now.duration_since(before) == time || before == Timestamp::MIN);
        }
    }

    #[test]
    fn an_event_of_any_moment_has_an_id_that_sorts_by_it(one in moment(), other in moment()) {
        let id = |at| {
            let ids = Ids { run: "r".into(), workflow: "w".into(), execution: None };
            let draft = Draft { at, kind: EventKind::SleepCompleted { duration_ms: 1 } };
            let record = ids.records(0, &[Outgoing::events(vec![draft])]).unwrap().pop().unwrap();
            record.events[0].decode().unwrap().event_id
        };
        let (first, second) = (one.min(other), one.max(other));
        let (first_id, second_id) = (id(first), id(second));
        prop_assert_eq!((first_id.get_version_num(), second_id.get_version_num()), (7, 7));
        // What is before 1970 has the id of 1970.
        if second.as_millis().max(0) > first.as_millis().max(0) {
            prop_assert!(first_id < second_id, "{first} {first_id}, {second} {second_id}");
        }
        if second >= Timestamp::UNIX_EPOCH {
            let time = second_id.get_timestamp().unwrap().to_unix();
            let seconds = SystemTime::try_from(second).unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
            prop_assert_eq!(time.0, seconds);
        }
    }

    #[test]
    fn random_numbers_keep_to_their_range_and_come_again(seed in any::<u64>(), text in "\\PC{0,20}") {
        let mut seed = Seed::new(seed);
        prop_assert!((0.0..1.0).contains(&seed.unit()));
        prop_assert_eq!(seed.with(&text).value(), seed.with(&text).value());
        let (mut one, mut other) = (seed, seed);
        prop_assert_eq!((one.next(), one.uuid()), (other.next(), other.uuid()));
        prop_assert_eq!(seed.uuid().get_version_num(), 4);
    }
}

/// Any moment, often one near an end of the range or near the epoch.
fn moment() -> impl Strategy<Value = Timestamp> {
    let near = || prop_oneof![Just(0), Just(1), 0..2_000_000_u64].prop_map(Duration::from_nanos);
    let any = (
        Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis(),
        near(),
    )
        .prop_map(|(millis, nanos)| {
            Timestamp::from_millis(millis)
                .unwrap()
                .saturating_add(nanos)
        });
    prop_oneof![
        4 => any,
        1 => near().prop_map(|after| Timestamp::MIN.saturating_add(after)),
        1 => near().prop_map(|before| Timestamp::MAX.saturating_sub(before)),
        1 => near().prop_map(|after| Timestamp::UNIX_EPOCH.saturating_add(after)),
        1 => near().prop_map(|before| Timestamp::UNIX_EPOCH.saturating_sub(before)),
    ]
}

/// Any duration, often one at an end of the range.
fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        any::<u64>().prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_secs),
        (0..100_u64).prop_map(Duration::from_millis),
    ]
}
