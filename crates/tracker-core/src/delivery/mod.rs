//! Delivery: which events of a batch are sent next, and what each answer means.

pub(crate) mod courier;

pub(crate) mod far_end;

pub(crate) mod policy;

pub(crate) mod action;
pub(crate) mod backoff;
pub(crate) mod class;
pub(crate) mod learned;
