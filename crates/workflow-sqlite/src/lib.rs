#![doc = include_str!("../README.md")]

mod store;

mod error;
mod open;

mod lock;
mod schema;

mod checkpoint;
mod reader;
mod writer;

mod claims;
mod leases;
mod queue;

mod purge;
mod sinks;
mod writes;

mod list;
mod reads;
mod row;

#[cfg(test)]
mod tests;

pub use error::OpenError;
pub use open::{Durability, Options};
pub use store::SqliteStore;

/// Compiles the examples of the repository's README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

/// Runs the examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
mod guide {}
