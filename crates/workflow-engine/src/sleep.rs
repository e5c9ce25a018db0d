//! A durable sleep.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use workflow_events::{EventKind, PauseReason, Timestamp};

use crate::determinism::DeterminismError;
use crate::execution::Execution;
use crate::history::{Draft, Outgoing};
use crate::machine::Turn;
use crate::operation::{OpKey, OpKind};
use crate::payload::Payload;
use crate::store::{Entry, EntryKind};
use crate::time::{after, ceil, millis, wall};

/// A sleep that was called. Made by [`Context::sleep`](crate::Context::sleep) and
/// [`Context::sleep_until`](crate::Context::sleep_until).
///
/// Its place among the sleeps of the run is claimed by the call, not by the first poll.
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep<'a> {
    run: &'a Execution,
    key: OpKey,
    wanted: Wanted,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    For(Duration),
    Until(Timestamp),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Called,
    /// It began and ends at these times.
    Begun(Timestamp, Timestamp),
    Ended,
    Done,
}

impl<'a> Sleep<'a> {
    pub(crate) fn new(run: &'a Execution, wanted: Wanted) -> Self {
        let key = run.machine().claim(OpKind::Sleep, "".into());
        // A sleep over nothing is over at once, and is not recorded: the same in every replay.
        let nothing = match wanted {
            Wanted::For(duration) => duration.is_zero(),
            Wanted::Until(at) => at <= run.machine().now(),
        };
        Self {
            run,
            key,
            wanted,
            phase: if nothing { Phase::Done } else { Phase::Called },
        }
    }

    /// Checks that the history has a sleep as the code calls it.
    fn is_recorded_as(&self, entry: &Entry) -> bool {
        let recorded = entry.payload.as_ref().map_or("nothing", Payload::as_str);
        let called = self.wanted.to_string();
        if recorded == called {
            return true;
        }
        let (operation, recorded) = (self.key.to_string(), recorded.to_owned());
        self.run.fail(DeterminismError::Arguments {
            operation,
            recorded,
            called,
        });
        false
    }

    /// Records that it begins.
    fn begin(&mut self) {
        let at = wall(&*self.run.clock);
        let due_at = match self.wanted {
            Wanted::For(duration) => after(at, duration),
            Wanted::Until(due_at) => ceil(due_at),
        };
        let event = EventKind::SleepStarted {
            duration_ms: millis(due_at.duration_since(at)),
            resume_at: due_at,
        };
        let payload = Payload::from_json(self.wanted.to_string()).ok();
        self.record(at, event, EntryKind::SleepStarted, Some(due_at), payload);
        self.phase = Phase::Begun(at, due_at);
    }

    /// Records that it is over, or waits until it is.
    fn go_on(&mut self, began: Timestamp, due_at: Timestamp) {
        if !self.run.machine().take_due(&self.key) {
            self.run
                .machine()
                .set_wait(&self.key, Some((due_at, PauseReason::Sleep)));
            return;
        }
        let now = wall(&*self.run.clock);
        let event = EventKind::SleepCompleted {
            duration_ms: millis(now.duration_since(began)),
        };
        let payload = Payload::from_json(self.wanted.to_string()).ok();
        self.record(now, event, EntryKind::SleepCompleted, None, payload);
        self.phase = Phase::Ended;
    }

    fn record(
        &self,
        at: Timestamp,
        event: EventKind,
        kind: EntryKind,
        due_at: Option<Timestamp>,
        payload: Option<Payload>,
    ) {
        let occurrence = self.key.occurrence;
        let entry = Entry {
            kind,
            name: String::new(),
            occurrence,
            attempt: 0,
            due_at,
            payload,
        };
        let ends = (kind == EntryKind::SleepCompleted).then(|| self.key.clone());
        self.run.machine().record(
            Outgoing {
                at,
                drafts: vec![Draft { at, kind: event }],
                entry: Some(entry),
                ends,
            },
            false,
        );
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<()> {
        if matches!(self.phase, Phase::Done) {
            return Poll::Ready(());
        }
        let turn = self.run.machine().turn(&self.key, poller);
        match turn {
            Turn::Released(entry) => {
                if !self.is_recorded_as(&entry) {
                    return Poll::Pending;
                }
                self.phase = Phase::Done;
                return Poll::Ready(());
            }
            Turn::Wait => return Poll::Pending,
            Turn::Live(Some((begun, at))) => {
                if !self.is_recorded_as(&begun) {
                    return Poll::Pending;
                }
                self.phase = Phase::Begun(at, begun.due_at.unwrap_or(at));
            }
            Turn::Live(None) if matches!(self.phase, Phase::Called) => self.begin(),
            Turn::Live(None) => {}
        }
        if let Phase::Begun(began, due_at) = self.phase {
            self.go_on(began, due_at);
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.run.machine().forget(&self.key, false, None);
    }
}

/// As it stands in the history, in JSON.
impl fmt::Display for Wanted {
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
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}
