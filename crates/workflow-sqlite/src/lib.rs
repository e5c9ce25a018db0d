#![doc = include_str!("../README.md")]

mod store;

mod open;
mod writer;

mod queue;
mod reader;
mod reply;

mod create;

mod cancels;
mod commits;

mod claims;
mod sinks;

mod leases;

mod due;
mod purge;

mod list;
mod outbox;
mod reads;
mod row;

mod checkpoint;
mod lock;
mod schema;

mod connection;
mod db;

mod error;
mod options;

#[cfg(test)]
mod tests;

pub use error::OpenError;
pub use options::{Durability, Options};
pub use store::SqliteStore;

/// Compiles the examples of the repository's README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

/// Runs the examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
mod guide {}
