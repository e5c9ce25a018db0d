//! The interface to storage, for authors of stores: the trait [`Store`], the types in its
//! signatures, and the in-memory store.
//!
//! To write a store, implement [`Store`] and run the conformance suite of the crate
//! `workflow-testing` on it.

mod memory;

mod claim;
mod commit;
mod outbox;
mod purge;
mod run;

mod record;

mod error;

mod cancel;
mod key;
mod status;

use std::fmt::Debug;
use std::future::pending;

use async_trait::async_trait;
use workflow_events::Timestamp;

pub use cancel::CancelRequest;
pub use claim::{Claim, ClaimRequest, Claimed, Claims, Due};
pub use commit::{Commit, Committed, Created};
pub use error::StoreError;
pub use key::RunKey;
pub use memory::MemoryStore;
pub use outbox::{Cursor, OutboxEnd, Page, Position, SinkClaim};
pub use purge::{Purge, Purged};
pub use record::{Entry, EntryKind, Record, Span};
pub use run::{CancelReply, NewRun, Run, RunFilter};
pub use status::{Status, TransitionError};

pub use crate::payload::{EncodedEvent, Payload};

/// Kinds of writes of other processes that concern workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Woken {
    /// Runs have become due.
    Due,
    /// A cancel of a claimed run was requested; a [renewal](Store::renew) by the run's holder
    /// returns it.
    Cancel,
}

