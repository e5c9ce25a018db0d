//! The rules of the machine, one by one, and a replay beside its first execution.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use workflow_events::{EventKind, PauseReason, Timestamp};

use crate::execution::determinism::DeterminismError;
use crate::execution::machine::{Machine, Permission, Released};
use crate::execution::operation::{Completion, OpKey, OpKind};
use crate::execution::outgoing::{Draft, Outgoing};
use crate::execution::replay::Replay;
use crate::payload::Payload;
use crate::random::Seed;
use crate::store::{CancelRequest, Entry, EntryKind};

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn here() -> ThreadId {
    thread::current().id()
}

fn elsewhere() -> ThreadId {
    thread::spawn(|| thread::current().id()).join().unwrap()
}

fn entry(key: &OpKey) -> Entry {
    Entry {
        kind: EntryKind::StepCompleted,
        name: key.name.to_string(),
        occurrence: key.occurrence,
        attempt: 1,
        due_at: None,
        payload: None,
    }
}

/// The record that completes an operation.
fn completion(key: &OpKey) -> Outgoing {
    Outgoing {
        at: at(1_000),
        drafts: Vec::new(),
        entry: Some(entry(key)),
        completes: Some(key.clone()),
    }
}

fn replay(completions: impl IntoIterator<Item = OpKey>) -> Replay {
    let completion = |key: OpKey| Completion {
        entry: entry(&key),
        key,
        at: at(1_000),
    };
    Replay {
        input: Payload::default(),
        seed: Seed::new(7),
        created_at: at(0),
        started_at: None,
        completions: completions.into_iter().map(completion).collect(),
        begun: Default::default(),
        completed_steps: Vec::new(),
        paused: None,
        last_seq: 1,
    }
}

/// A machine whose workflow is being polled on this thread.
fn machine(history: impl IntoIterator<Item = OpKey>) -> Machine {
    let mut machine = Machine::new(replay(history), at(0));
    machine.set_polling(Some(here()));
    machine
}

/// A machine that has reached the end of its empty history.
fn live() -> Machine {
    let mut machine = machine([]);
    assert_eq!(machine.go_live(), Ok(true));
    machine
}

fn key(name: &str) -> OpKey {
    OpKey {
        kind: OpKind::Step,
        name: name.into(),
        occurrence: 1,
    }
}

fn step(machine: &mut Machine, name: &str) -> OpKey {
    machine.register(OpKind::Step, name.into(), here())
}

fn poll(machine: &mut Machine, key: &OpKey) -> Permission {
    machine.poll(key, here(), Waker::noop())
}

fn proceeds(machine: &mut Machine, key: &OpKey) -> bool {
    matches!(poll(machine, key), Permission::Proceed(_))
}

fn completes(machine: &mut Machine, key: &OpKey) -> bool {
    matches!(poll(machine, key), Permission::Completed(_))
}

fn cancel(reason: &str, immediate: bool) -> CancelRequest {
    CancelRequest {
        reason: Some(reason.into()),
        immediate,
        at: at(5),
    }
}

#[test]
fn an_operation_completes_only_once_its_record_is_committed_and_granted() {
    let mut machine = live();
    let charge = step(&mut machine, "charge");
    assert!(proceeds(&mut machine, &charge));
    machine.begin_attempt();
    assert!(machine.is_executing());
    machine.end_attempt(completion(&charge));
    assert!(!machine.is_executing());
    assert!(!completes(&mut machine, &charge), "it is queued");
    assert_eq!(machine.release(), Released::Nothing);
    let records = machine.take_queued(1);
    machine.committed(records);
    assert!(!completes(&mut machine, &charge), "it is not granted");
    assert_eq!(machine.release(), Released::Granted);
    assert!(completes(&mut machine, &charge));
    assert_eq!(machine.completed_steps(), ["charge"]);
    assert_eq!(machine.now(), at(1_000));
}

