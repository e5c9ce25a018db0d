//! The task of a background tracker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracker_core::{BufferedTracker, Reason};

use crate::event::JsonEvent;
use crate::sending::while_sending;

/// The task that delivers in the background.
#[derive(Debug)]
pub(crate) struct Background {
    task: JoinHandle<()>,
    is_wanted: Arc<AtomicBool>,
}

impl Background {
    /// Starts a task on `runtime` that delivers the events of `tracker`.
    pub(crate) fn spawn(runtime: &Handle, tracker: Arc<BufferedTracker<JsonEvent>>) -> Self {
        let is_wanted = Arc::new(AtomicBool::new(true));
        let end_report = EndReport {
            tracker,
            is_wanted: is_wanted.clone(),
        };
        let task = runtime.spawn(while_sending(async move { end_report.tracker.run().await }));
        Self { task, is_wanted }
    }
}

/// Aborts the task. No event is lost, because the task holds events only in batches, and a dropped
/// batch gives its events back.
impl Drop for Background {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Release);
        self.task.abort();
    }
}

/// A guard in the task's future. If the future is dropped while the tracker still wants it, its
/// runtime has ended, and the guard reports this to the tracker.
struct EndReport {
    tracker: Arc<BufferedTracker<JsonEvent>>,
    is_wanted: Arc<AtomicBool>,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        if self.is_wanted.load(Ordering::Acquire) {
            self.tracker
                .background_ended(Reason::new("the runtime of its task has ended"));
        }
    }
}
