//! Reports on delivery: what a flush or a shutdown of the engine has achieved.

use std::fmt;

use serde::Deserialize;
use tracker_core::{Books, DeliveryError, Reason, SendError};

use crate::payload::EncodedEvent;
use crate::store::StoreError;

/// The state of delivery to every sink.
#[derive(Debug)]
#[must_use = "a flush or shutdown that did not deliver everything says so only here"]
pub struct EngineReport {
    /// One entry per sink, in the order in which they were added.
    pub sinks: Vec<SinkReport>,
    /// Sinks that have a cursor in the store and are not registered in this engine: sinks of
    /// another engine, and sinks that were removed or renamed. They hold up purges until their
    /// events have a fate; [`Engine::forget_sink`](crate::Engine::forget_sink) removes one that is
    /// not used any more.
    pub unregistered: Vec<UnregisteredSink>,
    /// Number of runs that are still being executed. After a shutdown they write nothing more, and
    /// stay in the store.
    pub active_runs: usize,
    /// Why [`Engine::work`](crate::Engine::work) has ended although the engine was not shut down: a
    /// panic of code that is not the engine's, such as a clock without a timer. `None` if it has
    /// not.
    pub work_ended: Option<Reason>,
}

/// The state of delivery to one sink.
#[derive(Debug)]
pub struct SinkReport {
    /// The sink's name.
    pub sink: String,
    /// The fates of all events of the history at this sink. Pending events stay in the store.
    pub books: Books,
    /// Why delivery ended early. `None` means that every event committed before the call has a
    /// fate.
    pub stop: Option<SinkError>,
    /// The error of the last delivery attempt; `None` after a success and before the first attempt.
    pub last_error: Option<SendError>,
    /// The first events that the sink has rejected since this engine was built, at most
    /// [`REJECTIONS_KEPT`](Self::REJECTIONS_KEPT). The books count all rejections, also those
    /// before.
    pub rejections: Vec<RejectedEvent>,
}

impl SinkReport {
    /// The most rejections that a report lists.
    pub const REJECTIONS_KEPT: usize = 32;
}

/// An event that a sink has rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedEvent {
    /// The event's `eventId`.
    pub event_id: String,
    /// The id of its run.
    pub run: String,
    /// Its place in the run's history.
    pub seq: u64,
    /// The reason that the sink gave.
    pub reason: Reason,
}

impl RejectedEvent {
    pub(crate) fn new(event: &EncodedEvent, reason: Reason) -> Self {
        /// The fields of an event that identify it.
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Envelope {
            event_id: String,
            workflow_id: String,
            seq: u64,
        }

        let Envelope {
            event_id,
            workflow_id,
            seq,
        } = serde_json::from_str(event.as_str()).unwrap_or_default();
        Self {
            event_id,
            run: workflow_id,
            seq,
            reason,
        }
    }
}

/// A sink that has a cursor in the store and is not registered in this engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnregisteredSink {
    /// The sink's name.
    pub sink: String,
    /// The fates of all events of the history at this sink.
    pub books: Books,
}

/// Why delivery to a sink ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The sink did not accept the events, or not in time.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EngineReport {
    /// Returns whether every event committed before the call was delivered to every sink: the goal
    /// of a flush.
    ///
    /// Events that were committed since may be pending. After a rejection, even one of an earlier
    /// engine, this returns false.
    pub fn is_delivered(&self) -> bool {
        self.sinks
            .iter()
            .all(|sink| sink.stop.is_none() && sink.books.rejected == 0)
    }

    /// Returns whether no event is pending and no run is active: the goal of a shutdown.
    pub fn is_complete(&self) -> bool {
        self.active_runs == 0
            && self.is_delivered()
            && self.sinks.iter().all(|sink| sink.books.all_delivered())
    }

    /// Returns the report of one sink.
    pub fn sink(&self, name: &str) -> Option<&SinkReport> {
        self.sinks.iter().find(|sink| sink.sink == name)
    }
}

/// One line per sink: `collector: 412 accepted = 412 delivered + ...`, and why delivery ended
/// early, if it did; then the sinks that are not registered.
impl fmt::Display for EngineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sinks.is_empty() {
            f.write_str("no sink, so nothing was to be delivered")?;
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            let end_of_last = if index > 0 { "\n" } else { "" };
            write!(f, "{end_of_last}{}: {}", sink.sink, sink.books)?;
            if let Some(stop) = &sink.stop {
                write!(f, " ({stop})")?;
            }
        }
        for UnregisteredSink { sink, books } in &self.unregistered {
            write!(
                f,
                "\n{sink} (not registered here; it holds up purges until it is forgotten): {books}"
            )?;
        }
        if let Some(reason) = &self.work_ended {
            write!(f, "\nthe worker has ended: {reason}")?;
        }
        Ok(())
    }
}
