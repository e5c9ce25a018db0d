//! A store that fails or dies at a chosen write.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use async_trait::async_trait;
use tracker_core::Clock;
use workflow_engine::store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claims, Commit, Committed, Created, Cursor,
    Due, NewRun, OutboxEnd, Page, Position, Purge, Record, SinkClaim, Span, Woken,
};
use workflow_engine::{EncodedEvent, Purged, Run, RunFilter, RunKey, Store, StoreError};
use workflow_events::Timestamp;

/// A fault at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write fails, and has not happened.
    FailBefore,
    /// The write fails, and has happened.
    FailAfter,
    /// The process dies before the write happens: neither this call nor any later one returns.
    DieBefore,
    /// The process dies after the write has happened.
    DieAfter,
}

/// A [`Store`] around another one, with faults at chosen writes.
///
/// Every operation is executed at the first poll of its future, even if the inner store has threads
/// of its own. So this store works with a [`TestClock`](super::TestClock), which does not wait for
/// other threads.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
    latency: Option<(Arc<dyn Clock>, Duration)>,
}

/// An action on the inner store right before a write.
type Action = Box<dyn FnOnce(&Arc<dyn Store>) + Send>;

#[derive(Default)]
struct State {
    writes: usize,
    faults: HashMap<usize, Fault>,
    actions: HashMap<usize, Action>,
    dead: bool,
    wakers: Vec<Waker>,
    late_outbox_reads: usize,
    failing_reads: usize,
    panicking_reads: usize,
    outbox_events: usize,
}

