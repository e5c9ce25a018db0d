//! What reaches a run that is executed, from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;

use crate::active::lock;
use crate::store::CancelRequest;

/// What reaches the driver of one run: wake-ups of the workflow's future, cancels, and the engine's
/// shutdown.
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
        self.order(|orders| {
            let at_once = request.at_once
                || orders
                    .cancel
                    .as_ref()
                    .is_some_and(|standing| standing.at_once);
            orders.cancel = Some(CancelRequest { at_once, ..request });
        });
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
