#![doc = include_str!("../README.md")]

// From top to bottom: a module uses only modules that stand below it.
mod view;

mod bounded;

mod event;
mod wire;

mod kind;

mod completed_steps;
mod error_info;

mod fields;

mod error;
mod payload;
mod reason;
mod timestamp;

pub mod bounds;

pub use completed_steps::CompletedSteps;
pub use error::ReadEventError;
pub use error_info::ErrorInfo;
pub use event::{Event, SOURCE};
pub use exact_json::EncodeError;
pub use kind::EventKind;
pub use payload::Payload;
pub use reason::{PauseReason, ResumeReason};
pub use timestamp::{Timestamp, TimestampError};
pub use view::run::RunView;
pub use view::status::RunStatus;
pub use view::step::{AttemptOutcome, AttemptView, RetryView, SleepView, StepView};
