//! The fates of the first events of a batch.

use crate::transport::Reason;

/// The fates of the first events of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// How many events, from the front of the batch, have a fate.
    pub events: usize,
    /// Those of them that were rejected, by index. All others were delivered.
    pub rejected: Vec<(usize, Reason)>,
}

impl Settlement {
    /// The first `events` events were delivered.
    pub fn delivered(events: usize) -> Self {
        Self {
            events,
            rejected: Vec::new(),
        }
    }
}
