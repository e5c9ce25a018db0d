//! No wake-up is lost: a waiter whose condition has come true has been woken by the operation that
//! made it so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use proptest::prelude::*;
use tracker_core::{EventBuffer, Seq};

use crate::world::{Event, Limits, Op, World, limits, ops};

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The condition that a waiter waits for.
#[derive(Clone, Copy, Debug)]
enum Condition {
    Arrival(usize),
    Room(usize),
    Settled(Seq),
    NoLeaseOut,
}

impl Condition {
    fn wait(self, buffer: &EventBuffer<Event>) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        match self {
            Self::Arrival(events) => Box::pin(buffer.arrival(events)),
            Self::Room(bytes) => Box::pin(buffer.room(bytes)),
            Self::Settled(below) => Box::pin(buffer.settled(below)),
            Self::NoLeaseOut => Box::pin(buffer.no_batch_in_flight()),
        }
    }

    /// Returns whether the condition holds now, as a new waiter would find it.
    fn holds(self, buffer: &EventBuffer<Event>) -> bool {
        self.wait(buffer)
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }
}

struct Waiter<'a> {
    condition: Condition,
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    woken: Arc<Flag>,
}

impl<'a> Waiter<'a> {
    fn new(condition: Condition, buffer: &'a EventBuffer<Event>) -> Self {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        Self {
            condition,
            future: condition.wait(buffer),
            woken,
        }
    }

    /// Polls if woken, as an executor does.
    fn run(&mut self) -> bool {
        let waker = Waker::from(self.woken.clone());
        self.woken.0.swap(false, Ordering::Relaxed)
            && self
                .future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
    }
}

/// Runs `ops` beside waiters of every kind, started at different times, some of them dropped while
/// they wait.
fn no_wake_up_is_lost(limits: Limits, ops: &[Op], kinds: &[(usize, usize)]) {
    let mut world = World::new(limits);
    let buffer = world.buffer.clone();
    let mut waiters: Vec<Waiter<'_>> = Vec::new();
    for (step, op) in ops.iter().enumerate() {
        let (kind, argument) = kinds[step % kinds.len()];
        let condition = match kind {
            0 => Condition::Arrival(argument),
            1 => Condition::Room(argument),
            2 => Condition::Settled(buffer.barrier()),
            _ => Condition::NoLeaseOut,
        };
        waiters.push(Waiter::new(condition, &buffer));
        waiters.retain_mut(|waiter| !waiter.run());
        if waiters.len() > 8 {
            waiters.remove(argument % 8);
        }
        world.apply(op);
        waiters.retain_mut(|waiter| {
            let answered = waiter.run();
            let condition = waiter.condition;
            assert_eq!(
                answered,
                condition.holds(&buffer),
                "{condition:?} after {op:?}: true and not told, or told wrongly"
            );
            !answered
        });
    }
}

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn a_waiter_is_woken_by_the_operation_that_it_waits_for(
        limits in limits(),
        ops in ops(),
        kinds in prop::collection::vec((0..4usize, 0..6usize), 1..40),
    ) {
        no_wake_up_is_lost(limits, &ops, &kinds);
    }
}

/// Polls `next_batch` and `recalled` as an executor does, across the operations that they wait for.
#[test]
fn a_flush_and_a_lease_holder_hear_of_settlement_give_back_and_recall() {
    let limits = Limits {
        capacity_events: 4,
        capacity_bytes: 4,
        batch_events: 1,
        batch_bytes: 1,
        in_flight: 1,
    };
    let mut world = World::new(limits);
    [Op::Push(1), Op::Push(1), Op::Mark, Op::Batch(0)]
        .iter()
        .for_each(|op| drop(world.apply(op)));
    let buffer = world.buffer.clone();
    let woken = Arc::new(Flag::default());
    let waker = Waker::from(woken.clone());
    let mut next = Box::pin(buffer.next_batch(buffer.barrier()));
    assert!(
        next.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending(),
        "one batch at a time"
    );
    world.apply(&Op::GiveBack(0));
    assert!(
        woken.0.swap(false, Ordering::Relaxed),
        "a batch that is given back wakes a waiter for a batch"
    );
    let std::task::Poll::Ready(Some(batch)) = next.as_mut().poll(&mut Context::from_waker(&waker))
    else {
        panic!("the events that were given back can be taken again");
    };
    let mut recalled = Box::pin(batch.recalled());
    assert!(
        recalled
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    buffer.recall();
    assert!(
        woken.0.swap(false, Ordering::Relaxed),
        "a recall wakes the holder of a batch"
    );
    assert!(
        recalled
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    );
}
