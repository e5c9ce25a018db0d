//! One execution of a run: what its context, its steps and its driver share.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::history::{Halt, History};

/// One execution of a run, shared by its context, its steps and its driver.
pub(crate) struct Execution {
    pub(crate) history: History,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// How often a step of each name was called.
    calls: HashMap<String, u32>,
    completed_steps: Vec<String>,
    halt: Option<Halt>,
}

impl Execution {
    pub(crate) fn new(history: History) -> Self {
        Self { history, progress: Mutex::default() }
    }

    /// Claims the next occurrence of a step's name, from 1.
    pub(crate) fn claim(&self, step: &str) -> u32 {
        let mut progress = self.lock();
        let calls = progress.calls.entry(step.to_owned()).or_default();
        *calls += 1;
        *calls
    }

    pub(crate) fn step_completed(&self, step: String) {
        self.lock().completed_steps.push(step);
    }

    pub(crate) fn completed_steps(&self) -> Vec<String> {
        self.lock().completed_steps.clone()
    }

    /// Leaves the run as it is: its function is not polled again, so user code never sees why.
    pub(crate) async fn halt(&self, halt: Halt) -> ! {
        self.lock().halt.get_or_insert(halt);
        loop {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn take_halt(&self) -> Option<Halt> {
        self.lock().halt.take()
    }

    /// No critical section can be left half done by a panic, so poisoning says nothing.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