#[test]
fn nothing_begins_before_the_history_is_reached() {
    let mut machine = machine([key("recorded")]);
    let recorded = step(&mut machine, "recorded");
    let next = step(&mut machine, "new");
    assert!(!proceeds(&mut machine, &recorded));
    assert!(!proceeds(&mut machine, &next));
    assert_eq!(machine.go_live(), Ok(false), "a completion is not reached");
    assert_eq!(machine.release(), Released::Granted);
    assert!(completes(&mut machine, &recorded));
    assert!(!proceeds(&mut machine, &next));
    assert_eq!(machine.go_live(), Ok(true));
    assert!(proceeds(&mut machine, &next));
    assert_eq!(machine.go_live(), Ok(false), "a replay ends once");
}

#[test]
fn occurrences_are_counted_by_kind_and_name_at_the_call() {
    let mut machine = live();
    let keys = ["a", "b", "a"].map(|name| step(&mut machine, name));
    assert_eq!(keys.map(|key| key.occurrence), [1, 1, 2]);
    let sleep = machine.register(OpKind::Sleep, "a".into(), here());
    assert_eq!(sleep.occurrence, 1);
}

#[test]
fn a_history_with_operations_that_the_code_does_not_call_is_noticed() {
    let mut waiting = machine([key("old")]);
    step(&mut waiting, "new");
    assert_eq!(waiting.release(), Released::NotCalled(key("old")));
    let Some(DeterminismError::LeftOver { recorded }) = waiting.left_over() else {
        panic!("the history has more");
    };
    assert_eq!(recorded, key("old").to_string());

    let mut begun = replay([]);
    begun.begun.insert(key("old"), (entry(&key("old")), at(0)));
    let mut machine = Machine::new(begun, at(0));
    machine.set_polling(Some(here()));
    assert!(machine.go_live().is_err());
    assert!(machine.left_over().is_some());
    let old = step(&mut machine, "old");
    assert_eq!(machine.go_live(), Ok(true));
    assert!(machine.left_over().is_none());
    assert!(matches!(
        poll(&mut machine, &old),
        Permission::Proceed(Some(_))
    ));
    assert!(matches!(
        poll(&mut machine, &old),
        Permission::Proceed(None)
    ));
}

#[test]
fn operations_are_used_on_the_workflows_own_future_and_outside_of_steps() {
    let mut other_thread = live();
    other_thread.register(OpKind::Step, "a".into(), elsewhere());
    let problem = other_thread.take_problem();
    assert!(matches!(problem, Some(DeterminismError::Elsewhere { .. })));

    let mut polled_elsewhere = live();
    let a = step(&mut polled_elsewhere, "a");
    polled_elsewhere.poll(&a, elsewhere(), Waker::noop());
    let problem = polled_elsewhere.take_problem();
    assert!(matches!(problem, Some(DeterminismError::Elsewhere { .. })));

    let mut not_polling = live();
    not_polling.set_polling(None);
    step(&mut not_polling, "a");
    let problem = not_polling.take_problem();
    assert!(matches!(problem, Some(DeterminismError::Elsewhere { .. })));

    let uses: [fn(&mut Machine); 3] = [
        |machine| drop(step(machine, "inner")),
        |machine| assert_ne!(machine.random(), 0),
        |machine| assert!(!machine.uuid().is_nil()),
    ];
    for inner in uses {
        let mut machine = live();
        machine.set_step(Some("outer".into()));
        inner(&mut machine);
        let problem = machine.take_problem();
        assert!(matches!(problem, Some(DeterminismError::Nested { .. })));
    }
}

#[test]
fn the_first_problem_counts_and_stops_every_operation() {
    let mut machine = live();
    let a = step(&mut machine, "a");
    machine.fail(DeterminismError::NotDurable);
    machine.register(OpKind::Step, "b".into(), elsewhere());
    assert!(!proceeds(&mut machine, &a));
    assert_eq!(machine.take_problem(), Some(DeterminismError::NotDurable));
}

#[test]
fn nothing_begins_while_the_run_drains_or_is_cancelled() {
    let ends: [fn(&mut Machine); 3] = [
        Machine::drain,
        |machine| machine.cancel(cancel("stop", false)),
        Machine::close,
    ];
    for end in ends {
        let mut running = live();
        let a = step(&mut running, "a");
        end(&mut running);
        assert!(!proceeds(&mut running, &a));
        let mut replaying = machine([]);
        end(&mut replaying);
        assert_eq!(replaying.go_live(), Ok(false));
    }
}