/// Keeps runs, their histories, the claims of workers, and the cursors of the sinks.
///
/// A store keeps and orders; it makes no decisions. Every method is atomic: it happens as a whole
/// or not at all. When a method returns, its effect is as durable as the store promises. The
/// conformance suite in the crate `workflow-testing` has a test of every rule below. The trait is
/// object safe: hold a store as `Arc<dyn Store>`.
///
/// # Claims
///
/// A run that is not terminal is in one of three states: a worker has *claimed* it, it is *ready*,
/// or it *waits*. The claims of a worker last as long as its lease, which [`renew`](Self::renew)
/// extends for all of them at once. Each claim of a run has an epoch, one higher than the one
/// before. A write under an older epoch is refused with [`StoreError::Fenced`].
///
/// # Ready and waiting
///
/// A *ready* run can be claimed at any [`ClaimRequest::now`], so that no run is stranded by a clock
/// that is set back. A run is ready if it is queued, if its worker has released it with
/// [`Due::Now`], has retired or has died, or if its cancel was requested while it was not claimed.
///
/// A run *waits* for its time if it is paused, or was released with [`Due::At`]. A run that is
/// paused without a time waits only for a cancel. [`Run::due_at`] determines the place of a ready
/// or waiting run in the order of claims.
///
/// # Time
///
/// Times are arguments in whole milliseconds, and come from the engine's clock. A store that is
/// shared between machines has a clock of its own, [`now`](Self::now), and every engine on that
/// store sets its time of day to it.
///
/// # Errors
///
/// Every method may return [`StoreError::Backend`] when the storage fails, and
/// [`StoreError::Corrupt`] when a stored value cannot be read; the latter changes nothing. A
/// damaged run or worker must not prevent the claim of other runs: a claim of any run puts aside a
/// run that it cannot read, and logs that.
///
/// # Cancel safety
///
/// A write whose future is dropped, or that fails with [`StoreError::Backend`], may have happened
/// or not, and is never half done. A write in the name of a worker (the creation of a `Running`
/// run, a claim, a commit) happens before any renewal that the worker requests later, or never.
/// Other writes (the creation of a `Queued` run, a cancel, a cursor) may still happen later;
/// repeating them does no harm.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Creates a run with the first record of its history. If the id is taken, returns the run that
    /// has it.
    ///
    /// A `Running` run is claimed by its creator with epoch 1; a `Queued` run is ready from its
    /// creation on. Any other status is refused with [`StoreError::Transition`], and a record that
    /// is not a first one with [`StoreError::Behind`].
    async fn create(&self, new: NewRun) -> Result<Created, StoreError>;

    /// Appends records to the history of a claimed run and sets its status.
    ///
    /// `Suspended` and every terminal status end the claim. A paused run waits until
    /// [`Commit::due_at`], or with `None` only for a cancel. A record with an entry is progress: it
    /// resets [`Run::recoveries`] to 0.
    ///
    /// # Errors
    ///
    /// In the order in which they are checked: [`StoreError::UnknownRun`], [`StoreError::Fenced`],
    /// [`StoreError::Behind`], [`StoreError::Transition`], and [`StoreError::CancelRequested`] for
    /// a commit after a cancel request that would end the claim with a status other than
    /// `Cancelled`. Nothing was changed.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Claims runs that are due: those that are ready, and those whose time has come. The order is
    /// that of [`Run::due_at`], then that of creation. At most [`ClaimRequest::limit`] runs are
    /// claimed.
    ///
    /// First, the runs of every other worker whose lease has expired become ready, and are due
    /// since that time. The worker that claims counts as alive. The claim of such a run counts as a
    /// recovery, because its worker died.
    ///
    /// With [`ClaimRequest::run`] only that run is considered. It is also claimed if the same
    /// worker holds it already, which is not a recovery. If another worker holds it,
    /// [`Claims::next_due`] is the end of that worker's lease.
    async fn claim(&self, request: ClaimRequest) -> Result<Claims, StoreError>;

    /// Ends a claim and changes nothing else. The run can be claimed again as `due` says.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`], [`StoreError::Fenced`]: nothing was changed.
    async fn release(&self, claim: Claim, due: Due) -> Result<(), StoreError>;

    /// Extends the lease of `worker` until `until`; returns the cancels that were requested of runs
    /// that it holds.
    ///
    /// An unknown worker gets a lease, and so does a worker whose lease has expired. The latter
    /// keeps those of its claims that no [`claim`](Self::claim) has ended.
    async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, StoreError>;

    /// Ends the lease of `worker` in good order. The runs that it holds are ready and due since
    /// `now`, and their next claim does not count as a recovery. Other workers can claim its sinks.
    async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Requests the cancel of a run. From then on the run can only end as `Cancelled`.
    ///
    /// A run that is not claimed becomes ready; its [`Run::due_at`] becomes [`CancelRequest::at`],
    /// unless it is earlier already. After an earlier request, the reason and the time of that one
    /// stand, and the run is cancelled at once if either request asks for that.
    async fn request_cancel(
        &self,
        run: &str,
        request: CancelRequest,
    ) -> Result<CancelReply, StoreError>;

    /// Returns a run; `None` if there is none with this id.
    async fn run(&self, id: &str) -> Result<Option<Run>, StoreError>;

    /// Returns records of a run's history in order; empty if there is no such run.
    async fn records(&self, key: RunKey, span: Span) -> Result<Vec<Record>, StoreError>;

    /// Returns the runs that a filter admits, in the order of their creation.
    async fn list(&self, filter: &RunFilter) -> Result<Vec<Run>, StoreError>;

    /// Returns the ids of the runs that a worker holds, in the order of their creation. This
    /// includes runs whose other fields cannot be read.
    async fn held(&self, worker: &str) -> Result<Vec<String>, StoreError>;

    /// Returns the events of all runs that follow `after` in the outbox, in order: as many as fit
    /// on the page, and at least one if there is any and [`Page::events`] is not 0.
    ///
    /// The events of one run are in the order of their `seq`. Once an event has been returned, none
    /// will ever appear before it.
    async fn outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError>;

    /// Returns the end of the outbox, and the number of events that were ever put there.
    async fn outbox_end(&self) -> Result<OutboxEnd, StoreError>;

    /// Returns a sink's cursor. An unknown sink gets a cursor at the start; from then on no purge
    /// removes events that have no fate at this sink.
    async fn open_cursor(&self, sink: &str) -> Result<Cursor, StoreError>;

    /// Returns every sink that has a cursor, and the cursor, ordered by the bytes of the name.
    async fn cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError>;

    /// Claims the delivery to a sink for `worker`, and opens the sink's cursor. Returns `None` if
    /// another worker has claimed the sink and its lease has not expired at `now`. One worker at a
    /// time delivers to a sink.
    ///
    /// Each claim of a sink has a higher epoch than the one before, also if the same worker claims
    /// it again.
    async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, StoreError>;

    /// Ends a claim on a sink, so that every worker can claim it. Does nothing if the claim has
    /// ended already.
    async fn release_sink(&self, claim: &SinkClaim) -> Result<(), StoreError>;

    /// Moves the cursor of a claimed sink forward. A cursor that is further already does not move.
    ///
    /// # Errors
    ///
    /// [`StoreError::SinkFenced`]: nothing was changed.
    async fn set_cursor(&self, claim: &SinkClaim, cursor: Cursor) -> Result<(), StoreError>;

    /// Removes the cursor of a sink, so that the sink stops holding up purges; returns whether it
    /// had one.
    async fn drop_cursor(&self, sink: &str) -> Result<bool, StoreError>;

    /// Removes terminal runs that have ended long enough ago and whose events have a fate at every
    /// sink, with everything that belongs to them. The order is that of their end.
    ///
    /// A call may remove fewer runs than [`Purge::limit`] and leave others, so that it holds up no
    /// other write for long. Call it until it removes none. Where a sink holds up very many runs,
    /// one call may examine a part of them, and the next call others.
    ///
    /// Keys and positions are never used again.
    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError>;

    /// Returns the time of day by the store's own clock; `None` if it has none. By this clock,
    /// workers on different machines agree on when a run is due and a lease has expired.
    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Completes when another process has made a write that workers wait for. It may complete
    /// without such a write, and may miss one, because workers also poll. The default never
    /// completes.
    async fn woken(&self) -> Woken {
        pending().await
    }
}
