//! The runs that this engine is executing, and how they are reached from outside.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use futures::channel::oneshot;
use futures::task::AtomicWaker;
use tokio::sync::Notify;

use crate::store::{CancelRequest, RunKey};

/// What reaches the driver of one run: wake-ups of the workflow's future, cancels, and the engine's shutdown.
///
/// It is the waker with which the workflow's future is polled.
#[derive(Debug)]
pub(crate) struct Signal {
    task: AtomicWaker,
    woken: AtomicBool,
    raised: AtomicBool,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    cancel: Option<CancelRequest>,
    stop: bool,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self {
            task: AtomicWaker::new(),
            // The first poll needs no wake-up.
            woken: AtomicBool::new(true),
            raised: AtomicBool::new(false),
            orders: Mutex::default(),
        }
    }

    /// Orders the run's cancel.
    pub(crate) fn cancel(&self, request: CancelRequest) {
        self.order(|orders| orders.cancel = Some(request));
    }

    /// Orders that no further operation begins.
    pub(crate) fn stop(&self) {
        self.order(|orders| orders.stop = true);
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        give(&mut lock(&self.orders));
        self.raised.store(true, Ordering::Release);
        self.task.wake();
    }

    pub(crate) fn wake_driver(&self) {
        self.task.wake();
    }

    /// Takes the orders that have come: a cancel, and whether to stop.
    pub(crate) fn take(&self) -> (Option<CancelRequest>, bool) {
        if !self.raised.swap(false, Ordering::AcqRel) {
            return (None, false);
        }
        let mut orders = lock(&self.orders);
        (orders.cancel.take(), orders.stop)
    }

    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

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
    /// Runs whose execution was dropped before its end: this worker holds them, and executes them no more.
    dropped: Vec<String>,
}

impl Active {
    /// Notes that a run is executed here; `None` if it already is.
    pub(crate) fn enter(self: &Arc<Self>, id: &str, key: RunKey) -> Option<ActiveRun> {
        let mut state = lock(&self.state);
        if state.runs.contains_key(id) {
            return None;
        }
        let signal = Arc::new(Signal::new());
        state.runs.insert(id.to_owned(), (key, signal.clone()));
        Some(ActiveRun { active: self.clone(), id: id.to_owned(), signal, finished: false })
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
            run.into_iter().for_each(|(_, signal)| signal.cancel(request.clone()));
        }
    }

    /// Orders every run to go no further.
    pub(crate) fn stop_all(&self) {
        lock(&self.state).runs.values().for_each(|(_, signal)| signal.stop());
    }

    /// Completes when the run's state here changes: it ends, is suspended, or is dropped.
    pub(crate) fn changed(&self, id: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        let waiting = state.waiting.entry(id.to_owned()).or_default();
        waiting.retain(|sender| !sender.is_canceled());
        waiting.push(sender);
        receiver
    }

    /// Tells those who wait for the run.
    pub(crate) fn tell(&self, id: &str) {
        let waiting = lock(&self.state).waiting.remove(id);
        for sender in waiting.into_iter().flatten() {
            // Whoever waits no longer does not want to know.
            let _ = sender.send(());
        }
    }

    pub(crate) fn take_dropped(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).dropped)
    }

    /// Begins a claim. Unless it is told how that ended, this worker may hold runs of which nobody here knows: its
    /// future was dropped, or the store failed in the middle of it.
    pub(crate) fn begin_claim(&self) -> ClaimBegun<'_> {
        ClaimBegun(Some(self))
    }

    /// Returns whether this worker may hold runs of which nobody here knows; told once.
    pub(crate) fn take_doubt(&self) -> bool {
        self.in_doubt.swap(false, Ordering::AcqRel)
    }

    /// Has a run that this worker holds taken up again.
    pub(crate) fn take_up(&self, id: String) {
        lock(&self.state).dropped.push(id);
        self.work.notify_one();
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
        lock(&self.active.state).runs.remove(&self.id);
        if !self.finished {
            self.active.take_up(std::mem::take(&mut self.id));
        } else {
            self.active.tell(&self.id);
        }
    }
}

/// No critical section can be left half done by a panic, so poisoning says nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
