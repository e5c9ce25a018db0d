//! The identity of durable operations, and what a history has of them.

use std::fmt;
use std::sync::Arc;

use workflow_events::Timestamp;

use crate::store::Entry;

/// Identifies a durable operation of a run, in its history and in its code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpKey {
    pub(crate) kind: OpKind,
    pub(crate) name: Arc<str>,
    /// Number of this call among the calls of this kind and name, from 1.
    pub(crate) occurrence: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OpKind {
    Step,
    Sleep,
}

/// The last record of an operation that has begun and not completed, and its time.
pub(crate) type Begun = (Entry, Timestamp);

/// The record that completed an operation.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) key: OpKey,
    pub(crate) entry: Entry,
    pub(crate) at: Timestamp,
}

impl fmt::Display for OpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            OpKind::Step => write!(f, "step {:?}", self.name)?,
            OpKind::Sleep => f.write_str("sleep")?,
        }
        write!(f, " #{}", self.occurrence)
    }
}
