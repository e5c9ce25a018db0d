//! One execution of a run: the machine behind a lock, shared by the context, the operations and the
//! driver.

pub(crate) mod driver;
mod writer;

pub(crate) mod history;

pub(crate) mod machine;

mod alarm;
mod calls;
mod completions;
mod phase;
mod schedule;

pub(crate) mod replay;

pub(crate) mod ending;

pub(crate) mod outgoing;

pub(crate) mod operation;

pub(crate) mod halt;

pub(crate) mod determinism;
pub(crate) mod interrupt;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use tracker_core::Clock;
use workflow_events::Timestamp;

use determinism::DeterminismError;
use interrupt::Interrupt;
use machine::Machine;
use outgoing::Ids;
use replay::Replay;

use crate::random::Seed;
use crate::sync::lock;

/// One execution of a run, shared by its context, its operations and its driver.
pub(crate) struct Execution {
    pub(crate) ids: Ids,
    pub(crate) clock: Arc<dyn Clock>,
    /// The largest value that is recorded, in bytes of JSON.
    pub(crate) max_value_bytes: usize,
    pub(crate) seed: Seed,
    interrupt: Arc<Interrupt>,
    machine: Mutex<Machine>,
}

impl Execution {
    pub(crate) fn new(
        ids: Ids,
        clock: Arc<dyn Clock>,
        max_value_bytes: usize,
        replay: Replay,
        started_at: Timestamp,
        interrupt: Arc<Interrupt>,
    ) -> Self {
        Self {
            ids,
            clock,
            max_value_bytes,
            seed: replay.seed,
            interrupt,
            machine: Mutex::new(Machine::new(replay, started_at)),
        }
    }

    /// Locks the machine. Whom the machine wants to wake is woken when the guard is dropped, after
    /// the lock is free.
    pub(crate) fn machine(&self) -> MachineGuard<'_> {
        MachineGuard {
            machine: lock(&self.machine),
            wakes: Wakes {
                wakers: Vec::new(),
                driver: None,
            },
            interrupt: &self.interrupt,
        }
    }

    /// Stops the run, because its code cannot be followed.
    pub(crate) fn fail(&self, problem: DeterminismError) {
        self.machine().fail(problem);
    }
}

/// The locked machine of an execution.
pub(crate) struct MachineGuard<'a> {
    // The order of the fields is the order in which they are dropped: the lock, then the wakes.
    machine: MutexGuard<'a, Machine>,
    wakes: Wakes<'a>,
    interrupt: &'a Interrupt,
}

/// Wakes what it holds when it is dropped.
struct Wakes<'a> {
    wakers: Vec<Waker>,
    driver: Option<&'a Interrupt>,
}

impl Deref for MachineGuard<'_> {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for MachineGuard<'_> {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

impl Drop for MachineGuard<'_> {
    fn drop(&mut self) {
        self.wakes.wakers = self.machine.take_wakers();
        self.wakes.driver = self.machine.has_problem().then_some(self.interrupt);
    }
}

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
        if let Some(driver) = self.driver {
            driver.wake_driver();
        }
    }
}
