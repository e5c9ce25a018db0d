//! What the handles, batches and waiters of one buffer share: the state and its lock.

use crate::buffer::state::BufferState;
use crate::buffer::waiters::Waiters;
use crate::sync::{Mutex, MutexGuard};

pub(crate) struct Shared<E> {
    pub(crate) locked: Mutex<Locked<E>>,
    pub(crate) size_of: fn(&E) -> usize,
}

pub(crate) struct Locked<E> {
    pub(crate) state: BufferState<E>,
    pub(crate) waiters: Waiters,
}

impl<E> Shared<E> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Locked<E>> {
        self.locked.lock()
    }

    /// Applies an operation that is not a push, and wakes every waiter once the lock is released.
    pub(crate) fn change<T>(&self, operation: impl FnOnce(&mut BufferState<E>) -> T) -> T {
        let mut locked = self.lock();
        let answer = operation(&mut locked.state);
        let wakers = locked.waiters.after_change();
        drop(locked);
        wakers.wake();
        answer
    }
}

impl<E> Drop for Shared<E> {
    fn drop(&mut self) {
        let books = self.lock().state.books();
        if books.pending() > 0 {
            tracing::error!(unsettled = books.pending(), %books, "an event buffer was dropped with unsettled events");
        }
    }
}
