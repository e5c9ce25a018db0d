#![doc = include_str!("../README.md")]

mod store;

mod open;

mod listen;
mod writer;

mod group;
mod queue;
mod reply;

mod create;

mod cancels;
mod commits;

mod claims;
mod leases;
mod sinks;

mod purge;

mod list;
mod outbox;
mod reads;

mod columns;
mod reader;

mod db;

mod freshness;
mod workers;

mod schema;
mod sql;

mod connection;
mod row;
mod text;

mod error;
mod options;

#[cfg(feature = "testing")]
pub mod testing;

pub use error::ConnectError;
pub use options::{Durability, Options, Time};
pub use store::PostgresStore;
/// What [`Options::connect_with`] takes.
pub use tokio_postgres::Config;
