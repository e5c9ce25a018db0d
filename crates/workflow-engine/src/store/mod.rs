//! The seam to storage: runs, their histories, who works on them, and the cursors of the sinks.

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
pub use status::{IllegalTransition, Status};

pub use crate::payload::{EncodedEvent, Payload};

/// What another process has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Woken {
    /// Runs that are due.
    Due,
    /// The cancel of a run that somebody holds: a [renewal](Store::renew) by its holder returns it.
    Cancel,
}

/// Keeps runs, their histories, the claims of workers, and the cursors of the sinks.
///
/// A store keeps and orders; it decides nothing. Every method is atomic: it happens as a whole or
/// not at all, and what it did is kept, as durably as the store says, when it returns. The
/// conformance suite in [`testing`](crate::testing) states every rule below as a test. Object safe:
/// hold it as `Arc<dyn Store>`.
///
/// # Claims
///
/// A run that is not terminal is *claimed* by one worker, or it is *ready* or *waits*. A worker's
/// claims live as long as its lease, which it renews for all of them at once with
/// [`renew`](Self::renew). Each claim has an epoch, one higher than the last; what is done under an
/// older one is refused with [`StoreError::Fenced`].
///
/// # Ready and waiting
///
/// A *ready* run can be claimed whatever [`ClaimRequest::now`] is, so that a clock which is set
/// back strands nothing: it is queued; or its worker has released it with [`Due::Now`], has
/// retired, or has died; or its cancel was asked for while nobody held it. Only a paused run, and
/// one that was released with [`Due::At`], *waits* for its time; a run that is paused without a
/// time waits for a cancel. Ready or waiting, [`Run::due_at`] is its place in the order.
///
/// # Time
///
/// Times come from the engine's clock as arguments, in whole milliseconds. A store that is shared
/// between machines has a clock of its own, [`now`](Self::now), to which every engine on it sets
/// its time of day.
///
/// # Errors
///
/// Every method may return [`StoreError::Backend`] when the storage fails, and
/// [`StoreError::Corrupt`] when it holds what cannot be read; then it has changed nothing. What one
/// run or worker is damaged in keeps no other from being claimed: a claim of any run puts aside
/// what it cannot read, and says so in the log.
///
/// # Cancel safety
///
/// A write whose future is dropped, or that fails with [`StoreError::Backend`], may have happened
/// or not; it is not left half done. What it does in a worker's name (to run what it creates, to
/// claim, to commit) happens before any renewal that the worker asks for later, or never. What
/// anyone may ask for (a queued run, a cancel, a cursor) may still happen later; to ask again does
/// no harm.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Creates a run with the first record of its history, unless its id is taken; then returns
    /// that run.
    ///
    /// A run that begins as `Running` is claimed by its creator with epoch 1; a `Queued` one is
    /// ready, since then. Any other status is refused with [`StoreError::Transition`], and a record
    /// that is not a first one with [`StoreError::Behind`].
    async fn create(&self, new: NewRun) -> Result<Created, StoreError>;

    /// Appends records to the history of a claimed run and sets its status.
    ///
    /// `Paused` and every terminal status end the claim; a paused run waits for [`Commit::due_at`],
    /// and with `None` for a cancel. A record with an entry is progress: it sets
    /// [`Run::recoveries`] back to 0.
    ///
    /// # Errors
    ///
    /// Nothing was changed: [`StoreError::UnknownRun`], [`StoreError::Fenced`],
    /// [`StoreError::Behind`], [`StoreError::Transition`]; and [`StoreError::CancelRequested`] for
    /// a commit that would end the claim, other than as `Cancelled`, after a cancel was accepted.
    /// They are checked in this order.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Claims runs that are due, which are those that are ready and those whose time has come: the
    /// longest due first, by [`Run::due_at`], then in the order of their creation; at most
    /// [`ClaimRequest::limit`].
    ///
    /// First, the runs of every other worker whose lease has run out become ready, since the time
    /// it ran out; the worker that asks is alive. Claiming such a run counts as a recovery: its
    /// worker died with it.
    ///
    /// With [`ClaimRequest::run`] only that run is considered, and it is also claimed if the same
    /// worker holds it already; that is no recovery. If another worker holds it, `next_due` is the
    /// end of that one's lease.
    async fn claim(&self, request: ClaimRequest) -> Result<Claims, StoreError>;

    /// Ends a claim and changes nothing else; `due` says when the run can be claimed again.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownRun`], [`StoreError::Fenced`]: nothing was changed.
    async fn release(&self, claim: Claim, due: Due) -> Result<(), StoreError>;

    /// Sets how long the lease of `worker` lasts; returns the cancels that wait for a run that it
    /// holds.
    ///
    /// A worker never heard of gets a lease; so does one whose lease had run out (its old claims
    /// are lost or not, as [`claim`](Self::claim) has decided).
    async fn renew(
        &self,
        worker: &str,
        until: Timestamp,
    ) -> Result<Vec<(RunKey, CancelRequest)>, StoreError>;

    /// Ends the lease of `worker` in good order: the runs that it holds are ready since `now`, and
    /// claiming them does not count as a recovery. The sinks that it has claimed are free for
    /// others.
    async fn retire(&self, worker: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Asks for the cancel of a run. From then on it can only end as `Cancelled`.
    ///
    /// A run that nobody holds is ready; its [`Run::due_at`] is [`CancelRequest::at`], unless it is
    /// earlier already. If a cancel was asked for before, its reason and its time stand; `at_once`
    /// of either counts.
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

    /// Returns the ids of the runs that a worker holds, in the order of their creation; also of one
    /// that cannot be read otherwise, which must not hide the others.
    async fn held(&self, worker: &str) -> Result<Vec<String>, StoreError>;

    /// Returns the events of all runs that stand behind `after` in the outbox, in order: as many as
    /// have room on the page, and at least one if there is any and [`Page::events`] is not 0.
    ///
    /// The events of one run are in the order of their `seq`. Once an event has been returned, none
    /// will ever appear before it.
    async fn outbox(
        &self,
        after: Position,
        page: Page,
    ) -> Result<Vec<(Position, EncodedEvent)>, StoreError>;

    /// Returns where the outbox ends, and how many events were ever put there.
    async fn outbox_end(&self) -> Result<OutboxEnd, StoreError>;

    /// Returns a sink's cursor. A sink never heard of gets one at the start; from then on no purge
    /// removes what it has not settled.
    async fn open_cursor(&self, sink: &str) -> Result<Cursor, StoreError>;

    /// Returns every sink that has a cursor, with it, ordered by the bytes of its name.
    async fn cursors(&self) -> Result<Vec<(String, Cursor)>, StoreError>;

    /// Gives the delivery to a sink to `worker`, and opens its cursor; `None` if another worker has
    /// it whose lease is not over at `now`. One worker at a time delivers to a sink.
    ///
    /// Each claim of a sink has an epoch, higher than the last, also if the same worker claims it
    /// again.
    async fn claim_sink(
        &self,
        sink: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<Option<SinkClaim>, StoreError>;

    /// Ends a claim on a sink, so that every worker can have it; nothing happens if it has ended
    /// before.
    async fn release_sink(&self, claim: &SinkClaim) -> Result<(), StoreError>;

    /// Moves the cursor of a claimed sink forward; one that stands further already stays where it
    /// is.
    ///
    /// # Errors
    ///
    /// [`StoreError::SinkFenced`]: nothing was changed.
    async fn set_cursor(&self, claim: &SinkClaim, cursor: Cursor) -> Result<(), StoreError>;

    /// Forgets a sink, so that it holds up purges no longer; returns whether there was one.
    async fn drop_cursor(&self, sink: &str) -> Result<bool, StoreError>;

    /// Removes terminal runs that have ended long enough ago and whose events every sink has
    /// settled, with everything that belongs to them; the longest ended first.
    ///
    /// It may remove fewer runs than [`Purge::limit`] although more could go, so that it holds up
    /// no other write for long: call it until it removes none. Where very many runs have ended that
    /// a sink keeps from going, one call may look at a part of them, and the next one at others.
    ///
    /// Keys and positions are never used again.
    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError>;

    /// Returns the time of day by the store's own clock; `None` if it has none. Workers on
    /// different machines agree by it when a run is due and a lease over.
    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Completes when another process has written what workers wait for. It may complete without a
    /// reason, and it may miss one: workers look by themselves from time to time, as if it did not
    /// exist. The default never completes.
    async fn woken(&self) -> Woken {
        pending().await
    }
}
