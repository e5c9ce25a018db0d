#![doc = include_str!("../README.md")]

mod tracker;
mod tracker_builder;

mod blocking;
mod event;

mod transport;

mod exchange;

mod encode;
mod headers;

mod answer;
mod body;
mod retry_after;
mod verdicts;

mod credentials;
mod secrets;
mod token;

mod connect;
mod pool;
mod race;
mod resolve;
#[cfg(feature = "tls")]
mod tls;

mod clock;
mod endpoint;
mod error;
mod host;
mod sending;

#[cfg(feature = "testing")]
pub mod testing;

pub use blocking::BlockingError;
pub use clock::TokioClock;
pub use endpoint::{Endpoint, EndpointError};
pub use error::BuildError;
pub use event::JsonEvent;
pub use exact_json::EncodeError;
pub use sending::is_sending;
pub use token::{Token, TokenError};
pub use tracker::HttpTracker;
pub use tracker_builder::HttpTrackerBuilder;
pub use transport::{HttpTransport, HttpTransportBuilder};
