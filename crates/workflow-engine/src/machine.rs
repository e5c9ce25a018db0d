//! The machine of one execution: pure, without I/O and without a lock.
//!
//! Operations claim their keys, ask for their turn, and say what happened to them. What happened
//! goes into a queue, which the driver commits. The future of an operation becomes ready only once
//! its end is in the history, one at a time, by the rule of [`Ends`]: so a replay, which takes the
//! ends from the history, lets the code go the same way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Context as Poller, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use uuid::Uuid;
use workflow_events::{PauseReason, Timestamp};

use crate::determinism::DeterminismError;
use crate::ends::{Ends, Released};
use crate::history::{Draft, Outgoing};
use crate::operation::{OpKey, OpKind};
use crate::replay::{Begun, Ended, Replay};
use crate::seed::Seed;
use crate::signal::Signal;
use crate::store::{CancelRequest, Entry, EntryKind};

pub(crate) struct Machine {
    /// How often an operation of each kind and name was called.
    calls: HashMap<(OpKind, Arc<str>), u32>,
    /// The operations that were called and whose futures have not been dropped.
    ops: HashMap<OpKey, Op>,
    /// The ends that are in the history.
    ends: Ends,
    /// What a history knows of operations that have begun and not ended.
    begun: HashMap<OpKey, Begun>,
    /// Whether the code stands where the history that was read at the beginning ends.
    live: bool,
    /// What is to be committed, in order.
    pub(crate) queue: Vec<Outgoing>,
    /// When operations go on by themselves: times of day, which are recorded.
    waits: BTreeMap<(Timestamp, u64), (OpKey, PauseReason)>,
    /// When operations must be polled: times of the monotonic clock, which are not.
    timers: BTreeMap<(Duration, u64), OpKey>,
    last_id: u64,
    /// How many attempts of steps are being executed.
    executing: usize,
    pub(crate) completed_steps: Vec<String>,
    /// The time as the workflow knows it: when what it saw last was recorded.
    now: Timestamp,
    random: Seed,
    pub(crate) cancel: Option<CancelRequest>,
    /// Whether operations that have not begun must not begin.
    draining: bool,
    /// Whether the future of the workflow is gone: what its operations do when they are dropped
    /// counts no more.
    closed: bool,
    /// The thread on which the workflow's future is being polled.
    polling: Option<ThreadId>,
    /// The step whose body is being polled.
    in_step: Option<Arc<str>>,
    problem: Option<DeterminismError>,
    signal: Arc<Signal>,
}

#[derive(Default)]
struct Op {
    waker: Option<Waker>,
    /// Whether it was polled since it was last granted its end.
    asks: bool,
    /// The place of its end, once that is settled.
    end: Option<u64>,
    wait: Option<(Timestamp, u64)>,
    /// Whether its wait is over.
    is_due: bool,
    timer: Option<(Duration, u64)>,
}

/// What an operation may do when it is polled.
pub(crate) enum Turn {
    /// It has ended, like this.
    Released(Entry),
    /// Nothing, for now.
    Wait,
    /// It goes on; this is what the history knows of its beginning, told once.
    Live(Option<Begun>),
}

/// What the operations ask and say.
impl Machine {
    pub(crate) fn new(replay: Replay, started_at: Timestamp, signal: Arc<Signal>) -> Self {
        Self {
            calls: HashMap::new(),
            ops: HashMap::new(),
            live: false,
            ends: Ends::new(replay.ended),
            begun: replay.begun,
            queue: Vec::new(),
            waits: BTreeMap::new(),
            timers: BTreeMap::new(),
            last_id: 0,
            executing: 0,
            completed_steps: replay.completed_steps,
            now: started_at,
            random: replay.seed.with("random"),
            cancel: None,
            draining: false,
            closed: false,
            polling: None,
            in_step: None,
            problem: None,
            signal,
        }
    }

    /// Claims the next occurrence of a name. It is called when the operation is, not when its
    /// future is first polled.
    pub(crate) fn claim(&mut self, kind: OpKind, name: Arc<str>) -> OpKey {
        let calls = self.calls.entry((kind, name.clone())).or_default();
        *calls += 1;
        let key = OpKey {
            kind,
            name,
            occurrence: *calls,
        };
        self.check_place(&key);
        self.ops.insert(key.clone(), Op::default());
        key
    }

    /// Returns whether the history has the next occurrence of a name.
    pub(crate) fn is_recorded(&self, kind: OpKind, name: &Arc<str>) -> bool {
        let occurrence = self
            .calls
            .get(&(kind, name.clone()))
            .map_or(1, |calls| calls + 1);
        let key = OpKey {
            kind,
            name: name.clone(),
            occurrence,
        };
        self.begun.contains_key(&key) || self.ends.coming().any(|coming| *coming == key)
    }

