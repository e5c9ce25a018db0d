#![doc = include_str!("../README.md")]

mod engine;

mod builder;
mod outcome;
mod settings;
mod signal;
mod workflow;

mod cancel;
mod create;
mod handle;

mod context;
mod determinism;
mod failure;
mod retry;
mod sleep;
mod step;

mod active;
mod driver;
mod ends;
mod execution;
mod executor;
mod gate;
mod history;
mod lease;
mod machine;
mod operation;
mod recorded;
mod replay;
mod seed;
mod status;
mod time;
mod worker;

pub mod limits;
mod payload;

mod relay;
mod report;

mod store;

mod error;

#[cfg(test)]
mod domains;

#[cfg(feature = "testing")]
pub mod testing;

pub use builder::EngineBuilder;
pub use cancel::{Cancel, CancelError, Cancelled};
pub use context::Context;
pub use determinism::DeterminismError;
pub use engine::Engine;
pub use error::{BuildError, ForgetSinkError, RunError};
pub use failure::{DurableError, Failure, StepError, StepFailure};
pub use handle::RunHandle;
pub use limits::NameError;
pub use outcome::{NotCompleted, Outcome, RunFailure, RunOptions};
pub use payload::{EncodedEvent, Payload};
pub use report::{EngineReport, RejectedEvent, RelayStop, SinkReport, UnregisteredSink};
pub use retry::{Retry, RetryError};
pub use settings::Retention;
pub use sleep::Sleep;
pub use status::{IllegalTransition, Status};
pub use step::Step;
pub use store::{
    CancelReply, CancelRequest, Claim, ClaimRequest, Claimed, Claims, Commit, Committed, Created,
    Cursor, Due, Entry, EntryKind, MemoryStore, NewRun, OutboxEnd, Page, Position, Purge, Purged,
    Record, Run, RunFilter, RunKey, SinkClaim, Span, Store, StoreError, Woken,
};
pub use worker::Idle;
pub use workflow::Workflow;
pub use workflow_events::{EncodeError, Timestamp};

#[cfg(feature = "http")]
pub use tracker_http::{HttpTransport, TokioClock};
