//! Order: what is given back goes to the place it was taken from, and with one batch in flight the
//! far end sees one order.

use proptest::prelude::*;

use crate::world::{Event, Limits, Op, Outcome, World, ids, limits, ops};

/// Several batches over `events` events of one byte each, and how many of each batch are settled
/// first.
fn leased(events: usize, batch: usize, in_flight: usize, settled: &[usize]) -> (World, Vec<u64>) {
    let limits = Limits {
        capacity_events: events,
        capacity_bytes: events,
        batch_events: batch,
        batch_bytes: batch,
        in_flight,
    };
    let mut world = World::new(limits);
    (0..events).for_each(|_| drop(world.apply(&Op::Push(1))));
    world.apply(&Op::Mark);
    (0..in_flight).for_each(|_| drop(world.apply(&Op::Batch(0))));
    let mut left: Vec<u64> = (1..=events as u64).collect();
    for (batch, count) in settled.iter().enumerate().take(world.batches.len()) {
        let Outcome::Fates { delivered, .. } = world.apply(&Op::Settle(batch, *count, vec![]))
        else {
            unreachable!()
        };
        left.retain(|id| !delivered.contains(id));
    }
    (world, left)
}

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn giving_back_is_the_inverse_of_checkout_for_any_leases_in_any_order(
        events in 1..24usize,
        batch in 1..6usize,
        settled in prop::collection::vec(0..6usize, 1..6),
        picks in prop::collection::vec(0..6usize, 6),
        drop_them in any::<bool>(),
    ) {
        let (mut world, left) = leased(events, batch, settled.len(), &settled);
        let watermark = world.buffer.watermark();
        let bytes = world.buffer.pending_bytes();
        for pick in picks {
            if drop_them && !world.batches.is_empty() {
                let index = pick % world.batches.len();
                drop(world.batches.swap_remove(index));
            } else {
                world.apply(&Op::GiveBack(pick));
            }
            prop_assert_eq!(world.buffer.watermark(), watermark);
            prop_assert_eq!(world.buffer.pending_bytes(), bytes);
        }
        prop_assert_eq!(world.buffer.books().in_flight, 0);
        prop_assert_eq!(ids(&world.buffer.drain()), left);
    }

    #[test]
    fn what_is_given_back_always_fits(limits in limits(), sizes in prop::collection::vec(0..12usize, 0..30)) {
        let mut world = World::new(limits);
        for (step, bytes) in sizes.iter().enumerate() {
            world.apply(&Op::PushEvicting(*bytes));
            world.apply(&Op::Mark);
            world.apply(&Op::Batch(0));
            if step % 3 == 2 {
                world.batches.clear();
            }
            prop_assert!(world.buffer.books().pending() <= limits.capacity_events as u64);
            prop_assert!(world.buffer.pending_bytes() <= limits.capacity_bytes);
        }
    }

    #[test]
    fn with_one_lease_in_flight_fates_come_in_the_order_of_acceptance(limits in limits(), ops in ops()) {
        let mut world = World::new(Limits { in_flight: 1, ..limits });
        let mut wire = Vec::new();
        for op in &ops {
            if let Outcome::Fates { delivered, rejected } = world.apply(op) {
                let mut settled: Vec<u64> = rejected.iter().map(|(_, id, _)| *id).chain(delivered).collect();
                settled.sort_unstable();
                wire.extend(settled);
            }
        }
        prop_assert!(wire.is_sorted(), "the far end saw {:?}", wire);
    }
}

/// A batch taken later but given back earlier must not push its events in front of the older ones.
#[test]
fn a_younger_lease_that_comes_back_first_stays_behind_the_older_one() {
    let (world, _) = leased(6, 2, 3, &[]);
    let mut batches = world.batches.into_iter();
    let (Some(first), Some(second), Some(third)) = (batches.next(), batches.next(), batches.next())
    else {
        unreachable!()
    };
    drop(second);
    drop(first);
    drop(third);
    assert_eq!(
        world
            .buffer
            .drain()
            .iter()
            .map(|event: &Event| event.id)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
}
