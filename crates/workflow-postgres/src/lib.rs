#![doc = include_str!("../README.md")]

mod options;
mod store;

mod error;
mod meaning;

mod connect;
mod schema;

mod group;
mod lane;
mod sql;
mod writer;

mod claims;
mod commits;
mod sinks;

mod reads;
mod row;
mod text;

mod listen;

#[cfg(feature = "testing")]
pub mod testing;

pub use error::ConnectError;
pub use options::{Durability, Options, Time};
pub use store::PostgresStore;
/// What [`Options::connect_with`] takes.
pub use tokio_postgres::Config;
