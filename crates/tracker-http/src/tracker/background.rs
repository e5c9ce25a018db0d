//! The task of a background tracker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracker_core::{BufferedTracker, Reason};

use crate::event::JsonEvent;
use crate::sending::marked;

/// The task that delivers in the background.
#[derive(Debug)]
pub(crate) struct Background {
    task: JoinHandle<()>,
    wanted: Arc<AtomicBool>,
}

impl Background {
    /// Starts a task on `runtime` that delivers the events of `tracker`.
    pub(crate) fn spawn(runtime: &Handle, tracker: Arc<BufferedTracker<JsonEvent>>) -> Self {
        let wanted = Arc::new(AtomicBool::new(true));
        let running = Running {
            tracker,
            wanted: wanted.clone(),
        };
        let task = runtime.spawn(marked(async move { running.tracker.run().await }));
        Self { task, wanted }
    }
}

/// Ends the task; it only ever holds leases, which give their events back.
impl Drop for Background {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Release);
        self.task.abort();
    }
}

/// Lives as long as the task's future, and says when that is gone although the tracker is open: its
/// runtime has ended.
struct Running {
    tracker: Arc<BufferedTracker<JsonEvent>>,
    wanted: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.wanted.load(Ordering::Acquire) {
            self.tracker
                .background_ended(Reason::new("its task has ended, because its runtime has"));
        }
    }
}
