//! The state machine of one execution: pure, without I/O, clock, thread or lock of its own.
//!
//! Operations register their calls, poll for what they may do, and record what happened to them.
//! The records wait in a queue, which the driver commits. The future of an operation becomes ready
//! only once its completion is in the history, one at a time, by the rule of [`Completions`]. A
//! replay takes the completions from the history, so it leads the code the same way.
//!
//! The machine calls no waker. It collects the wakers of operations that can continue; the guard of
//! its lock wakes them once the lock is free. See [`Machine::take_wakers`].

mod driving;
mod operations;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::thread::ThreadId;
use std::time::Duration;

use workflow_events::{PauseReason, Timestamp};

use crate::execution::calls::Calls;
use crate::execution::completions::{Completions, Place};
use crate::execution::determinism::DeterminismError;
use crate::execution::operation::{Begun, OpKey};
use crate::execution::outgoing::Outgoing;
use crate::execution::phase::Phase;
use crate::execution::replay::Replay;
use crate::execution::schedule::{Schedule, Ticket};
use crate::random::Seed;
use crate::store::Entry;

pub(crate) struct Machine {
    phase: Phase,
    calls: Calls,
    /// Operations whose futures exist.
    operations: HashMap<OpKey, Operation>,
    completions: Completions,
    /// What the history has of operations that have begun and not completed.
    begun: HashMap<OpKey, Begun>,
    /// Records to be committed, in order.
    queue: Vec<Outgoing>,
    /// When operations continue: times of day, which are recorded.
    waits: Schedule<Timestamp, (OpKey, PauseReason)>,
    /// When operations must be polled: times of the monotonic clock, which are not recorded.
    timers: Schedule<Duration, OpKey>,
    /// Number of attempts of steps that are executing.
    attempts: usize,
    completed_steps: Vec<String>,
    /// The time as the workflow knows it: that of the last completion that it took.
    now: Timestamp,
    random: Seed,
    /// The thread on which the workflow's future is being polled.
    polling: Option<ThreadId>,
    /// The step whose body is being polled.
    in_step: Option<Arc<str>>,
    /// Why the code cannot be followed.
    problem: Option<DeterminismError>,
    wakers: Vec<Waker>,
}

#[derive(Default)]
struct Operation {
    waker: Option<Waker>,
    /// Whether it was polled, so that its completion is requested as soon as that is reached.
    is_polled: bool,
    /// The place of its completion, once that is reached.
    completion: Option<Place>,
    wait: Option<Ticket<Timestamp>>,
    /// Whether its wait has ended.
    is_due: bool,
    timer: Option<Ticket<Duration>>,
}

/// What an operation may do when it is polled.
#[derive(Debug)]
pub(crate) enum Permission {
    /// The operation has completed, with this record.
    Completed(Entry),
    /// Nothing yet.
    Wait,
    /// The operation may begin or continue. The first time, this has the record of its beginning,
    /// if the history has one.
    Proceed(Option<Begun>),
}

/// Result of [`Machine::release`].
#[derive(Debug, PartialEq)]
pub(crate) enum Released {
    /// A completion was granted; its operation's waker is among those to be woken.
    Granted,
    /// No completion is requested.
    Nothing,
    /// The next completion belongs to an operation that the code has not called.
    NotCalled(OpKey),
}

impl Machine {
    pub(crate) fn new(replay: Replay, started_at: Timestamp) -> Self {
        Self {
            phase: Phase::Replaying,
            calls: Calls::default(),
            operations: HashMap::new(),
            completions: Completions::new(replay.completions),
            begun: replay.begun,
            queue: Vec::new(),
            waits: Schedule::new(),
            timers: Schedule::new(),
            attempts: 0,
            completed_steps: replay.completed_steps,
            now: started_at,
            random: replay.seed.with("random"),
            polling: None,
            in_step: None,
            problem: None,
            wakers: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
