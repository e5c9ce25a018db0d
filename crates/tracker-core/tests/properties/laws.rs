//! The promises of the buffer, one by one, checked on the trace of a random sequence without the
//! reference.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tracker_core::{Phase, Seq};

use crate::world::{Limits, Op, Outcome, Refusal, World, limits, ops};

/// Tallies of the trace so far, in ids.
#[derive(Default)]
struct Trace {
    /// The ids accepted, by their places.
    accepted: Vec<u64>,
    sizes: BTreeMap<u64, usize>,
    fates: BTreeMap<u64, &'static str>,
    queued: BTreeSet<u64>,
    pushed: u64,
}

impl Trace {
    fn record(&mut self, op: &Op, outcome: &Outcome) {
        if let Op::Push(bytes) | Op::PushEvicting(bytes) | Op::PushWait(bytes) = op {
            self.pushed += 1;
            self.sizes.insert(self.pushed, *bytes);
        }
        match outcome {
            Outcome::Accepted { id, evicted } => {
                evicted.iter().for_each(|id| self.fate(*id, "dropped"));
                self.accepted.push(*id);
                self.queued.insert(*id);
            }
            Outcome::Leased(ids) => self.queued.retain(|id| !ids.contains(id)),
            Outcome::GaveBack(ids) => self.queued.extend(ids),
            Outcome::Fates {
                delivered,
                rejected,
            } => {
                delivered.iter().for_each(|id| self.fate(*id, "delivered"));
                rejected
                    .iter()
                    .for_each(|(_, id, _)| self.fate(*id, "rejected"));
            }
            Outcome::Drained(ids) => ids.iter().for_each(|id| self.fate(*id, "returned")),
            _ => {}
        }
    }

    fn fate(&mut self, id: u64, fate: &'static str) {
        assert!(
            self.accepted.contains(&id),
            "event {id} was {fate} but never accepted"
        );
        let before = self.fates.insert(id, fate);
        assert_eq!(before, None, "event {id} was {fate} and has another fate");
        self.queued.remove(&id);
    }

    fn count(&self, fate: &str) -> u64 {
        self.fates.values().filter(|other| **other == fate).count() as u64
    }
}

