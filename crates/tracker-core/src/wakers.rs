//! Wakers: kept under a lock, woken after it is released.

use std::collections::BTreeMap;
use std::task::Waker;

/// Wakers that were taken under a lock, to be woken after it.
#[derive(Debug)]
#[must_use = "these waiters were promised a wake-up"]
pub(crate) struct Wakers(pub(crate) [BTreeMap<u64, Waker>; 3]);

impl Wakers {
    pub(crate) fn wake(self) {
        self.0
            .into_iter()
            .flat_map(BTreeMap::into_values)
            .for_each(Waker::wake);
    }
}

#[derive(Debug, Default)]
pub(crate) struct WakerSet {
    next_key: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl WakerSet {
    /// Takes all wakers of one set.
    pub(crate) fn take_all(&mut self) -> Wakers {
        Wakers([self.take(), BTreeMap::new(), BTreeMap::new()])
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<Waker> {
        self.wakers.remove(&key)
    }

    /// Takes all wakers.
    pub(crate) fn take(&mut self) -> BTreeMap<u64, Waker> {
        std::mem::take(&mut self.wakers)
    }

    /// Registers a waker under `key`, or under a new key; returns the waker that it replaces.
    pub(crate) fn register(&mut self, key: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let key = *key.get_or_insert_with(|| {
            self.next_key += 1;
            self.next_key
        });
        self.wakers.insert(key, waker)
    }
}
