#![doc = include_str!("../README.md")]

mod engine;

mod delivery;

mod worker;

mod workflow;

mod execution;

pub mod store;

pub mod limits;

mod clock;
mod payload;
mod random;
mod shutdown;
mod sync;

#[cfg(test)]
mod domains;

pub use delivery::report::{EngineReport, RejectedEvent, SinkError, SinkReport, UnregisteredSink};
pub use engine::{
    BuildError, Cancel, CancelError, Cancelled, Engine, EngineBuilder, ForgetSinkError, Idle,
    NotCompletedError, Outcome, RunError, RunHandle, RunOptions, WorkflowError,
};
pub use execution::determinism::DeterminismError;
pub use limits::NameError;
pub use payload::{EncodedEvent, Payload};
pub use store::{MemoryStore, Purged, Run, RunFilter, RunKey, Status, Store, StoreError};
pub use worker::settings::Retention;
pub use workflow::context::Context;
pub use workflow::definition::Workflow;
pub use workflow::failure::{DurableError, Failure, StepError, StepFailure};
pub use workflow::retry::{Retry, RetryError};
pub use workflow::sleep::Sleep;
pub use workflow::step::Step;

pub use tracker_core::{
    Books, Clock, Config, ConfigBuilder, ConfigError, DeliveryError, Reason, SendError, Transport,
};
pub use workflow_events::{
    EncodeError, ErrorInfo, Event, EventKind, PauseReason, RunView, Timestamp,
};

#[cfg(feature = "http")]
pub use tracker_http::{HttpTransport, TokioClock};
