#![doc = include_str!("../README.md")]

mod state;

mod buffer;
mod lease;
mod wait;

mod backoff;
mod class;
mod courier;
mod delivery;
mod far_end;
mod learned;
mod transport;

mod books;
mod buffered;
mod tracker;

mod clock;
mod config;
mod error;
mod panic;
mod sync;

#[cfg(feature = "testing")]
pub mod testing;

pub use backoff::Backoff;
pub use books::{Books, DeliveryReport, FlushReport, Rejection, TrackerReport, Undelivered};
pub use buffer::EventBuffer;
pub use buffered::BufferedTracker;
pub use clock::Clock;
pub use config::{Config, ConfigBuilder, Overflow};
pub use courier::Courier;
pub use delivery::{Action, Delivery, Settlement, Stop};
pub use error::{ConfigError, PushError};
pub use far_end::{FarEnd, Hurry};
pub use learned::{Learned, Sent};
pub use lease::Lease;
pub use state::{Phase, Seq};
pub use tracker::{NoopTracker, Observer, Tracker};
pub use transport::{Reason, Receipt, SendError, SendOptions, Transport};
