//! The answer: the meaning of a response for the events that were sent.

pub(crate) mod classify;

pub(crate) mod retry_after;
pub(crate) mod verdicts;

pub(crate) mod body;
pub(crate) mod text;
