//! A far end in memory that records the events it receives and fails by a script.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::time::Duration;

use async_trait::async_trait;
use futures::channel::oneshot;

use crate::sync::Mutex;
use crate::transport::{Reason, Receipt, SendError, SendOptions, Transport};

/// A [`Transport`] that ends in a list.
///
/// Each `then_*` call appends one answer to its script; when the script has run out every batch is
/// delivered. Independent of the script, [`refuse_if`](Self::refuse_if) and
/// [`max_events`](Self::max_events) model a server that refuses certain batches.
pub struct MemoryTransport<E> {
    far_end: Mutex<FarEnd<E>>,
}

struct FarEnd<E> {
    script: VecDeque<Answer>,
    poison: Option<fn(&E) -> bool>,
    max_events: usize,
    hangs: bool,
    always: Option<SendError>,
    batches: Vec<Vec<E>>,
    attempts: Vec<usize>,
}

enum Answer {
    Fail(SendError),
    Reject(Vec<usize>),
    AcceptInSilence,
    Hang,
    Hold(oneshot::Receiver<()>),
}

/// Holds one answer back until [`release`](Self::release) is called, or the hold is dropped.
#[derive(Debug)]
pub struct Hold(oneshot::Sender<()>);

impl Hold {
    /// Releases the answer: the batch is delivered.
    pub fn release(self) {
        let _ = self.0.send(());
    }
}

impl<E> MemoryTransport<E> {
    /// Creates a far end that takes everything.
    pub fn new() -> Self {
        let far_end = FarEnd {
            script: VecDeque::new(),
            poison: None,
            max_events: usize::MAX,
            hangs: false,
            always: None,
            batches: vec![],
            attempts: vec![],
        };
        Self {
            far_end: Mutex::new(far_end),
        }
    }

    /// Answers 400 to every batch with an event for which `poison` is true.
    #[must_use]
    pub fn refuse_if(self, poison: fn(&E) -> bool) -> Self {
        self.far_end.lock().poison = Some(poison);
        self
    }

    /// Answers 413 to every batch of more than `events` events.
    #[must_use]
    pub fn max_events(self, events: usize) -> Self {
        self.far_end.lock().max_events = events;
        self
    }

    /// Answers with `status` next.
    pub fn then_status(&self, status: u16) {
        self.then_fail(SendError::status(status));
    }

    /// Answers with `status` and a `Retry-After` next.
    pub fn then_retry_after(&self, status: u16, delay: Duration) {
        let reason = Reason::default();
        self.then_fail(SendError::Answer {
            status,
            retry_after: Some(delay),
            encoded: false,
            reason,
        });
    }

    /// Fails with `error` next.
    pub fn then_fail(&self, error: SendError) {
        self.then(Answer::Fail(error));
    }

    /// Accepts the next batch except the events with these indices.
    pub fn then_reject(&self, indices: impl Into<Vec<usize>>) {
        self.then(Answer::Reject(indices.into()));
    }

    /// Takes the batch and loses the acknowledgement next.
    pub fn then_lose_answer(&self) {
        self.then(Answer::AcceptInSilence);
    }

    /// Never answers next.
    pub fn then_hang(&self) {
        self.then(Answer::Hang);
    }

    /// Never answers from now on, once the script has run out, until [`recover`](Self::recover).
    pub fn hang(&self) {
        self.far_end.lock().hangs = true;
    }

    /// Forgets the script and what makes it fail always: every batch is delivered.
    pub fn recover(&self) {
        let mut far_end = self.far_end.lock();
        far_end.script.clear();
        far_end.hangs = false;
        far_end.always = None;
    }

    /// Fails with `error` from now on, once the script has run out, until
    /// [`recover`](Self::recover).
    pub fn always_fail(&self, error: SendError) {
        self.far_end.lock().always = Some(error);
    }

    /// Answers next when the returned handle is released.
    pub fn then_hold(&self) -> Hold {
        let (sender, receiver) = oneshot::channel();
        self.then(Answer::Hold(receiver));
        Hold(sender)
    }

    /// Returns the number of requests so far.
    pub fn attempts(&self) -> usize {
        self.far_end.lock().attempts.len()
    }

    /// Returns the number of events in each request so far, delivered or not.
    pub fn attempted(&self) -> Vec<usize> {
        self.far_end.lock().attempts.clone()
    }

    fn then(&self, answer: Answer) {
        self.far_end.lock().script.push_back(answer);
    }
}

impl<E: Clone> MemoryTransport<E> {
    /// Returns what arrived, in order, duplicates included.
    pub fn delivered(&self) -> Vec<E> {
        self.far_end.lock().batches.concat()
    }
}

impl<E: Clone> FarEnd<E> {
    fn take(&mut self, events: &[E], rejected: &[usize]) -> Receipt {
        let taken = events
            .iter()
            .enumerate()
            .filter(|(index, _)| !rejected.contains(index));
        self.batches
            .push(taken.map(|(_, event)| event.clone()).collect());
        Receipt {
            rejected: rejected
                .iter()
                .map(|index| (*index, Reason::new("rejected by script")))
                .collect(),
        }
    }

    fn receive(&mut self, events: &[E]) -> Result<Receipt, SendError> {
        if events.len() > self.max_events {
            return Err(SendError::status(413));
        }
        if self.poison.is_some_and(|poison| events.iter().any(poison)) {
            return Err(SendError::status(400));
        }
        Ok(self.take(events, &[]))
    }
}

#[async_trait]
impl<E: Clone + Send + Sync + 'static> Transport<E> for MemoryTransport<E> {
    async fn send(&self, events: &[E], _options: SendOptions) -> Result<Receipt, SendError> {
        let answer = {
            let mut far_end = self.far_end.lock();
            far_end.attempts.push(events.len());
            let always = far_end
                .hangs
                .then_some(Answer::Hang)
                .or_else(|| far_end.always.clone().map(Answer::Fail));
            far_end.script.pop_front().or(always)
        };
        match answer {
            None => self.far_end.lock().receive(events),
            Some(Answer::Fail(error)) => Err(error),
            Some(Answer::Reject(indices)) => Ok(self.far_end.lock().take(events, &indices)),
            Some(Answer::AcceptInSilence) => {
                self.far_end.lock().take(events, &[]);
                Err(SendError::no_answer("the acknowledgement was lost"))
            }
            Some(Answer::Hang) => pending().await,
            Some(Answer::Hold(released)) => {
                let _ = released.await;
                self.far_end.lock().receive(events)
            }
        }
    }
}

impl<E> Default for MemoryTransport<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for MemoryTransport<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("attempts", &self.attempts())
            .finish_non_exhaustive()
    }
}
