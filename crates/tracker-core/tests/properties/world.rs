//! The buffer under test, and the operations that a random test performs on it through the public
//! API.

use futures::FutureExt;
use proptest::prelude::*;
use tracker_core::{Batch, Books, Config, EventBuffer, Phase, PushError, Reason, Seq, Settlement};

/// An event that cannot be copied, so the compiler checks that none is duplicated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) capacity_events: usize,
    pub(crate) capacity_bytes: usize,
    pub(crate) batch_events: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) in_flight: usize,
}

/// An operation. A `usize` selects a batch or a barrier, modulo their number.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Push(usize),
    PushEvicting(usize),
    /// Polls a waiting push once and drops it.
    PushWait(usize),
    /// Captures a barrier for a later batch.
    Mark,
    /// Polls for a batch once, below the barrier captured that many marks ago.
    Batch(usize),
    Ack(usize),
    Settle(usize, usize, Vec<usize>),
    GiveBack(usize),
    Close,
    Recall,
    Drain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Closed,
    Full,
    TooLarge { bytes: usize, limit: usize },
}

/// Result of an operation, in ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted {
        id: u64,
        evicted: Vec<u64>,
    },
    Refused {
        id: u64,
        why: Refusal,
    },
    /// The waiting push was dropped, and its event with it.
    Abandoned {
        id: u64,
    },
    Leased(Vec<u64>),
    Busy,
    Settled,
    /// The places and ids of the rejected events with the reasons, and the ids of the others.
    Fates {
        delivered: Vec<u64>,
        rejected: Vec<(u64, u64, String)>,
    },
    GaveBack(Vec<u64>),
    Drained(Vec<u64>),
    Done,
}

/// Everything that can be seen of a buffer without changing it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) books: Books,
    pub(crate) watermark: u64,
    pub(crate) barrier: u64,
    pub(crate) phase: Phase,
    pub(crate) pending_bytes: usize,
    /// The events of each batch, by id, and the place of the first.
    pub(crate) batches: Vec<(Vec<u64>, Option<u64>)>,
    pub(crate) recalled: bool,
    pub(crate) no_batch_in_flight: bool,
    /// Whether everything below each captured barrier has a fate.
    pub(crate) settled: Vec<bool>,
    /// Whether there is room for 0, 1, .. bytes.
    pub(crate) room: Vec<bool>,
    /// Whether 0, 1, .. events have arrived.
    pub(crate) arrived: Vec<bool>,
}

pub(crate) const SIZES: usize = 21;
pub(crate) const ARRIVALS: usize = 7;

pub(crate) struct World {
    pub(crate) buffer: EventBuffer<Event>,
    pub(crate) batches: Vec<Batch<Event>>,
    pub(crate) barriers: Vec<Seq>,
    next_id: u64,
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        let buffer = EventBuffer::with_size_of(&limits.config(), |event: &Event| event.bytes);
        let barriers = vec![buffer.barrier()];
        Self {
            buffer,
            batches: Vec::new(),
            barriers,
            next_id: 0,
        }
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Push(bytes) => {
                let event = self.event(*bytes);
                pushed(
                    event.id,
                    *bytes,
                    self.buffer.push(event).map(|()| Vec::new()),
                )
            }
            Op::PushEvicting(bytes) => {
                let event = self.event(*bytes);
                pushed(event.id, *bytes, self.buffer.push_evicting(event))
            }
            Op::PushWait(bytes) => {
                let event = self.event(*bytes);
                let id = event.id;
                match self.buffer.push_wait(event).now_or_never() {
                    None => Outcome::Abandoned { id },
                    Some(answer) => pushed(id, *bytes, answer.map(|()| Vec::new())),
                }
            }
            Op::Mark => {
                self.barriers.push(self.buffer.barrier());
                Outcome::Done
            }
            Op::Batch(ago) => match self.buffer.next_batch(self.barrier(*ago)).now_or_never() {
                None => Outcome::Busy,
                Some(None) => Outcome::Settled,
                Some(Some(batch)) => {
                    let leased = ids(batch.events());
                    self.batches.push(batch);
                    Outcome::Leased(leased)
                }
            },
            Op::Ack(batch) if !self.batches.is_empty() => {
                let batch = self.batches.remove(batch % self.batches.len());
                let delivered = ids(batch.events());
                batch.ack();
                Outcome::Fates {
                    delivered,
                    rejected: vec![],
                }
            }
            Op::Settle(batch, events, rejected) if !self.batches.is_empty() => {
                let index = batch % self.batches.len();
                settle(&mut self.batches[index], *events, rejected)
            }
            Op::GiveBack(batch) if !self.batches.is_empty() => {
                let batch = self.batches.remove(batch % self.batches.len());
                let given = ids(batch.events());
                batch.give_back();
                Outcome::GaveBack(given)
            }
            Op::Ack(_) | Op::Settle(..) | Op::GiveBack(_) => Outcome::Done,
            Op::Close => {
                self.buffer.close();
                Outcome::Done
            }
            Op::Recall => {
                self.buffer.recall();
                Outcome::Done
            }
            Op::Drain => Outcome::Drained(ids(&self.buffer.drain())),
        }
    }

    pub(crate) fn view(&self) -> View {
        let buffer = &self.buffer;
        let recalled: Vec<_> = self
            .batches
            .iter()
            .map(|batch| batch.recalled().now_or_never().is_some())
            .collect();
        assert!(
            recalled.iter().all(|is| *is == recalled[0]),
            "a recall concerns every batch: {recalled:?}"
        );
        View {
            books: buffer.books(),
            watermark: buffer.watermark().as_u64(),
            barrier: buffer.barrier().as_u64(),
            phase: buffer.phase(),
            pending_bytes: buffer.pending_bytes(),
            batches: self
                .batches
                .iter()
                .map(|batch| (ids(batch.events()), batch.first().map(Seq::as_u64)))
                .collect(),
            recalled: recalled.first().copied().unwrap_or_default(),
            no_batch_in_flight: buffer.no_batch_in_flight().now_or_never().is_some(),
            settled: self
                .barriers
                .iter()
                .map(|below| buffer.settled(*below).now_or_never().is_some())
                .collect(),
            room: (0..SIZES)
                .map(|bytes| buffer.room(bytes).now_or_never().is_some())
                .collect(),
            arrived: (0..ARRIVALS)
                .map(|events| buffer.arrival(events).now_or_never().is_some())
                .collect(),
        }
    }

    /// The barrier that was captured `ago` marks before the last.
    pub(crate) fn barrier(&self, ago: usize) -> Seq {
        self.barriers[self.barriers.len() - 1 - ago % self.barriers.len()]
    }

    fn event(&mut self, bytes: usize) -> Event {
        self.next_id += 1;
        Event {
            id: self.next_id,
            bytes,
        }
    }
}

