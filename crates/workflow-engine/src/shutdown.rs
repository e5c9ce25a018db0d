//! The shutdown of an engine, in two stages: no further run, then no further commit.

use tokio::sync::watch;

/// Admits runs and commits until the engine shuts down, and counts those under way.
///
/// An engine is open, then *closed* (it admits no run), then *stopped* (it admits no commit).
#[derive(Debug)]
pub(crate) struct Shutdown(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    closed: bool,
    stopped: bool,
    runs: usize,
    commits: usize,
    /// Number of commits that have ended; relays wait for it to grow.
    committed: u64,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Admits a run, unless the engine is closed.
    pub(crate) fn admit_run(&self) -> Option<RunPermit<'_>> {
        let admitted = self.0.send_if_modified(|state| {
            state.runs += usize::from(!state.closed);
            !state.closed
        });
        admitted.then(|| RunPermit(self))
    }

    /// Admits a commit, unless the engine is stopped.
    pub(crate) fn admit_commit(&self) -> Option<CommitPermit<'_>> {
        let admitted = self.0.send_if_modified(|state| {
            state.commits += usize::from(!state.stopped);
            !state.stopped
        });
        admitted.then(|| CommitPermit(self))
    }

    /// Closes the engine: it admits no further run.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    /// Stops the engine: it admits no further commit.
    pub(crate) fn stop(&self) {
        self.0.send_modify(|state| state.stopped = true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.borrow().stopped
    }

    /// Returns the number of runs under way.
    pub(crate) fn runs(&self) -> usize {
        self.0.borrow().runs
    }

    /// Waits until the engine is closed.
    pub(crate) async fn closed(&self) {
        self.wait_for(|state| state.closed).await;
    }

    /// Waits until the engine is stopped.
    pub(crate) async fn stopped(&self) {
        self.wait_for(|state| state.stopped).await;
    }

    /// Waits until no run is under way.
    pub(crate) async fn runs_ended(&self) {
        self.wait_for(|state| state.runs == 0).await;
    }

    /// Waits until no commit is under way.
    pub(crate) async fn commits_ended(&self) {
        self.wait_for(|state| state.commits == 0).await;
    }

    /// Waits until more than `seen` commits have ended, or the engine is stopped; returns how many
    /// have ended.
    pub(crate) async fn committed_beyond(&self, seen: u64) -> u64 {
        let state = self.wait_for(|state| state.committed > seen || state.stopped);
        state.await.map_or(seen, |state| state.committed)
    }

    async fn wait_for(&self, condition: impl FnMut(&State) -> bool) -> Option<State> {
        // The sender lives in `self`, so the channel is never closed.
        let mut receiver = self.0.subscribe();
        let state = receiver.wait_for(condition).await.ok()?;
        Some(*state)
    }
}

/// Counts a run as under way until it is dropped.
#[derive(Debug)]
pub(crate) struct RunPermit<'a>(&'a Shutdown);

impl Drop for RunPermit<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.runs -= 1);
    }
}

/// Counts a commit as under way until it is dropped.
#[derive(Debug)]
pub(crate) struct CommitPermit<'a>(&'a Shutdown);

impl Drop for CommitPermit<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| {
            state.commits -= 1;
            state.committed += 1;
        });
    }
}