    /// Returns what an operation may do now that it is polled, and remembers whom to wake.
    pub(crate) fn turn(&mut self, key: &OpKey, poller: &Poller<'_>) -> Turn {
        self.check_place(key);
        let may_begin =
            self.live && !self.draining && self.cancel.is_none() && self.problem.is_none();
        let Some(op) = self.ops.get_mut(key) else {
            return Turn::Wait;
        };
        if let Some(Ended { entry, at, .. }) = op.end.and_then(|place| self.ends.take(place)) {
            self.now = self.now.max(at);
            return Turn::Released(entry);
        }
        op.asks = true;
        match &mut op.waker {
            Some(waker) => waker.clone_from(poller.waker()),
            None => op.waker = Some(poller.waker().clone()),
        }
        if let Some(place) = op.end {
            self.ends.ask(place);
            return Turn::Wait;
        }
        if may_begin {
            Turn::Live(self.begun.remove(key))
        } else {
            Turn::Wait
        }
    }

    /// Counts an attempt that begins.
    pub(crate) fn attempt_begins(&mut self) {
        self.executing += 1;
    }

    /// Records how an attempt ended, or what else the end of an operation is.
    pub(crate) fn record(&mut self, outgoing: Outgoing, ends_attempt: bool) {
        self.executing -= usize::from(ends_attempt);
        self.queue.push(outgoing);
    }

    /// Has an operation polled again at `at` of the monotonic clock; `None` takes that back.
    pub(crate) fn set_timer(&mut self, key: &OpKey, at: Option<Duration>) {
        let Some(op) = self.ops.get_mut(key) else {
            return;
        };
        if let Some(timer) = op.timer.take() {
            self.timers.remove(&timer);
        }
        if let Some(at) = at {
            self.last_id += 1;
            op.timer = Some((at, self.last_id));
            self.timers.insert((at, self.last_id), key.clone());
        }
    }

    /// Has an operation wait until `due_at`, or no longer.
    pub(crate) fn set_wait(&mut self, key: &OpKey, wait: Option<(Timestamp, PauseReason)>) {
        let Some(op) = self.ops.get_mut(key) else {
            return;
        };
        if let Some(standing) = op.wait.take() {
            self.waits.remove(&standing);
        }
        if let Some((due_at, reason)) = wait {
            self.last_id += 1;
            op.wait = Some((due_at, self.last_id));
            self.waits
                .insert((due_at, self.last_id), (key.clone(), reason));
        }
    }

    /// Returns whether the wait of an operation is over; told once.
    pub(crate) fn take_due(&mut self, key: &OpKey) -> bool {
        self.ops
            .get_mut(key)
            .is_some_and(|op| std::mem::take(&mut op.is_due))
    }

    /// Forgets an operation whose future is dropped. If an attempt of it is being executed, `cut`
    /// is what the history is told of that.
    pub(crate) fn forget(&mut self, key: &OpKey, executing: bool, cut: Option<Draft>) {
        if let Some(op) = self.ops.remove(key) {
            op.wait.map(|wait| self.waits.remove(&wait));
            op.timer.map(|timer| self.timers.remove(&timer));
            if let Some(place) = op.end {
                self.ends.forget(place);
            }
        }
        self.executing -= usize::from(executing);
        if let Some(draft) = cut.filter(|_| !self.closed) {
            self.queue.push(Outgoing::events(vec![draft]));
        }
    }

    /// Marks whose body is being polled: it may not use durable operations.
    pub(crate) fn enter_step(&mut self, step: Option<Arc<str>>) {
        self.in_step = step;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.drawn("random", Seed::next)
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        self.drawn("uuid", Seed::uuid)
    }

    /// Draws from the run's generator: the same call of every replay gets the same.
    fn drawn<T>(&mut self, what: &str, draw: fn(&mut Seed) -> T) -> T {
        if let Some(step) = self.in_step.clone() {
            self.fail(DeterminismError::Nested {
                operation: what.into(),
                step: step.to_string(),
            });
        }
        draw(&mut self.random)
    }
}

/// What the driver asks and says.
impl Machine {
    /// Notes that the workflow's future is polled on this thread, or no longer.
    pub(crate) fn set_polling(&mut self, polling: bool) {
        self.polling = polling.then(|| thread::current().id());
    }

    /// Grants the next end to the operation that asks for it. To be called when the workflow's
    /// future waits.
    pub(crate) fn release(&mut self) -> Released {
        loop {
            if let Some(key) = self.ends.grant() {
                if let Some(op) = self.ops.get_mut(key) {
                    op.asks = false;
                    op.waker.take().into_iter().for_each(Waker::wake);
                }
                return Released::One;
            }
            if let Some(next) = self.ends.coming().next().filter(|next| !self.called(next)) {
                return Released::Unclaimed(next.clone());
            }
            let Some((place, key)) = self.ends.settle() else {
                return Released::None;
            };
            match self.ops.get_mut(key) {
                Some(op) => {
                    op.end = Some(place);
                    if op.asks {
                        self.ends.ask(place);
                    }
                }
                // Its future was dropped: nobody asks how it ended.
                None => self.ends.forget(place),
            }
        }
    }