/// Performs `ops` and calls `check` after each.
fn trace(
    limits: Limits,
    ops: &[Op],
    mut check: impl FnMut(&World, &Trace, &Op, &Outcome),
) -> (World, Trace) {
    let mut world = World::new(limits);
    let mut trace = Trace::default();
    for op in ops {
        let outcome = world.apply(op);
        trace.record(op, &outcome);
        check(&world, &trace, op, &outcome);
    }
    (world, trace)
}

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn each_accepted_event_has_exactly_one_fate(limits in limits(), ops in ops()) {
        let (mut world, mut trace) = trace(limits, &ops, |_, _, _, _| {});
        world.batches.clear();
        let left = world.apply(&Op::Drain);
        trace.record(&Op::Drain, &left);
        let (fates, accepted): (Vec<_>, Vec<_>) = (trace.fates.keys().collect(), trace.accepted.iter().collect());
        prop_assert_eq!(fates, accepted);
    }

    #[test]
    fn the_books_balance_and_count_what_happened(limits in limits(), ops in ops()) {
        trace(limits, &ops, |world, trace, op, _| {
            let books = world.buffer.books();
            let held: usize = world.batches.iter().map(|batch| batch.events().len()).sum();
            assert!(books.is_balanced(), "{books} after {op:?}");
            assert_eq!(books.accepted, trace.accepted.len() as u64, "after {op:?}");
            assert_eq!(books.delivered, trace.count("delivered"), "after {op:?}");
            assert_eq!(books.rejected, trace.count("rejected"), "after {op:?}");
            assert_eq!(books.dropped, trace.count("dropped"), "after {op:?}");
            assert_eq!(books.returned, trace.count("returned"), "after {op:?}");
            assert_eq!(books.in_flight, held as u64, "pending is never understated while batches are in flight");
            assert_eq!(books.queued, trace.queued.len() as u64, "after {op:?}");
        });
    }

    #[test]
    fn pending_never_exceeds_the_capacity(limits in limits(), ops in ops()) {
        trace(limits, &ops, |world, trace, op, _| {
            let pending = trace.accepted.iter().filter(|id| !trace.fates.contains_key(id));
            let bytes: usize = pending.map(|id| trace.sizes[id]).sum();
            assert!(world.buffer.books().pending() <= limits.capacity_events as u64, "after {op:?}");
            assert!(bytes <= limits.capacity_bytes, "{bytes} bytes are pending after {op:?}");
            assert_eq!(world.buffer.pending_bytes(), bytes, "after {op:?}");
        });
    }

    #[test]
    fn a_refusal_is_deserved_and_changes_nothing(limits in limits(), ops in ops()) {
        let mut before = Default::default();
        trace(limits, &ops, |world, _, op, outcome| {
            let pending = (world.buffer.books(), world.buffer.pending_bytes());
            // That it returns the event is asserted for every refusal of every test, where it is
            // unpacked.
            if let Outcome::Refused { why, .. } = outcome {
                let (Op::Push(bytes) | Op::PushEvicting(bytes) | Op::PushWait(bytes)) = op else { unreachable!() };
                let largest = limits.batch_bytes.min(limits.capacity_bytes);
                let room = pending.0.pending() < limits.capacity_events as u64
                    && pending.1 + bytes <= limits.capacity_bytes;
                match why {
                    Refusal::Closed => assert_ne!(world.buffer.phase(), Phase::Open),
                    Refusal::TooLarge { .. } => assert!(*bytes > largest),
                    Refusal::Full => assert!(!room && *bytes <= largest && !matches!(op, Op::PushWait(_))),
                }
                assert_eq!(before, pending, "{op:?} was refused");
            }
            before = pending;
        });
    }

    #[test]
    fn eviction_takes_the_fewest_oldest_queued_events_or_none(limits in limits(), ops in ops()) {
        let mut queued = BTreeSet::new();
        trace(limits, &ops, |world, trace, op, outcome| {
            if let (Op::PushEvicting(_), Outcome::Accepted { id, evicted }) = (op, outcome) {
                let oldest: Vec<u64> = queued.iter().copied().take(evicted.len()).collect();
                assert_eq!(*evicted, oldest, "never what is in flight, never out of order");
                if let Some(spared) = evicted.last() {
                    let books = world.buffer.books();
                    let fits = books.pending() < limits.capacity_events as u64
                        && world.buffer.pending_bytes() + trace.sizes[spared] <= limits.capacity_bytes;
                    assert!(!fits, "event {spared} need not have gone for {id}");
                }
            }
            if let (Op::PushEvicting(bytes), Outcome::Refused { why: Refusal::Full, .. }) = (op, outcome) {
                assert_eq!(queued, trace.queued, "an eviction that cannot succeed evicts nothing");
                let in_flight: usize =
                    world.batches.iter().flat_map(|batch| batch.events()).map(|event| event.bytes).sum();
                let full = world.buffer.books().in_flight == limits.capacity_events as u64;
                assert!(full || in_flight + bytes > limits.capacity_bytes, "evicting would have made room");
            }
            queued.clone_from(&trace.queued);
        });
    }

    #[test]
    fn the_watermark_is_monotone_and_truthful(limits in limits(), ops in ops()) {
        let mut last = 0;
        trace(limits, &ops, |world, trace, op, _| {
            let watermark = world.buffer.watermark().as_u64();
            assert!(watermark >= last, "it went back after {op:?}");
            let fate = |id: &u64| trace.fates.contains_key(id);
            let (below, above) = trace.accepted.split_at(watermark as usize);
            assert!(below.iter().all(fate), "an event below it has no fate after {op:?}");
            assert!(above.first().is_none_or(|id| !fate(id)), "it could be higher after {op:?}");
            last = watermark;
        });
    }

    #[test]
    fn phases_only_move_forward_and_closed_implies_nothing_pending(limits in limits(), ops in ops()) {
        let mut last = Phase::Open;
        trace(limits, &ops, |world, _, op, outcome| {
            let phase = world.buffer.phase();
            assert!(phase >= last, "{last:?} became {phase:?}");
            assert_eq!(phase == Phase::Closed, phase != Phase::Open && world.buffer.books().pending() == 0);
            assert!(phase == Phase::Open || !matches!(outcome, Outcome::Accepted { .. }), "accepted after the close");
            assert!(!matches!(op, Op::Close) || phase != Phase::Open);
            last = phase;
        });
    }

    #[test]
    fn a_batch_stays_within_its_limits_and_below_its_barrier(limits in limits(), ops in ops()) {
        trace(limits, &ops, |world, trace, op, outcome| {
            let Op::Batch(ago) = op else { return };
            let below: Seq = world.barrier(*ago);
            let out = world.batches.iter().filter(|batch| !batch.events().is_empty()).count();
            assert!(out <= limits.in_flight, "too many batches are in flight");
            if let Outcome::Leased(ids) = outcome {
                let bytes: usize = ids.iter().map(|id| trace.sizes[id]).sum();
                assert!((1..=limits.batch_events).contains(&ids.len()) && bytes <= limits.batch_bytes, "{ids:?}");
                assert!(ids.is_sorted(), "a batch is in order");
                let places = trace.accepted.iter().take(below.as_u64() as usize).collect::<BTreeSet<_>>();
                assert!(ids.iter().all(|id| places.contains(id)), "an event is not below the barrier");
            }
        });
    }

    #[test]
    fn a_drain_returns_exactly_what_is_queued_in_order(limits in limits(), ops in ops()) {
        let mut queued = BTreeSet::new();
        trace(limits, &ops, |world, trace, _, outcome| {
            if let Outcome::Drained(ids) = outcome {
                assert_eq!(*ids, queued.iter().copied().collect::<Vec<u64>>());
                assert_eq!(world.buffer.books().queued, 0);
            }
            queued.clone_from(&trace.queued);
        });
    }
}
