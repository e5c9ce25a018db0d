//! The view of a run, folded from its events.

pub(crate) mod run;

pub(crate) mod fold;
pub(crate) mod status;
pub(crate) mod step;
