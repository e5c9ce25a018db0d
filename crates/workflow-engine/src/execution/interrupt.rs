//! The waker of a workflow's future, and the requests that reach its driver from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;

use crate::store::CancelRequest;
use crate::sync::lock;

/// Wakes the driver of one run, and holds what was requested of it: a cancel, a stop.
///
/// It is the waker with which the workflow's future is polled.
#[derive(Debug)]
pub(crate) struct Interrupt {
    driver: AtomicWaker,
    /// Whether the workflow's future was woken since it was polled last.
    woken: AtomicBool,
    has_requests: AtomicBool,
    requests: Mutex<Requests>,
}

/// Requests that the driver has not taken.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) cancel: Option<CancelRequest>,
    /// Whether no further operation may begin. It stays set.
    pub(crate) stop: bool,
}

impl Interrupt {
    pub(crate) fn new() -> Self {
        Self {
            driver: AtomicWaker::new(),
            // The first poll needs no wake-up.
            woken: AtomicBool::new(true),
            has_requests: AtomicBool::new(false),
            requests: Mutex::default(),
        }
    }

    /// Requests the cancel of the run.
    pub(crate) fn cancel(&self, request: CancelRequest) {
        self.request(|requests| {
            let earlier = requests.cancel.as_ref();
            let immediate = request.immediate || earlier.is_some_and(|earlier| earlier.immediate);
            requests.cancel = Some(CancelRequest {
                immediate,
                ..request
            });
        });
    }

    /// Requests that no further operation begins.
    pub(crate) fn stop(&self) {
        self.request(|requests| requests.stop = true);
    }

    fn request(&self, change: impl FnOnce(&mut Requests)) {
        change(&mut lock(&self.requests));
        self.has_requests.store(true, Ordering::Release);
        self.driver.wake();
    }

    /// Takes the requests that have come since the last call.
    pub(crate) fn take_requests(&self) -> Requests {
        if !self.has_requests.swap(false, Ordering::AcqRel) {
            return Requests::default();
        }
        let mut requests = lock(&self.requests);
        Requests {
            cancel: requests.cancel.take(),
            stop: requests.stop,
        }
    }

    /// Registers the task that polls the driver.
    pub(crate) fn register(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    /// Wakes the driver, and not the workflow's future.
    pub(crate) fn wake_driver(&self) {
        self.driver.wake();
    }

    /// Returns whether the workflow's future was woken; clears that.
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

impl Wake for Interrupt {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.driver.wake();
    }
}
