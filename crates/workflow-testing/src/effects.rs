//! The effects of the steps under test, which a crash does not undo.

use std::sync::{Arc, Mutex, PoisonError};

use workflow_engine::Store;
use workflow_engine::store::{EntryKind, Span};

use crate::fault_store::block_on;

/// The effects of steps, which are outside of the process and survive its crashes.
#[derive(Clone, Debug, Default)]
pub struct Effects(Arc<Mutex<EffectLog>>);

#[derive(Debug, Default)]
pub(super) struct EffectLog {
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) effects: Vec<(String, String)>,
    pub(super) breaches: Vec<String>,
}

impl Effects {
    /// Records that the step `step` of the run `run` has had its effect. Call this in the step's
    /// body, and give the steps different names.
    pub fn record(&self, run: &str, step: &str) {
        let store = self.lock(|log| {
            log.effects.push((run.to_owned(), step.to_owned()));
            log.store.clone()
        });
        let Some(store) = store else { return };
        let records = block_on(async {
            let run = store.run(run).await.ok()??;
            store.records(run.key, Span::All).await.ok()
        });
        let is_end = |kind| matches!(kind, EntryKind::StepCompleted | EntryKind::StepFailed);
        let entries = records
            .iter()
            .flatten()
            .filter_map(|record| record.entry.as_ref());
        if entries
            .filter(|entry| is_end(entry.kind))
            .any(|entry| entry.name == step)
        {
            self.lock(|log| {
                log.breaches.push(format!(
                    "step {step} of {run} had an effect after its end was recorded"
                ))
            });
        }
    }

    /// Returns the number of effects of the step.
    pub fn count(&self, run: &str, step: &str) -> usize {
        self.lock(|log| {
            log.effects
                .iter()
                .filter(|effect| effect.0 == run && effect.1 == step)
                .count()
        })
    }

    pub(super) fn lock<T>(&self, access: impl FnOnce(&mut EffectLog) -> T) -> T {
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
