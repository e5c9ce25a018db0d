//! What a workflow author writes against: the definition of a workflow, its context, and its durable
//! operations.

pub(crate) mod definition;

pub(crate) mod context;

pub(crate) mod sleep;
pub(crate) mod step;

mod recorded;
pub(crate) mod retry;

pub(crate) mod failure;
