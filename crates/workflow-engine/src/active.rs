//! The runs that this engine is executing, and how they are reached from outside.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::channel::oneshot;
use tokio::sync::Notify;

use crate::signal::Signal;
use crate::store::{CancelRequest, Claimed, RunKey};

/// The runs that this engine is executing, by id, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Active {
    state: Mutex<State>,
    /// Tells workers that there may be something to claim.
    pub(crate) work: Notify,
    /// Whether a claim may have happened of which nobody here knows.
    in_doubt: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<String, (RunKey, Arc<Signal>)>,
    waiting: HashMap<String, Vec<oneshot::Sender<()>>>,
    /// Runs that this worker holds and does not execute: their execution was dropped before its
    /// end, or never began.
    dropped: Vec<String>,
}

impl Active {
    /// Takes over a run that was claimed.
    pub(crate) fn taken(self: &Arc<Self>, claimed: Claimed) -> Taken {
        Taken {
            active: self.clone(),
            claimed: Some(claimed),
        }
    }

    pub(crate) fn is_active(&self, id: &str) -> bool {
        lock(&self.state).runs.contains_key(id)
    }

    /// Orders a cancel, if the run is executed here.
    pub(crate) fn cancel(&self, id: &str, request: &CancelRequest) {
        if let Some((_, signal)) = lock(&self.state).runs.get(id) {
            signal.cancel(request.clone());
        }
    }

    /// Orders the cancels that a store has told of.
    pub(crate) fn cancel_all(&self, cancels: Vec<(RunKey, CancelRequest)>) {
        if cancels.is_empty() {
            return;
        }
        let state = lock(&self.state);
        for (wanted, request) in cancels {
            let run = state.runs.values().find(|(key, _)| *key == wanted);
            run.into_iter()
                .for_each(|(_, signal)| signal.cancel(request.clone()));
        }
    }

    /// Orders every run to go no further.
    pub(crate) fn stop_all(&self) {
        lock(&self.state)
            .runs
            .values()
            .for_each(|(_, signal)| signal.stop());
    }

    /// Completes when the run's state here changes: it ends, is suspended, or is dropped.
    pub(crate) fn changed<'a>(&'a self, id: &'a str) -> Changed<'a> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.state)
            .waiting
            .entry(id.to_owned())
            .or_default()
            .push(sender);
        Changed {
            active: self,
            id,
            receiver,
        }
    }

    /// Tells those who wait for the run.
    pub(crate) fn tell(&self, id: &str) {
        let waiting = lock(&self.state).waiting.remove(id);
        for sender in waiting.into_iter().flatten() {
            // Whoever waits no longer does not want to know.
            let _ = sender.send(());
        }
    }

    /// Takes the runs that are to be taken up again, and those that are `held`: each once.
    pub(crate) fn take_dropped(&self, held: Vec<String>) -> Dropped<'_> {
        let mut ids = std::mem::take(&mut lock(&self.state).dropped);
        ids.extend(held);
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        Dropped {
            active: self,
            ids,
            later: Vec::new(),
        }
    }

    /// Begins a claim. Unless it is told how that ended, this worker may hold runs of which nobody
    /// here knows: its future was dropped, or the store failed in the middle of it.
    pub(crate) fn begin_claim(&self) -> ClaimBegun<'_> {
        ClaimBegun(Some(self))
    }

    /// Returns whether this worker may hold runs of which nobody here knows; told once.
    pub(crate) fn take_doubt(&self) -> bool {
        self.in_doubt.swap(false, Ordering::AcqRel)
    }

    /// Has a run that this worker holds taken up again.
    fn take_up(&self, id: String) {
        lock(&self.state).dropped.push(id);
        self.work.notify_one();
    }
}

/// Runs that are to be taken up again; those that are left wait until a worker looks for work the
/// next time.
#[derive(Debug)]
pub(crate) struct Dropped<'a> {
    active: &'a Active,
    ids: Vec<String>,
    later: Vec<String>,
}

impl Dropped<'_> {
    /// Takes the next one.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.ids.pop()
    }

    /// Leaves a run for later.
    pub(crate) fn later(&mut self, id: String) {
        self.later.push(id);
    }
}

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        // The others come first the next time.
        let left = self.later.drain(..).chain(self.ids.drain(..));
        lock(&self.active.state).dropped.extend(left);
    }
}

/// A run that this worker has claimed and does not execute yet. Dropped, it is taken up again.
#[derive(Debug)]
pub(crate) struct Taken {
    active: Arc<Active>,
    /// `None` once it is executed.
    claimed: Option<Claimed>,
}

impl Taken {
    /// Notes that the run is executed from now on; `None` if it already is, by an execution that
    /// was fenced by this claim and is still about to notice: then it is taken up again later.
    pub(crate) fn enter(mut self) -> Option<(Claimed, ActiveRun)> {
        let mut state = lock(&self.active.state);
        let run = &self.claimed.as_ref()?.run;
        if state.runs.contains_key(&run.id) {
            return None;
        }
        let (id, signal) = (run.id.clone(), Arc::new(Signal::new()));
        state.runs.insert(id.clone(), (run.key, signal.clone()));
        drop(state);
        let active = self.active.clone();
        Some((
            self.claimed.take()?,
            ActiveRun {
                active,
                id,
                signal,
                finished: false,
            },
        ))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take() {
            self.active.take_up(claimed.run.id);
        }
    }
}

/// Waits for a run to change here.
#[derive(Debug)]
pub(crate) struct Changed<'a> {
    active: &'a Active,
    id: &'a str,
    receiver: oneshot::Receiver<()>,
}

impl Future for Changed<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<()> {
        self.receiver.poll_unpin(poller).map(drop)
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        let mut state = lock(&self.active.state);
        let Some(waiting) = state.waiting.get_mut(self.id) else {
            return;
        };
        waiting.retain(|sender| !sender.is_canceled());
        if waiting.is_empty() {
            state.waiting.remove(self.id);
        }
    }
}

/// A claim whose end is not known.
#[derive(Debug)]
pub(crate) struct ClaimBegun<'a>(Option<&'a Active>);

impl ClaimBegun<'_> {
    /// Notes that it is known how the claim ended.
    pub(crate) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for ClaimBegun<'_> {
    fn drop(&mut self) {
        if let Some(active) = self.0 {
            active.in_doubt.store(true, Ordering::Release);
            active.work.notify_one();
        }
    }
}

/// A run that is executed here.
#[derive(Debug)]
pub(crate) struct ActiveRun {
    active: Arc<Active>,
    id: String,
    pub(crate) signal: Arc<Signal>,
    finished: bool,
}

impl ActiveRun {
    /// Notes that this worker holds the run no longer.
    pub(crate) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for ActiveRun {
    fn drop(&mut self) {
        let again = {
            let mut state = lock(&self.active.state);
            state.runs.remove(&self.id);
            if !self.finished {
                state.dropped.push(self.id.clone());
            }
            state.dropped.contains(&self.id)
        };
        if again {
            self.active.work.notify_one();
        }
        self.active.tell(&self.id);
    }
}

/// No critical section can be left half done by a panic, so poisoning says nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
