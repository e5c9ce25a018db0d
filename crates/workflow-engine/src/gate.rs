//! Who may still write: the runs that are active, the commits under way, and the end of both.

use tokio::sync::watch;

/// Opened with the engine, closed by its shutdown, first for new runs and then for every commit.
#[derive(Debug)]
pub(crate) struct Gate(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    closed: bool,
    stopped: bool,
    runs: usize,
    commits: usize,
    /// Counts commits that are done, so that relays learn that there is something to deliver.
    committed: u64,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Admits a run until the gate is closed.
    pub(crate) fn enter_run(&self) -> Option<RunPass<'_>> {
        self.0
            .send_if_modified(|state| {
                state.runs += usize::from(!state.closed);
                !state.closed
            })
            .then(|| RunPass(self))
    }

    /// Admits a commit until the gate is stopped.
    pub(crate) fn enter_commit(&self) -> Option<CommitPass<'_>> {
        self.0
            .send_if_modified(|state| {
                state.commits += usize::from(!state.stopped);
                !state.stopped
            })
            .then(|| CommitPass(self))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Waits until no run is admitted any more.
    pub(crate) async fn closed(&self) {
        let _ = self.0.subscribe().wait_for(|state| state.closed).await;
    }

    /// Admits no further run.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    /// Admits no further commit.
    pub(crate) fn stop(&self) {
        self.0.send_modify(|state| state.stopped = true);
    }

    pub(crate) fn runs(&self) -> usize {
        self.0.borrow().runs
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.borrow().stopped
    }

    /// Waits until no run is active.
    pub(crate) async fn no_run(&self) {
        // The sender lives in `self`, so the channel cannot be closed.
        let _ = self.0.subscribe().wait_for(|state| state.runs == 0).await;
    }

    /// Waits until no commit is under way.
    pub(crate) async fn no_commit(&self) {
        let _ = self
            .0
            .subscribe()
            .wait_for(|state| state.commits == 0)
            .await;
    }

    /// Waits until no commit is admitted any more.
    pub(crate) async fn stopped(&self) {
        let _ = self.0.subscribe().wait_for(|state| state.stopped).await;
    }

    /// Waits until more than `seen` commits are done, or the gate is stopped; returns how many are
    /// done.
    pub(crate) async fn committed_beyond(&self, seen: u64) -> u64 {
        let mut receiver = self.0.subscribe();
        receiver
            .wait_for(|state| state.committed > seen || state.stopped)
            .await
            .map_or(seen, |state| state.committed)
    }
}

/// An active run.
#[derive(Debug)]
pub(crate) struct RunPass<'a>(&'a Gate);

impl Drop for RunPass<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.runs -= 1);
    }
}

/// A commit under way.
#[derive(Debug)]
pub(crate) struct CommitPass<'a>(&'a Gate);

impl Drop for CommitPass<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| {
            state.commits -= 1;
            state.committed += 1;
        });
    }
}
