//! The runs that this worker executes, and how requests reach them.

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

/// The runs that this worker executes, by id, and the callers that wait for them.
#[derive(Debug, Default)]
pub(crate) struct ActiveRuns {
    state: Mutex<State>,
    /// Notified when there may be a run to claim.
    pub(crate) work_available: Notify,
    /// Set when a claim's outcome is unknown, so this worker may hold runs that it does not track.
    in_doubt: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<String, (RunKey, Arc<Interrupt>)>,
    waiting: HashMap<String, Vec<oneshot::Sender<()>>>,
    /// Runs that this worker holds and does not execute: their execution was dropped before its
    /// end, or never began.
    abandoned: Vec<String>,
}

impl ActiveRuns {
    /// Tracks a run that was just claimed.
    pub(crate) fn claimed(self: &Arc<Self>, claimed: Claimed) -> ClaimedRun {
        ClaimedRun {
            active: self.clone(),
            claimed: Some(claimed),
        }
    }

    pub(crate) fn is_active(&self, id: &str) -> bool {
        lock(&self.state).runs.contains_key(id)
    }

    /// Requests a cancel, if the run is executed here.
    pub(crate) fn cancel(&self, id: &str, request: &CancelRequest) {
        if let Some((_, interrupt)) = lock(&self.state).runs.get(id) {
            interrupt.cancel(request.clone());
        }
    }

    /// Requests the cancels that a store has returned.
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

    /// Requests every run to stop.
    pub(crate) fn stop_all(&self) {
        lock(&self.state)
            .runs
            .values()
            .for_each(|(_, interrupt)| interrupt.stop());
    }

    /// Completes when an execution of the run here ends for any reason.
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

    /// Notifies the callers that wait for the run.
    pub(crate) fn notify(&self, id: &str) {
        let waiting = lock(&self.state).waiting.remove(id);
        for sender in waiting.into_iter().flatten() {
            // A caller that has stopped waiting needs no notice.
            let _ = sender.send(());
        }
    }

    /// Takes the abandoned runs and those that are `held`, each once.
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

    /// Begins a claim. Until it is resolved, this worker may hold runs that it does not track,
    /// because the future of the claim was dropped or the store failed during it.
    pub(crate) fn begin_claim(&self) -> PendingClaim<'_> {
        PendingClaim(Some(self))
    }

    /// Returns whether this worker may hold runs that it does not track; clears that.
    pub(crate) fn take_in_doubt(&self) -> bool {
        self.in_doubt.swap(false, Ordering::AcqRel)
    }

    /// Marks a run that this worker holds as abandoned, so that it is claimed again.
    fn abandon(&self, id: String) {
        lock(&self.state).abandoned.push(id);
        self.work_available.notify_one();
    }
}

/// Abandoned runs that are being claimed again. Those that remain are kept for the next claim.
#[derive(Debug)]
pub(crate) struct AbandonedRuns<'a> {
    active: &'a ActiveRuns,
    ids: Vec<String>,
    postponed: Vec<String>,
}

impl AbandonedRuns<'_> {
    /// Takes the next run.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.ids.pop()
    }

    /// Keeps a run for the next claim.
    pub(crate) fn postpone(&mut self, id: String) {
        self.postponed.push(id);
    }
}

impl Drop for AbandonedRuns<'_> {
    fn drop(&mut self) {
        // The postponed runs come last the next time.
        let left = self.postponed.drain(..).chain(self.ids.drain(..));
        lock(&self.active.state).abandoned.extend(left);
    }
}

/// A run that this worker has claimed and does not execute yet. If this is dropped, the run is claimed
/// again.
#[derive(Debug)]
pub(crate) struct ClaimedRun {
    active: Arc<ActiveRuns>,
    /// `None` once the run is executed.
    claimed: Option<Claimed>,
}

impl ClaimedRun {
    /// Marks the run as executing. Returns `None` if an execution that this claim has fenced has
    /// not noticed that yet; then the run is claimed again later.
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

/// Waits for an execution of a run here to end.
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

/// A claim whose outcome is not known yet.
#[derive(Debug)]
pub(crate) struct PendingClaim<'a>(Option<&'a ActiveRuns>);

impl PendingClaim<'_> {
    /// Marks the outcome of the claim as known.
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

/// A run that is being executed here. If this is dropped without [`release`](Self::release), the
/// run is claimed again.
#[derive(Debug)]
pub(crate) struct ActiveRun {
    active: Arc<ActiveRuns>,
    id: String,
    pub(crate) interrupt: Arc<Interrupt>,
    released: bool,
}

impl ActiveRun {
    /// Marks the run as not held by this worker any more.
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
