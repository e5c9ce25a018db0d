#![doc = include_str!("../README.md")]

mod completed_steps;
mod error_info;
mod event;
mod kind;
mod payload;
mod reason;
mod timestamp;

pub mod bounds;
mod error;
mod fields;
mod wire;

mod fold;
mod run_view;
mod status;
mod step_view;

pub use completed_steps::CompletedSteps;
pub use error::ReadEventError;
pub use error_info::ErrorInfo;
pub use event::{Event, SOURCE};
pub use exact_json::EncodeError;
pub use kind::EventKind;
pub use payload::Payload;
pub use reason::{PauseReason, ResumeReason};
pub use run_view::RunView;
pub use status::RunStatus;
pub use step_view::{AttemptOutcome, AttemptView, RetryView, SleepView, StepView};
pub use timestamp::{Timestamp, TimestampError};
