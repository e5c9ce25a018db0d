//! One execution of a run, as its operations and its driver share it: the lock around the machine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracker_core::Clock;
use workflow_events::Timestamp;

use crate::determinism::DeterminismError;
use crate::history::Ids;
use crate::machine::Machine;
use crate::replay::Replay;
use crate::seed::Seed;
use crate::signal::Signal;

/// One execution of a run, shared by its context, its operations and its driver.
pub(crate) struct Execution {
    pub(crate) ids: Ids,
    pub(crate) clock: Arc<dyn Clock>,
    /// How large a recorded value may be, in bytes.
    pub(crate) value_limit: usize,
    pub(crate) seed: Seed,
    machine: Mutex<Machine>,
}

impl Execution {
    pub(crate) fn new(
        ids: Ids,
        clock: Arc<dyn Clock>,
        value_limit: usize,
        replay: Replay,
        started_at: Timestamp,
        signal: Arc<Signal>,
    ) -> Self {
        let seed = replay.seed;
        Self {
            ids,
            clock,
            value_limit,
            seed,
            machine: Mutex::new(Machine::new(replay, started_at, signal)),
        }
    }

    /// Stops the run: its code cannot be followed.
    pub(crate) fn fail(&self, problem: DeterminismError) {
        self.machine().fail(problem);
    }

    /// No critical section can be left half done by a panic, so poisoning says nothing.
    pub(crate) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
