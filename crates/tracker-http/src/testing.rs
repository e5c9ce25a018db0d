//! For tests: a real HTTP endpoint on loopback that counts what it receives and fails as told.

mod request;
mod server;

pub use request::RecordedRequest;
pub use server::{Answer, FaultServer};
