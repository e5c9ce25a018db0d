//! Delivery: from the history, which is the outbox, to the sinks.

pub(crate) mod serve;

pub(crate) mod relay;

pub(crate) mod report;
