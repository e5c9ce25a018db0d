//! The calls of a workflow's code: which durable operations it has called so far.

use std::collections::HashMap;
use std::sync::Arc;

use crate::execution::operation::{OpKey, OpKind};

/// The number of calls of each kind and name.
#[derive(Debug, Default)]
pub(crate) struct Calls(HashMap<(OpKind, Arc<str>), u32>);

impl Calls {
    /// Counts a call; returns its key.
    pub(crate) fn register(&mut self, kind: OpKind, name: Arc<str>) -> OpKey {
        let calls = self.0.entry((kind, name.clone())).or_default();
        *calls += 1;
        OpKey {
            kind,
            name,
            occurrence: *calls,
        }
    }

    /// Returns the key that the next call of this kind and name will get.
    pub(crate) fn next(&self, kind: OpKind, name: Arc<str>) -> OpKey {
        let calls = self.0.get(&(kind, name.clone()));
        OpKey {
            kind,
            name,
            occurrence: calls.map_or(1, |calls| calls + 1),
        }
    }

    /// Returns whether the operation with this key was called.
    pub(crate) fn contains(&self, key: &OpKey) -> bool {
        let calls = self.0.get(&(key.kind, key.name.clone()));
        calls.is_some_and(|calls| *calls >= key.occurrence)
    }
}
