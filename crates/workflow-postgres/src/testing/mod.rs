//! For tests: a PostgreSQL server of one's own.

mod server;

pub use server::{Server, ServerError, Stop};
