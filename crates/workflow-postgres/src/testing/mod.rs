//! For tests: a PostgreSQL server of one's own.

mod server;

mod process;

mod error;

pub use error::ServerError;
pub use server::{Server, Stop};
