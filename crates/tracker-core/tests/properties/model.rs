//! After every operation of a random sequence, everything that can be seen of the buffer is what
//! the reference says.

use proptest::prelude::*;
use tracker_core::Seq;

use crate::reference::{Answer, Place, Reference};
use crate::world::{ARRIVALS, Limits, Op, Outcome, Refusal, SIZES, View, World, limits, ops};

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn every_observable_agrees_with_the_reference_after_every_operation(limits in limits(), ops in ops()) {
        let mut world = World::new(limits);
        let mut model = Model::new(limits);
        prop_assert_eq!(world.view(), model.view(), "before any operation");
        for (step, op) in ops.iter().enumerate() {
            prop_assert_eq!(world.apply(op), model.apply(op), "the answer to step {}, {:?}", step, op);
            prop_assert_eq!(world.view(), model.view(), "after step {}, {:?}", step, op);
        }
        // Dropping the remaining batches, in any order, gives their events back.
        while let Some(batch) = world.batches.pop() {
            drop(batch);
            model.apply(&Op::GiveBack(model.batches.len() - 1));
            prop_assert_eq!(world.view(), model.view(), "after a drop");
        }
    }
}

/// The reference, with the batches and the barriers that a user would hold.
struct Model {
    reference: Reference,
    batches: Vec<usize>,
    barriers: Vec<u64>,
    next_batch: usize,
    next_id: u64,
}

impl Model {
    fn new(limits: Limits) -> Self {
        Self {
            reference: Reference::new(limits),
            batches: vec![],
            barriers: vec![0],
            next_batch: 0,
            next_id: 0,
        }
    }

    fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Push(bytes) => self.push(*bytes, false),
            Op::PushEvicting(bytes) => self.push(*bytes, true),
            Op::PushWait(bytes) => match self.push(*bytes, false) {
                Outcome::Refused {
                    id,
                    why: Refusal::Full,
                } => Outcome::Abandoned { id },
                other => other,
            },
            Op::Mark => {
                self.barriers.push(self.reference.rows.len() as u64);
                Outcome::Done
            }
            Op::Batch(ago) => {
                let below = self.barriers[self.barriers.len() - 1 - ago % self.barriers.len()];
                self.next_batch += 1;
                match self.reference.checkout(below, self.next_batch) {
                    Answer::Settled => Outcome::Settled,
                    Answer::Busy => Outcome::Busy,
                    Answer::Leased(ids) => {
                        self.batches.push(self.next_batch);
                        Outcome::Leased(ids)
                    }
                }
            }
            Op::Ack(batch) if !self.batches.is_empty() => {
                let batch = self.batches.remove(batch % self.batches.len());
                let delivered = self
                    .reference
                    .transfer(Place::Leased(batch), Place::Delivered);
                Outcome::Fates {
                    delivered,
                    rejected: vec![],
                }
            }
            Op::Settle(batch, events, rejected) if !self.batches.is_empty() => {
                let batch = self.batches[batch % self.batches.len()];
                self.settle(batch, *events, rejected)
            }
            Op::GiveBack(batch) if !self.batches.is_empty() => {
                let batch = self.batches.remove(batch % self.batches.len());
                Outcome::GaveBack(self.reference.transfer(Place::Leased(batch), Place::Queued))
            }
            Op::Ack(_) | Op::Settle(..) | Op::GiveBack(_) => Outcome::Done,
            Op::Close => {
                self.reference.closed = true;
                Outcome::Done
            }
            Op::Recall => {
                self.reference.recalled = true;
                Outcome::Done
            }
            Op::Drain => Outcome::Drained(self.reference.transfer(Place::Queued, Place::Returned)),
        }
    }

    fn push(&mut self, bytes: usize, evict: bool) -> Outcome {
        self.next_id += 1;
        match self.reference.push(self.next_id, bytes, evict) {
            Ok(evicted) => Outcome::Accepted {
                id: self.next_id,
                evicted,
            },
            Err(why) => Outcome::Refused {
                id: self.next_id,
                why,
            },
        }
    }

    fn settle(&mut self, batch: usize, count: usize, rejected: &[usize]) -> Outcome {
        let held = self.reference.indices(Place::Leased(batch));
        let settled = &held[..count.min(held.len())];
        let refused = self.reference.settle(batch, count, rejected);
        // Where an index is listed twice, the first reason holds.
        let reason = |index| {
            let position = settled.iter().position(|other| *other == index);
            rejected
                .iter()
                .position(|listed| Some(*listed) == position)
                .map(|nth| nth.to_string())
        };
        let delivered: Vec<_> = settled
            .iter()
            .copied()
            .filter(|index| !refused.contains(index))
            .collect();
        let rejected = refused.iter().map(|index| {
            (
                *index as u64,
                self.reference.rows[*index].id,
                reason(*index).unwrap_or_default(),
            )
        });
        Outcome::Fates {
            rejected: rejected.collect(),
            delivered: self.reference.ids(&delivered),
        }
    }

    fn view(&self) -> View {
        let reference = &self.reference;
        let pending = reference.pending();
        let queued = reference.indices(Place::Queued);
        let limit = reference
            .limits
            .batch_bytes
            .min(reference.limits.capacity_bytes);
        let batch = |batch: &usize| {
            let held = reference.indices(Place::Leased(*batch));
            (
                reference.ids(&held),
                held.first().map(|index| *index as u64),
            )
        };
        let arrived = |events: usize| {
            let pressed = reference.pressed && !queued.is_empty();
            queued.len() >= events
                || reference.bytes(&queued) >= limit
                || pressed
                || reference.closed
        };
        View {
            books: reference.books(),
            watermark: reference.watermark(),
            barrier: reference.rows.len() as u64,
            phase: reference.phase(),
            pending_bytes: reference.bytes(&pending),
            batches: self.batches.iter().map(batch).collect(),
            recalled: reference.recalled && !self.batches.is_empty(),
            no_batch_in_flight: pending.len() == queued.len(),
            settled: self
                .barriers
                .iter()
                .map(|below| reference.watermark() >= *below)
                .collect(),
            room: (0..SIZES)
                .map(|bytes| reference.closed || bytes > limit || reference.has_room(bytes, &[]))
                .collect(),
            arrived: (0..ARRIVALS).map(arrived).collect(),
        }
    }
}

#[test]
fn the_first_event_accepted_has_place_zero() {
    let limits = Limits {
        capacity_events: 1,
        capacity_bytes: 1,
        batch_events: 1,
        batch_bytes: 1,
        in_flight: 1,
    };
    let mut world = World::new(limits);
    world.apply(&Op::Push(1));
    world.apply(&Op::Mark);
    world.apply(&Op::Batch(0));
    assert_eq!(world.batches[0].first().map(Seq::as_u64), Some(0));
}
