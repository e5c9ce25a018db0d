#![doc = include_str!("../README.md")]

mod error_info;
mod event;
mod kind;
mod reason;
mod timestamp;

mod error;
mod fields;
mod wire;

mod fold;
mod run_view;
mod status;
mod step_view;

pub use error::ReadEventError;
pub use error_info::ErrorInfo;
pub use event::{Event, SOURCE};
pub use kind::EventKind;
pub use reason::{PauseReason, ResumeReason};
pub use run_view::RunView;
pub use status::RunStatus;
pub use step_view::{AttemptOutcome, AttemptView, RetryView, SleepView, StepView};
pub use timestamp::{Timestamp, TimestampError};