impl FaultStore {
    /// Wraps `inner`, without a fault.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            state: Mutex::default(),
            latency: None,
        }
    }

    /// Answers every write `latency` after it has happened, so that other things can happen in
    /// between, and callers can be dropped before their answer.
    #[must_use]
    pub fn with_latency(self, clock: Arc<dyn Clock>, latency: Duration) -> Self {
        Self {
            latency: Some((clock, latency)),
            ..self
        }
    }

    /// Adds a fault at a write, counted from 0.
    #[must_use]
    pub fn with_fault(self, write: usize, fault: Fault) -> Self {
        self.lock().faults.insert(write, fault);
        self
    }

    /// Executes an action on the inner store right before a write, counted from 0, as another
    /// process might.
    #[must_use]
    pub fn with_action_before(
        self,
        write: usize,
        action: impl FnOnce(&Arc<dyn Store>) + Send + 'static,
    ) -> Self {
        self.lock().actions.insert(write, Box::new(action));
        self
    }

    /// Makes the first `reads` reads of the outbox find nothing, as if an earlier write had not
    /// ended.
    #[must_use]
    pub fn with_late_outbox(self, reads: usize) -> Self {
        self.lock().late_outbox_reads = reads;
        self
    }

    /// Makes the next `reads` reads fail, as those of a server that restarts.
    pub fn fail_reads(&self, reads: usize) {
        self.lock().failing_reads = reads;
    }

    /// Makes the next `reads` reads panic, as those of a store with a bug.
    pub fn panic_reads(&self, reads: usize) {
        self.lock().panicking_reads = reads;
    }

    /// Returns the number of events that were read from the outbox.
    pub fn outbox_events(&self) -> usize {
        self.lock().outbox_events
    }

    /// Returns the number of writes that were begun.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Completes when the process has died.
    pub async fn died(&self) {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.dead {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Returns the inner store.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    async fn write<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (fault, action) = {
            let mut state = self.lock();
            let write = state.writes;
            state.writes += usize::from(!state.dead);
            let fault = if state.dead {
                Some(Fault::DieBefore)
            } else {
                state.faults.get(&write).copied()
            };
            (fault, state.actions.remove(&write).filter(|_| !state.dead))
        };
        if let Some(action) = action {
            action(&self.inner);
        }
        let failed = || Err(StoreError::Backend("a fault was injected".into()));
        match fault {
            None => {
                let answer = block_on(operation);
                if let Some((clock, latency)) = &self.latency {
                    clock.sleep(*latency).await;
                }
                answer
            }
            Some(Fault::FailBefore) => failed(),
            Some(Fault::FailAfter) => block_on(operation).and_then(|_| failed()),
            Some(Fault::DieBefore) => self.die().await,
            Some(Fault::DieAfter) => {
                // The answer is lost, as it is when a process dies.
                let _ = block_on(operation);
                self.die().await
            }
        }
    }

    async fn read<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (dead, fails, panics) = {
            let mut state = self.lock();
            let fails = state.failing_reads > 0;
            let panics = state.panicking_reads > 0;
            state.failing_reads -= usize::from(fails);
            state.panicking_reads -= usize::from(panics);
            (state.dead, fails, panics)
        };
        assert!(!panics, "a panic was injected");
        match (dead, fails) {
            (true, _) => self.die().await,
            (false, true) => Err(StoreError::Backend("a fault was injected".into())),
            (false, false) => block_on(operation),
        }
    }

    async fn die<T>(&self) -> T {
        {
            let mut state = self.lock();
            state.dead = true;
            state.wakers.drain(..).for_each(Waker::wake);
        }
        pending().await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls `future` on this thread until it is ready.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[async_trait]
impl Store for FaultStore {
    async fn create(&self, new: NewRun) -> Result<Created, StoreError> {
        self.write(self.inner.create(new)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.write(self.inner.commit(commit)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claims, StoreError> {
        self.write(self.inner.claim(request)).await
    }

    async fn release(&self, claim: Claim, due: Due) -> Result<(), StoreError> {
        self.write(self.inner.release(claim, due)).await
    }

    async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, StoreError> {
        self.write(self.inner.renew(worker, until)).await
    }

    async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(self.inner.retire(worker, now)).await
    }

    async fn request_cancel(
        &self,
        run: &str,
        request: CancelRequest,
    ) -> Result<CancelReply, StoreError> {
        self.write(self.inner.request_cancel(run, request)).await
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        self.read(self.inner.run(id)).await
    }

    async fn records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError> {
        self.read(self.inner.records(key, span)).await
    }

    async fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        self.read(self.inner.list(filter)).await
    }

    async fn held(&self, worker: &str) -> Result<Vec<String>, StoreError> {
        self.read(self.inner.held(worker)).await
    }

    async fn outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError> {
        let late = {
            let mut state = self.lock();
            let late = state.late_outbox_reads > 0;
            state.late_outbox_reads = state.late_outbox_reads.saturating_sub(1);
            late
        };
        let events = self.read(self.inner.outbox(after, page)).await?;
        self.lock().outbox_events += events.len();
        Ok(if late { Vec::new() } else { events })
    }

    async fn outbox_end(&self) -> Result<OutboxEnd, StoreError> {
        let late = self.lock().late_outbox_reads > 0;
        let end = self.read(self.inner.outbox_end()).await?;
        Ok(if late {
            OutboxEnd {
                readable: Position::default(),
                ..end
            }
        } else {
            end
        })
    }

    async fn open_cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        self.write(self.inner.open_cursor(sink)).await
    }

    async fn cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError> {
        self.read(self.inner.cursors()).await
    }

    async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, StoreError> {
        self.write(self.inner.claim_sink(sink, worker, now)).await
    }

    async fn release_sink(&self, claim: &SinkClaim) -> Result<(), StoreError> {
        self.write(self.inner.release_sink(claim)).await
    }

    async fn set_cursor(&self, claim: &SinkClaim, cursor: Cursor) -> Result<(), StoreError> {
        self.write(self.inner.set_cursor(claim, cursor)).await
    }

    async fn drop_cursor(&self, sink: &str) -> Result<bool, StoreError> {
        self.write(self.inner.drop_cursor(sink)).await
    }

    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError> {
        self.write(self.inner.purge(purge)).await
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(self.inner.now()).await
    }

    async fn woken(&self) -> Woken {
        self.inner.woken().await
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writes = self.lock().writes;
        f.debug_struct("FaultStore")
            .field("inner", &self.inner)
            .field("writes", &writes)
            .finish_non_exhaustive()
    }
}
