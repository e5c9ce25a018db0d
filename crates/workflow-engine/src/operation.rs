//! What durable operations are called: kind, name, and how often that name has occurred.

use std::fmt;
use std::sync::Arc;

/// Identifies a durable operation of a run, in its history as in its code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpKey {
    pub(crate) kind: OpKind,
    pub(crate) name: Arc<str>,
    /// From 1.
    pub(crate) occurrence: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OpKind {
    Step,
    Sleep,
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