#[test]
fn a_cancel_outranks_a_shutdown_and_outlives_the_close() {
    let mut machine = live();
    machine.drain();
    assert!(machine.is_draining());
    machine.cancel(cancel("first", false));
    machine.drain();
    machine.cancel(cancel("second", true));
    let expected = cancel("first", true);
    assert_eq!(machine.cancel_request(), Some(&expected));
    assert!(!machine.is_draining());
    machine.close();
    assert_eq!(machine.cancel_request(), Some(&expected));

    let mut closed = live();
    closed.close();
    closed.cancel(cancel("late", false));
    closed.cancel(cancel("later", true));
    assert_eq!(closed.cancel_request(), Some(&cancel("late", true)));
}

#[test]
fn a_dropped_attempt_is_recorded_unless_the_run_is_closed() {
    let interrupted = || Draft {
        at: at(3),
        kind: EventKind::SleepCompleted { duration_ms: 0 },
    };
    for (is_closed, records) in [(false, 1), (true, 0)] {
        let mut machine = live();
        let a = step(&mut machine, "a");
        assert!(proceeds(&mut machine, &a));
        machine.begin_attempt();
        if is_closed {
            machine.close();
        }
        machine.remove(&a, true, Some(interrupted()));
        assert_eq!(machine.queue().len(), records);
        assert!(!machine.is_executing());
    }
}

#[test]
fn a_completion_of_a_dropped_operation_is_passed_over() {
    let mut machine = machine([key("dropped"), key("kept")]);
    let dropped = step(&mut machine, "dropped");
    let kept = step(&mut machine, "kept");
    assert!(!completes(&mut machine, &kept));
    machine.remove(&dropped, false, None);
    assert_eq!(machine.release(), Released::Granted);
    assert!(completes(&mut machine, &kept));
}

#[test]
fn waits_end_one_at_a_time_in_the_order_of_their_times() {
    let mut machine = live();
    let [late, early] = ["late", "early"].map(|name| step(&mut machine, name));
    machine.set_wait(&late, at(20), PauseReason::Sleep);
    machine.set_wait(&early, at(30), PauseReason::Sleep);
    machine.set_wait(&early, at(10), PauseReason::Retry);
    let (due_at, reason, step) = machine.earliest_wait().unwrap();
    assert_eq!((due_at, reason), (at(10), PauseReason::Retry));
    assert_eq!(step.as_deref(), Some("early"));
    assert!(!machine.fire_wait(at(9)));
    assert!(machine.fire_wait(at(99)));
    assert!(machine.take_due(&early) && !machine.take_due(&late));
    assert!(!machine.take_due(&early), "it is cleared");
    assert!(machine.fire_wait(at(99)));
    assert!(machine.take_due(&late));
    assert!(!machine.fire_wait(at(99)));
    machine.set_wait(&late, at(20), PauseReason::Sleep);
    machine.remove(&late, false, None);
    assert!(machine.earliest_wait().is_none());
}

#[test]
fn a_timer_fires_once_and_can_be_set_again() {
    let mut machine = live();
    let a = step(&mut machine, "a");
    let second = Duration::from_secs(1);
    machine.set_timer(&a, Some(second));
    machine.set_timer(&a, Some(2 * second));
    assert_eq!(machine.earliest_timer(), Some(2 * second));
    machine.fire_timers(second);
    assert_eq!(machine.earliest_timer(), Some(2 * second));
    machine.fire_timers(2 * second);
    assert_eq!(machine.earliest_timer(), None);
    machine.set_timer(&a, Some(second));
    machine.set_timer(&a, None);
    assert_eq!(machine.earliest_timer(), None);
}

