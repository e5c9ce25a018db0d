#![doc = include_str!("../README.md")]

mod tracker;

mod buffer;

mod books;

mod delivery;

mod settlement;

mod transport;

mod clock;
mod config;
mod error;
mod panic;
mod sync;
mod wakers;

#[cfg(feature = "testing")]
pub mod testing;

pub use books::{Books, DeliveryReport, FlushReport, Rejection, TrackerReport, UndeliveredError};
pub use buffer::EventBuffer;
pub use buffer::batch::Batch;
pub use buffer::order::Seq;
pub use buffer::state::Phase;
pub use clock::Clock;
pub use config::{Config, ConfigBuilder, Overflow};
pub use delivery::action::{Action, DeliveryError};
pub use delivery::backoff::Backoff;
pub use delivery::courier::Courier;
pub use delivery::far_end::{FarEnd, Hurry};
pub use delivery::learned::{Learned, Sent};
pub use delivery::policy::Delivery;
pub use error::{ConfigError, PushError};
pub use settlement::Settlement;
pub use tracker::buffered::BufferedTracker;
pub use tracker::{NoopTracker, Observer, Tracker};
pub use transport::{Reason, Receipt, SendError, SendOptions, Transport};