    /// Lets operations go on that the history does not end, for everything in it is released.
    ///
    /// # Errors
    ///
    /// The history says that an operation has begun which the code has not called.
    pub(crate) fn go_live(&mut self) -> Result<bool, DeterminismError> {
        // A run that is to go no further stands somewhere in its replay, and has no need to reach
        // the end of it.
        if self.live || self.draining || self.cancel.is_some() || !self.ends.are_settled() {
            return Ok(false);
        }
        if let Some(key) = self.begun.keys().find(|key| !self.called(key)) {
            return Err(self.mismatch(key));
        }
        self.live = true;
        self.ops
            .values_mut()
            .filter_map(|op| op.waker.take())
            .for_each(Waker::wake);
        Ok(true)
    }

    /// Takes what has been committed: its ends can be released.
    pub(crate) fn committed(&mut self, batch: Vec<Outgoing>) {
        for Outgoing {
            at, ends, entry, ..
        } in batch
        {
            if let (Some(key), Some(entry)) = (ends, entry) {
                if entry.kind == EntryKind::StepCompleted {
                    self.completed_steps.push(entry.name.clone());
                }
                self.ends.push(Ended { key, entry, at });
            }
        }
    }

    /// Wakes the operations whose timers are up. What has fired is removed: an operation whose
    /// future nobody polls any more must not fire for ever.
    pub(crate) fn fire_timers(&mut self, monotonic: Duration) {
        while let Some(entry) = self
            .timers
            .first_entry()
            .filter(|entry| entry.key().0 <= monotonic)
        {
            let key = entry.remove();
            self.wake(&key, |op| op.timer = None);
        }
    }

    /// Wakes the operation that has waited for the earliest time, if that has come; one at a time,
    /// so that waits end in the order of their times, also if a process has slept through all of
    /// them.
    pub(crate) fn fire_wait(&mut self, wall: Timestamp) -> bool {
        let Some(entry) = self
            .waits
            .first_entry()
            .filter(|entry| entry.key().0 <= wall)
        else {
            return false;
        };
        let (key, _) = entry.remove();
        self.wake(&key, |op| {
            op.wait = None;
            op.is_due = true;
        });
        true
    }

    fn wake(&mut self, key: &OpKey, change: impl FnOnce(&mut Op)) {
        let Some(op) = self.ops.get_mut(key) else {
            return;
        };
        change(op);
        if let Some(waker) = op.waker.take() {
            waker.wake();
        }
    }

    /// Returns the earliest wait: until when, why, and of which step.
    pub(crate) fn earliest_wait(&self) -> Option<(Timestamp, PauseReason, Option<String>)> {
        let ((due_at, _), (key, reason)) = self.waits.first_key_value()?;
        let step = (key.kind == OpKind::Step).then(|| key.name.to_string());
        Some((*due_at, reason.clone(), step))
    }

    /// Returns when the first operation must be polled.
    pub(crate) fn earliest_timer(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn is_executing(&self) -> bool {
        self.executing > 0
    }

    /// Lets no further operation begin.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Notes that the workflow's future is about to be dropped for good.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn take_problem(&mut self) -> Option<DeterminismError> {
        self.problem.take()
    }

    /// Returns what in the history nobody has asked for, when the workflow's function has returned.
    pub(crate) fn left_over(&self) -> Option<DeterminismError> {
        let begun = self.begun.keys().filter(|_| !self.live);
        let left = self
            .ends
            .coming()
            .chain(begun)
            .find(|key| !self.called(key))?;
        Some(DeterminismError::LeftOver {
            recorded: left.to_string(),
        })
    }

    pub(crate) fn mismatch(&self, recorded: &OpKey) -> DeterminismError {
        let mut awaited: Vec<_> = self.ops.keys().map(OpKey::to_string).collect();
        awaited.sort_unstable();
        awaited.truncate(8);
        DeterminismError::Mismatch {
            recorded: recorded.to_string(),
            awaited,
        }
    }

    fn called(&self, key: &OpKey) -> bool {
        self.calls
            .get(&(key.kind, key.name.clone()))
            .is_some_and(|calls| *calls >= key.occurrence)
    }

    /// Checks that an operation is used on the workflow's own future and not inside a step.
    fn check_place(&mut self, key: &OpKey) {
        if self.polling != Some(thread::current().id()) {
            self.fail(DeterminismError::Elsewhere {
                operation: key.to_string(),
            });
        } else if let Some(step) = &self.in_step {
            let step = step.to_string();
            self.fail(DeterminismError::Nested {
                operation: key.to_string(),
                step,
            });
        }
    }

    /// Stops the run: its code cannot be followed.
    pub(crate) fn fail(&mut self, problem: DeterminismError) {
        self.problem.get_or_insert(problem);
        self.signal.wake_driver();
    }
}
