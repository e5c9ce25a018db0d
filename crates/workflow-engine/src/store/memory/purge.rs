//! Removing runs that have ended.

use super::state::{State, StoredRun};
use crate::store::{Purge, Purged};

impl State {
    pub(super) fn purge(&mut self, purge: &Purge) -> Purged {
        let settled = self.sinks.values().map(|sink| sink.cursor.position).min();
        let over = |kept: &&StoredRun| {
            let ended_at = kept
                .run
                .ended_at
                .filter(|at| purge.before(kept.run.status).is_some_and(|end| *at < end));
            ended_at.is_some()
                && settled
                    .is_none_or(|settled| kept.positions.iter().all(|event| *event <= settled))
        };
        let mut ended: Vec<_> = self
            .runs
            .values()
            .filter(over)
            .map(|kept| (kept.run.ended_at, kept.run.key))
            .collect();
        ended.sort_unstable();
        let mut purged = Purged::default();
        for (_, key) in ended.into_iter().take(purge.limit) {
            let Some(kept) = self.runs.remove(&key) else {
                continue;
            };
            self.keys.remove(&kept.run.id);
            kept.positions
                .iter()
                .for_each(|position| drop(self.outbox.remove(position)));
            purged.runs += 1;
            purged.events += kept.positions.len() as u64;
        }
        self.purged += purged.events;
        purged
    }
}