fn pushed(id: u64, bytes: usize, answer: Result<Vec<Event>, PushError<Event>>) -> Outcome {
    let refused = match answer {
        Ok(evicted) => {
            return Outcome::Accepted {
                id,
                evicted: ids(&evicted),
            };
        }
        Err(refused) => refused,
    };
    let why = match &refused {
        PushError::Closed(_) => Refusal::Closed,
        PushError::Full(_) => Refusal::Full,
        PushError::TooLarge { bytes, limit, .. } => Refusal::TooLarge {
            bytes: *bytes,
            limit: *limit,
        },
        other => panic!("a buffer encodes nothing and has no background: {other}"),
    };
    assert_eq!(
        (refused.is_closed(), refused.is_full()),
        (why == Refusal::Closed, why == Refusal::Full)
    );
    assert_eq!(
        refused.into_event(),
        Event { id, bytes },
        "a refusal returns the event that was pushed"
    );
    Outcome::Refused { id, why }
}

fn settle(batch: &mut Batch<Event>, events: usize, rejected: &[usize]) -> Outcome {
    let mut delivered = ids(&batch.events()[..events.min(batch.events().len())]);
    let rejected = rejected
        .iter()
        .enumerate()
        .map(|(nth, index)| (*index, Reason::new(format!("{nth}"))))
        .collect();
    let rejected: Vec<_> = batch
        .settle(Settlement { events, rejected })
        .into_iter()
        .map(|(seq, event, reason)| (seq.as_u64(), event.id, reason.to_string()))
        .collect();
    delivered.retain(|id| rejected.iter().all(|(_, refused, _)| refused != id));
    Outcome::Fates {
        delivered,
        rejected,
    }
}

pub(crate) fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.id).collect()
}

impl Limits {
    pub(crate) fn config(&self) -> Config {
        Config::builder()
            .capacity_events(self.capacity_events)
            .capacity_bytes(self.capacity_bytes)
            .batch_events(self.batch_events)
            .batch_bytes(self.batch_bytes)
            .in_flight(self.in_flight)
            .build()
            .expect("no limit is zero")
    }
}

prop_compose! {
    pub(crate) fn limits()(
        capacity_events in prop_oneof![1 => 1..4usize, 3 => 4..12usize],
        capacity_bytes in prop_oneof![1 => 1..8usize, 3 => 8..48usize],
        batch_events in 1..6usize,
        batch_bytes in prop_oneof![1 => 1..5usize, 3 => 5..20usize],
        in_flight in 1..=3usize,
    ) -> Limits {
        Limits { capacity_events, capacity_bytes, batch_events, batch_bytes, in_flight }
    }
}

/// Sequences that mostly push, take batches and settle; a third of them close, recall or drain at
/// some point.
pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let size = || 0..SIZES;
    let small = || 0..6usize;
    let op = prop_oneof![
        8 => small().prop_map(Op::Push),
        2 => size().prop_map(Op::Push),
        3 => small().prop_map(Op::PushEvicting),
        1 => size().prop_map(Op::PushEvicting),
        2 => size().prop_map(Op::PushWait),
        6 => Just(Op::Mark),
        6 => Just(Op::Batch(0)),
        3 => (0..6usize).prop_map(Op::Batch),
        3 => (0..4usize).prop_map(Op::Ack),
        5 => (0..4usize, 0..6usize, prop::collection::vec(0..6usize, 0..4)).prop_map(|(l, n, r)| Op::Settle(l, n, r)),
        5 => (0..4usize).prop_map(Op::GiveBack),
        1 => Just(Op::Drain),
    ];
    let last = prop_oneof![3 => Just(Op::Close), 1 => Just(Op::Recall), 2 => Just(Op::Mark)];
    let tail = prop::collection::vec(op.clone(), 0..24);
    (prop::collection::vec(op, 0..60), last, tail).prop_map(|(mut ops, last, tail)| {
        ops.push(last);
        ops.extend(tail);
        ops
    })
}
