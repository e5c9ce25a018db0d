//! The reference: one row per accepted event, and every answer computed from the rows alone.
//!
//! It is written from the documentation, not from the code: no queue, no table of batches, no
//! counters, nothing incremental. It is slow, and obviously right.

use std::collections::BTreeSet;

use tracker_core::{Books, Phase};

use crate::world::{Limits, Refusal};

/// The state of an accepted event; the last four are fates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Queued,
    /// In flight in the batch with this number.
    Leased(usize),
    Delivered,
    Rejected,
    Dropped,
    Returned,
}

/// An accepted event; its place in the order is the row's index.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) bytes: usize,
    pub(crate) place: Place,
}

/// Result of a request for a batch, with the ids of its events.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Leased(Vec<u64>),
    Busy,
    Settled,
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) limits: Limits,
    pub(crate) rows: Vec<Row>,
    pub(crate) closed: bool,
    pub(crate) recalled: bool,
    /// Whether the last push found no room.
    pub(crate) pressed: bool,
}

impl Reference {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            rows: Vec::new(),
            closed: false,
            recalled: false,
            pressed: false,
        }
    }

    /// Accepts the event and returns the events it displaced, or refuses it.
    pub(crate) fn push(&mut self, id: u64, bytes: usize, evict: bool) -> Result<Vec<u64>, Refusal> {
        let limit = self.limits.batch_bytes.min(self.limits.capacity_bytes);
        if self.closed {
            return Err(Refusal::Closed);
        }
        if bytes > limit {
            return Err(Refusal::TooLarge { bytes, limit });
        }
        // The fewest of the oldest queued events whose eviction makes room; none for a push that
        // may not evict.
        let queued = self.indices(Place::Queued);
        let most = if evict { queued.len() } else { 0 };
        let fewest = (0..=most).find(|count| self.has_room(bytes, &queued[..*count]));
        self.pressed = fewest != Some(0);
        let fewest = fewest.ok_or(Refusal::Full)?;
        queued[..fewest]
            .iter()
            .for_each(|index| self.rows[*index].place = Place::Dropped);
        self.rows.push(Row {
            id,
            bytes,
            place: Place::Queued,
        });
        Ok(self.ids(&queued[..fewest]))
    }

    /// Takes the oldest queued events below `below` that fit into one batch.
    pub(crate) fn checkout(&mut self, below: u64, batch: usize) -> Answer {
        if self.pending().iter().all(|index| *index as u64 >= below) {
            return Answer::Settled;
        }
        if self.recalled || self.leases_out() >= self.limits.in_flight {
            return Answer::Busy;
        }
        let queued: Vec<_> = self
            .indices(Place::Queued)
            .into_iter()
            .filter(|index| (*index as u64) < below)
            .collect();
        let fits = |count: &usize| {
            *count <= self.limits.batch_events
                && queued[..*count]
                    .iter()
                    .map(|index| self.rows[*index].bytes)
                    .sum::<usize>()
                    <= self.limits.batch_bytes
        };
        let Some(most) = (1..=queued.len()).rev().find(fits) else {
            return Answer::Busy;
        };
        queued[..most]
            .iter()
            .for_each(|index| self.rows[*index].place = Place::Leased(batch));
        Answer::Leased(self.ids(&queued[..most]))
    }

    /// Decides the fates of the first `count` events of a batch; returns the rows that were
    /// rejected.
    pub(crate) fn settle(&mut self, batch: usize, count: usize, rejected: &[usize]) -> Vec<usize> {
        let settled: Vec<_> = self
            .indices(Place::Leased(batch))
            .into_iter()
            .take(count)
            .collect();
        for (position, index) in settled.iter().enumerate() {
            let refused = rejected.contains(&position);
            self.rows[*index].place = if refused {
                Place::Rejected
            } else {
                Place::Delivered
            };
        }
        settled
            .into_iter()
            .filter(|index| self.rows[*index].place == Place::Rejected)
            .collect()
    }

    /// Moves every event from one place to another; returns their ids in order.
    pub(crate) fn transfer(&mut self, from: Place, to: Place) -> Vec<u64> {
        let moved = self.indices(from);
        moved.iter().for_each(|index| self.rows[*index].place = to);
        self.ids(&moved)
    }

    pub(crate) fn books(&self) -> Books {
        let count = |place| self.indices(place).len() as u64;
        Books {
            accepted: self.rows.len() as u64,
            delivered: count(Place::Delivered),
            rejected: count(Place::Rejected),
            dropped: count(Place::Dropped),
            returned: count(Place::Returned),
            queued: count(Place::Queued),
            in_flight: self
                .rows
                .iter()
                .filter(|row| matches!(row.place, Place::Leased(_)))
                .count() as u64,
        }
    }

    pub(crate) fn watermark(&self) -> u64 {
        self.pending().first().copied().unwrap_or(self.rows.len()) as u64
    }

    pub(crate) fn phase(&self) -> Phase {
        match (self.closed, self.pending().is_empty()) {
            (false, _) => Phase::Open,
            (true, false) => Phase::Closing,
            (true, true) => Phase::Closed,
        }
    }

    pub(crate) fn bytes(&self, indices: &[usize]) -> usize {
        indices.iter().map(|index| self.rows[*index].bytes).sum()
    }

    pub(crate) fn has_room(&self, bytes: usize, without: &[usize]) -> bool {
        let pending: Vec<_> = self
            .pending()
            .into_iter()
            .filter(|index| !without.contains(index))
            .collect();
        pending.len() < self.limits.capacity_events
            && self.bytes(&pending) + bytes <= self.limits.capacity_bytes
    }

    pub(crate) fn pending(&self) -> Vec<usize> {
        let unsettled = |place| matches!(place, Place::Queued | Place::Leased(_));
        (0..self.rows.len())
            .filter(|index| unsettled(self.rows[*index].place))
            .collect()
    }

    pub(crate) fn indices(&self, place: Place) -> Vec<usize> {
        (0..self.rows.len())
            .filter(|index| self.rows[*index].place == place)
            .collect()
    }

    pub(crate) fn ids(&self, indices: &[usize]) -> Vec<u64> {
        indices.iter().map(|index| self.rows[*index].id).collect()
    }

    fn leases_out(&self) -> usize {
        let batch = |row: &Row| {
            if let Place::Leased(batch) = row.place {
                Some(batch)
            } else {
                None
            }
        };
        self.rows
            .iter()
            .filter_map(batch)
            .collect::<BTreeSet<_>>()
            .len()
    }
}
