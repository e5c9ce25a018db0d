//! Events in the order of their acceptance.

/// A place in the order of acceptance, from 0: that of an event, or the place before which a
/// barrier waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub(crate) u64);

impl Seq {
    /// Returns the place as a number; the first event accepted has 0.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// An accepted event with its place.
pub(crate) struct Entry<E> {
    pub(crate) place: Place,
    pub(crate) event: E,
}

/// The place of an event, and the bytes that it counts.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) seq: Seq,
    pub(crate) bytes: usize,
}

/// Events that are taken from the queue, and their places.
pub(crate) struct Leased<E> {
    pub(crate) id: u64,
    pub(crate) events: Vec<E>,
    pub(crate) places: Vec<Place>,
}
