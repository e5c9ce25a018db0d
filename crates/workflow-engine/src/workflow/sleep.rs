//! A durable sleep.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use workflow_events::{EventKind, PauseReason, Timestamp};

use crate::clock::{after, ceil, millis, wall};
use crate::execution::Execution;
use crate::execution::determinism::DeterminismError;
use crate::execution::machine::Permission;
use crate::execution::operation::{OpKey, OpKind};
use crate::execution::outgoing::{Draft, Outgoing};
use crate::payload::Payload;
use crate::store::{Entry, EntryKind};

/// A sleep that was called. Made by [`Context::sleep`](crate::Context::sleep) and
/// [`Context::sleep_until`](crate::Context::sleep_until).
///
/// The call takes the sleep's place among the sleeps of the run; the first poll does not.
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep<'a> {
    execution: &'a Execution,
    key: OpKey,
    length: Length,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    For(Duration),
    Until(Timestamp),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Called,
    /// The sleep began at the first time, and ends at the second.
    Begun(Timestamp, Timestamp),
    Ended,
    Done,
}

impl<'a> Sleep<'a> {
    pub(crate) fn new(execution: &'a Execution, length: Length) -> Self {
        let thread = thread::current().id();
        let key = execution
            .machine()
            .register(OpKind::Sleep, "".into(), thread);
        // An empty sleep ends at once and is not recorded: the same in every replay.
        let is_empty = match length {
            Length::For(duration) => duration.is_zero(),
            Length::Until(at) => at <= execution.machine().now(),
        };
        Self {
            execution,
            key,
            length,
            phase: if is_empty { Phase::Done } else { Phase::Called },
        }
    }

    /// Checks that the history has a sleep of the length with which the code calls it.
    fn is_recorded_as(&self, entry: &Entry) -> bool {
        let recorded = entry.payload.as_ref().map_or("nothing", Payload::as_str);
        let called = self.length.to_string();
        if recorded == called {
            return true;
        }
        self.execution.fail(DeterminismError::Arguments {
            operation: self.key.to_string(),
            recorded: recorded.to_owned(),
            called,
        });
        false
    }

    /// Records that the sleep begins.
    fn begin(&mut self) {
        let at = wall(&*self.execution.clock);
        let due_at = match self.length {
            Length::For(duration) => after(at, duration),
            Length::Until(due_at) => ceil(due_at),
        };
        let event = EventKind::SleepStarted {
            duration_ms: millis(due_at.duration_since(at)),
            resume_at: due_at,
        };
        self.record(at, event, EntryKind::SleepStarted, Some(due_at));
        self.phase = Phase::Begun(at, due_at);
    }

    /// Records that the sleep has ended, or waits until then.
    fn end(&mut self, began: Timestamp, due_at: Timestamp) {
        let mut machine = self.execution.machine();
        if !machine.take_due(&self.key) {
            machine.set_wait(&self.key, due_at, PauseReason::Sleep);
            return;
        }
        drop(machine);
        let now = wall(&*self.execution.clock);
        let event = EventKind::SleepCompleted {
            duration_ms: millis(now.duration_since(began)),
        };
        self.record(now, event, EntryKind::SleepCompleted, None);
        self.phase = Phase::Ended;
    }

    fn record(&self, at: Timestamp, event: EventKind, kind: EntryKind, due_at: Option<Timestamp>) {
        let entry = Entry {
            kind,
            name: String::new(),
            occurrence: self.key.occurrence,
            attempt: 0,
            due_at,
            payload: Payload::from_json(self.length.to_string()).ok(),
        };
        let is_completed = kind == EntryKind::SleepCompleted;
        self.execution.machine().record(Outgoing {
            at,
            drafts: vec![Draft { at, kind: event }],
            entry: Some(entry),
            completes: is_completed.then(|| self.key.clone()),
        });
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.phase, Phase::Done) {
            return Poll::Ready(());
        }
        let thread = thread::current().id();
        let mut machine = self.execution.machine();
        let permission = machine.poll(&self.key, thread, cx.waker());
        drop(machine);
        match permission {
            Permission::Completed(entry) => {
                if !self.is_recorded_as(&entry) {
                    return Poll::Pending;
                }
                self.phase = Phase::Done;
                return Poll::Ready(());
            }
            Permission::Wait => return Poll::Pending,
            Permission::Proceed(Some((begun, at))) => {
                if !self.is_recorded_as(&begun) {
                    return Poll::Pending;
                }
                self.phase = Phase::Begun(at, begun.due_at.unwrap_or(at));
            }
            Permission::Proceed(None) if matches!(self.phase, Phase::Called) => self.begin(),
            Permission::Proceed(None) => {}
        }
        if let Phase::Begun(began, due_at) = self.phase {
            self.end(began, due_at);
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.execution.machine().remove(&self.key, false, None);
    }
}

/// Formats the length as the JSON that the history has of it.
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(duration) => write!(f, "{{\"ms\":{}}}", millis(*duration)),
            Self::Until(at) => write!(f, "{{\"until\":\"{at}\"}}"),
        }
    }
}

impl fmt::Debug for Sleep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("key", &self.key)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
