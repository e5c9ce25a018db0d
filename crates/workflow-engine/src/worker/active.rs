//! The runs that this engine is executing, and how they are reached from outside.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::channel::oneshot;
use tokio::sync::Notify;

use crate::execution::interrupt::Interrupt;
use crate::store::{CancelRequest, Claimed, RunKey};
use crate::sync::lock;

/// The runs that this engine is executing, by id, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct ActiveRuns {
    state: Mutex<State>,
    /// Tells workers that there may be something to claim.
    pub(crate) work_available: Notify,
    /// Whether a claim may have happened of which nobody here knows.
    in_doubt: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<String, (RunKey, Arc<Interrupt>)>,
    waiting: HashMap<String, Vec<oneshot::Sender<()>>>,
    /// Runs that this worker holds and does not execute: their execution was abandoned before its
    /// end, or never began.
    abandoned: Vec<String>,
}

impl ActiveRuns {
    /// Takes over a run that was claimed.
    pub(crate) fn claimed(self: &Arc<Self>, claimed: Claimed) -> ClaimedRun {
        ClaimedRun {
            active: self.clone(),
            claimed: Some(claimed),
        }
    }

    pub(crate) fn is_active(&self, id: &str) -> bool {
        lock(&self.state).runs.contains_key(id)
    }

    /// Orders a cancel, if the run is executed here.
    pub(crate) fn cancel(&self, id: &str, request: &CancelRequest) {
        if let Some((_, interrupt)) = lock(&self.state).runs.get(id) {
            interrupt.cancel(request.clone());
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
                .for_each(|(_, interrupt)| interrupt.cancel(request.clone()));
        }
    }

    /// Orders every run to go no further.
    pub(crate) fn stop_all(&self) {
        lock(&self.state)
            .runs
            .values()
            .for_each(|(_, interrupt)| interrupt.stop());
    }

    /// Completes when the run's state here changes: it ends, is suspended, or is abandoned.
    pub(crate) fn changed<'a>(&'a self, id: &'a str) -> RunChanged<'a> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.state)
            .waiting
            .entry(id.to_owned())
            .or_default()
            .push(sender);
        RunChanged {
            active: self,
            id,
            receiver,
        }
    }

    /// Tells those who wait for the run.
    pub(crate) fn notify(&self, id: &str) {
        let waiting = lock(&self.state).waiting.remove(id);
        for sender in waiting.into_iter().flatten() {
            // Whoever waits no longer does not want to know.
            let _ = sender.send(());
        }
    }

    /// Takes the runs that are to be taken up again, and those that are `held`: each once.
    pub(crate) fn take_abandoned(&self, held: Vec<String>) -> AbandonedRuns<'_> {
        let mut ids = std::mem::take(&mut lock(&self.state).abandoned);
        ids.extend(held);
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        AbandonedRuns {
            active: self,
            ids,
            postponed: Vec::new(),
        }
    }

    /// Begins a claim. Unless it is told how that ended, this worker may hold runs of which nobody
    /// here knows: its future was abandoned, or the store failed in the middle of it.
    pub(crate) fn begin_claim(&self) -> PendingClaim<'_> {
        PendingClaim(Some(self))
    }

    /// Returns whether this worker may hold runs of which nobody here knows; told once.
    pub(crate) fn take_in_doubt(&self) -> bool {
        self.in_doubt.swap(false, Ordering::AcqRel)
    }

    /// Has a run that this worker holds taken up again.
    fn abandon(&self, id: String) {
        lock(&self.state).abandoned.push(id);
        self.work_available.notify_one();
    }
}

/// Runs that are to be taken up again; those that are left wait until a worker looks for work the
/// next time.
#[derive(Debug)]
pub(crate) struct AbandonedRuns<'a> {
    active: &'a ActiveRuns,
    ids: Vec<String>,
    postponed: Vec<String>,
}

impl AbandonedRuns<'_> {
    /// Takes the next one.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.ids.pop()
    }

    /// Leaves a run for later.
    pub(crate) fn postpone(&mut self, id: String) {
        self.postponed.push(id);
    }
}

impl Drop for AbandonedRuns<'_> {
    fn drop(&mut self) {
        // The others come first the next time.
        let left = self.postponed.drain(..).chain(self.ids.drain(..));
        lock(&self.active.state).abandoned.extend(left);
    }
}

/// A run that this worker has claimed and does not execute yet. AbandonedRuns, it is taken up again.
#[derive(Debug)]
pub(crate) struct ClaimedRun {
    active: Arc<ActiveRuns>,
    /// `None` once it is executed.
    claimed: Option<Claimed>,
}

impl ClaimedRun {
    /// Notes that the run is executed from now on; `None` if it already is, by an execution that
    /// was fenced by this claim and is still about to notice: then it is taken up again later.
    pub(crate) fn activate(mut self) -> Option<(Claimed, ActiveRun)> {
        let mut state = lock(&self.active.state);
        let run = &self.claimed.as_ref()?.run;
        if state.runs.contains_key(&run.id) {
            return None;
        }
        let (id, interrupt) = (run.id.clone(), Arc::new(Interrupt::new()));
        state.runs.insert(id.clone(), (run.key, interrupt.clone()));
        drop(state);
        let active = self.active.clone();
        Some((
            self.claimed.take()?,
            ActiveRun {
                active,
                id,
                interrupt,
                released: false,
            },
        ))
    }
}

impl Drop for ClaimedRun {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take() {
            self.active.abandon(claimed.run.id);
        }
    }
}

/// Waits for a run to change here.
#[derive(Debug)]
pub(crate) struct RunChanged<'a> {
    active: &'a ActiveRuns,
    id: &'a str,
    receiver: oneshot::Receiver<()>,
}

impl Future for RunChanged<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.receiver.poll_unpin(cx).map(drop)
    }
}

impl Drop for RunChanged<'_> {
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
pub(crate) struct PendingClaim<'a>(Option<&'a ActiveRuns>);

impl PendingClaim<'_> {
    /// Notes that it is known how the claim ended.
    pub(crate) fn resolve(mut self) {
        self.0 = None;
    }
}

impl Drop for PendingClaim<'_> {
    fn drop(&mut self) {
        if let Some(active) = self.0 {
            active.in_doubt.store(true, Ordering::Release);
            active.work_available.notify_one();
        }
    }
}

/// A run that is executed here.
#[derive(Debug)]
pub(crate) struct ActiveRun {
    active: Arc<ActiveRuns>,
    id: String,
    pub(crate) interrupt: Arc<Interrupt>,
    released: bool,
}

impl ActiveRun {
    /// Notes that this worker holds the run no longer.
    pub(crate) fn release(mut self) {
        self.released = true;
    }
}

impl Drop for ActiveRun {
    fn drop(&mut self) {
        let again = {
            let mut state = lock(&self.active.state);
            state.runs.remove(&self.id);
            if !self.released {
                state.abandoned.push(self.id.clone());
            }
            state.abandoned.contains(&self.id)
        };
        if again {
            self.active.work_available.notify_one();
        }
        self.active.notify(&self.id);
    }
}
