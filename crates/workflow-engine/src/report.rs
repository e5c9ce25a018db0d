//! What a flush or a shutdown of the engine achieved.

use std::fmt;

use tracker_core::{Books, Stop};

use crate::store::StoreError;

/// The state of delivery to every sink.
#[derive(Debug)]
#[must_use = "a flush or shutdown that did not deliver everything says so only here"]
pub struct EngineReport {
    /// One entry per sink, in the order in which they were added.
    pub sinks: Vec<SinkReport>,
    /// Runs that were still being executed. After a shutdown they write nothing more; they stay in the store.
    pub active_runs: usize,
}

/// The state of delivery to one sink.
#[derive(Debug)]
pub struct SinkReport {
    /// The sink's name.
    pub sink: String,
    /// Where every event of the history is, as far as this sink is concerned. Pending events stay in the store.
    pub books: Books,
    /// Why delivery ended early, if it did; `None` means that every event committed before the call has a fate.
    pub stop: Option<RelayStop>,
}

/// Why the delivery to a sink ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayStop {
    /// The sink did not take the events in time, or not at all.
    #[error(transparent)]
    Delivery(#[from] Stop),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EngineReport {
    /// Returns whether every event committed before the flush is delivered to every sink: what a flush should achieve.
    ///
    /// Events that were committed meanwhile may be pending. A sink that has ever rejected an event is not delivered.
    pub fn is_delivered(&self) -> bool {
        self.sinks.iter().all(|sink| sink.stop.is_none() && sink.books.rejected == 0)
    }

    /// Returns whether nothing at all is pending and no run is active: what a shutdown should achieve.
    pub fn is_complete(&self) -> bool {
        self.active_runs == 0 && self.is_delivered() && self.sinks.iter().all(|sink| sink.books.all_delivered())
    }

    /// Returns the report of one sink.
    pub fn sink(&self, name: &str) -> Option<&SinkReport> {
        self.sinks.iter().find(|sink| sink.sink == name)
    }
}

/// One line per sink: `collector: 412 accepted = 412 delivered + ...`, and why delivery ended early, if it did.
impl fmt::Display for EngineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sinks.is_empty() {
            return f.write_str("no sink, so nothing was to be delivered");
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            let end_of_last = if index > 0 { "\n" } else { "" };
            write!(f, "{end_of_last}{}: {}", sink.sink, sink.books)?;
            if let Some(stop) = &sink.stop {
                write!(f, " ({stop})")?;
            }
        }
        Ok(())
    }
}