#[test]
fn wakers_are_handed_out_and_never_called() {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut machine = machine([]);
    let a = step(&mut machine, "a");
    let awaken = |machine: &mut Machine, change: &mut dyn FnMut(&mut Machine)| {
        machine.poll(&a, here(), &waker);
        change(machine);
        let wakers = machine.take_wakers();
        assert!(machine.take_wakers().is_empty());
        assert_eq!(wakers.len(), 1, "exactly the operation that can continue");
        assert!(wakers[0].will_wake(&waker));
    };
    awaken(&mut machine, &mut |machine| drop(machine.go_live()));
    awaken(&mut machine, &mut |machine| {
        machine.set_timer(&key("a"), Some(Duration::ZERO));
        machine.fire_timers(Duration::ZERO);
    });
    awaken(&mut machine, &mut |machine| {
        machine.set_wait(&key("a"), at(0), PauseReason::Sleep);
        machine.fire_wait(at(0));
    });
    awaken(&mut machine, &mut |machine| {
        machine.committed(vec![completion(&key("a"))]);
        assert_eq!(machine.release(), Released::Granted);
    });
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0, "no waker was called");
}

#[test]
fn records_that_a_store_refused_come_first_again() {
    let mut machine = live();
    for name in ["a", "b", "c"] {
        machine.record(completion(&key(name)));
    }
    let mut taken = machine.take_queued(2);
    taken.pop();
    machine.requeue(taken);
    let names = machine
        .queue()
        .iter()
        .map(|record| record.completes.clone());
    assert_eq!(names.collect::<Vec<_>>(), [Some(key("a")), Some(key("c"))]);
}

/// What the code of a workflow sees: which operation each of its selects yields.
///
/// The workflow calls all its operations, and then selects over one set of them after the other. In
/// the first execution `finish` is the order in which they end, and `commits` how many are
/// committed at once.
fn select_all(
    machine: &mut Machine,
    operations: usize,
    sets: &[Vec<usize>],
    mut finish: VecDeque<usize>,
    commits: &[usize],
) -> Vec<usize> {
    let names: Vec<_> = (0..operations).map(|n| n.to_string()).collect();
    let keys: Vec<_> = names.iter().map(|name| step(machine, name)).collect();
    let mut commits = commits.iter().cycle();
    let mut yielded = Vec::new();
    for set in sets {
        let set: Vec<_> = set.iter().filter(|n| !yielded.contains(*n)).collect();
        if set.is_empty() {
            continue;
        }
        loop {
            if let Some(n) = set.iter().find(|n| completes(machine, &keys[***n])) {
                yielded.push(**n);
                break;
            }
            if machine.release() == Released::Granted {
                continue;
            }
            // An operation is polled again only after it was woken, so a live one ends now.
            let count = *commits.next().unwrap();
            let ended: Vec<_> = finish.drain(..count.min(finish.len())).collect();
            let ended = ended.into_iter().map(|n| completion(&keys[n]));
            machine.committed(ended.collect());
        }
    }
    yielded
}

proptest! {
    #[test]
    fn a_replay_yields_what_the_first_execution_yielded(
        sets in vec(subsequence((0..6).collect::<Vec<_>>(), 1..4), 1..10),
        finish in Just((0..6).collect::<Vec<_>>()).prop_shuffle(),
        commits in vec(1..4_usize, 1..4),
        recorded in 0..7_usize,
    ) {
        let mut first = live();
        let finish = VecDeque::from(finish);
        let yielded = select_all(&mut first, 6, &sets, finish.clone(), &commits);

        // A process died after it had committed `recorded` completions; the next one continues.
        let history = finish.iter().take(recorded).map(|n| key(&n.to_string()));
        let mut second = machine(history);
        let rest = finish.iter().copied().skip(recorded).collect();
        let again = select_all(&mut second, 6, &sets, rest, &commits);
        prop_assert_eq!(again, yielded);
    }

    #[test]
    fn the_draws_of_a_replay_are_those_of_the_first_execution(draws in vec(any::<bool>(), 0..20)) {
        let draw = |machine: &mut Machine| -> Vec<String> {
            let draws = draws.iter().map(|uuid| match uuid {
                true => machine.uuid().to_string(),
                false => machine.random().to_string(),
            });
            draws.collect()
        };
        prop_assert_eq!(draw(&mut live()), draw(&mut machine([key("a")])));
    }
}
