#![doc = include_str!("../README.md")]

// From top to bottom: a module uses only modules that stand below it.
mod tracker;

mod transport;

mod answer;
mod request;

mod connection;

mod error;

mod secrets;

mod endpoint;

mod clock;
mod event;
mod sending;

#[cfg(feature = "testing")]
pub mod testing;

pub use clock::TokioClock;
pub use endpoint::{Endpoint, EndpointError};
pub use error::BuildError;
pub use event::JsonEvent;
pub use exact_json::EncodeError;
pub use secrets::token::{Token, TokenError};
pub use sending::is_sending;
pub use tracker::HttpTracker;
pub use tracker::blocking::BlockingError;
pub use tracker::builder::HttpTrackerBuilder;
pub use transport::HttpTransport;
pub use transport::builder::HttpTransportBuilder;
