//! Waiting on a buffer: check and register in one critical section, wake all, check again.
//!
//! A waker is code of a runtime: it is cloned before the lock is taken, and woken and dropped after
//! the lock is released.

use std::task::{Context, Poll};

use crate::buffer::shared::Shared;
use crate::buffer::state::BufferState;
use crate::buffer::waiters::WaitFor;
use crate::wakers::Wakers;

/// A waiter's place in a set, which is given up when this is dropped.
pub(crate) struct Ticket<'a, E> {
    shared: &'a Shared<E>,
    wait_for: WaitFor,
    key: Option<u64>,
}

impl<'a, E> Ticket<'a, E> {
    pub(crate) fn new(shared: &'a Shared<E>, wait_for: WaitFor) -> Self {
        Self {
            shared,
            wait_for,
            key: None,
        }
    }

    /// Completes once `check` returns `Some`. The check and the registration of the waker happen
    /// under one lock.
    pub(crate) async fn until<T>(
        mut self,
        mut check: impl FnMut(&mut BufferState<E>) -> Option<T>,
    ) -> T {
        std::future::poll_fn(|cx| self.poll(cx, &mut check)).await
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        check: &mut impl FnMut(&mut BufferState<E>) -> Option<T>,
    ) -> Poll<T> {
        let waker = cx.waker().clone();
        let mut locked = self.shared.lock();
        if let Some(answer) = check(&mut locked.state) {
            return Poll::Ready(answer);
        }
        // Wake deliveries, because a push needs room.
        let deliver = match (self.wait_for, self.key) {
            (WaitFor::Room, None) => {
                locked.state.add_room_waiter();
                let queued = locked.state.queued();
                locked.waiters.after_push(queued, true)
            }
            _ => None,
        };
        let replaced = locked.waiters.register(self.wait_for, &mut self.key, waker);
        drop(locked);
        drop(replaced);
        deliver.into_iter().for_each(Wakers::wake);
        Poll::Pending
    }
}

impl<E> Drop for Ticket<'_, E> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut locked = self.shared.lock();
            if let WaitFor::Room = self.wait_for {
                locked.state.remove_room_waiter();
            }
            let own = locked.waiters.set(self.wait_for).remove(key);
            drop(locked);
            drop(own);
        }
    }
}

/// Waits until the buffer asks for its events back.
pub(crate) async fn recalled<E>(shared: &Shared<E>) {
    Ticket::new(shared, WaitFor::Progress)
        .until(|state| state.recalled().then_some(()))
        .await;
}
