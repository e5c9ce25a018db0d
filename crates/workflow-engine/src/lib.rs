#![doc = include_str!("../README.md")]

mod engine;

mod builder;
mod outcome;
mod workflow;

mod context;
mod failure;
mod step;

mod driver;
mod execution;
mod gate;
mod history;
mod status;

mod payload;

mod relay;
mod report;

mod memory;
mod store;

mod error;

pub use builder::EngineBuilder;
pub use context::Context;
pub use engine::Engine;
pub use error::{BuildError, RunError};
pub use failure::{DurableError, Failure, StepError, StepFailure};
pub use memory::MemoryStore;
pub use outcome::{Outcome, RunFailure, RunOptions};
pub use payload::{EncodedEvent, Payload};
pub use report::{EngineReport, RelayStop, SinkReport};
pub use status::{IllegalTransition, Status};
pub use step::Step;
pub use store::{Commit, Created, Cursor, NewRun, Position, Record, Run, RunResult, StepRecord, Store, StoreError};
pub use workflow::Workflow;

#[cfg(feature = "http")]
pub use tracker_http::{HttpTransport, TokioClock};

/// Compiles the example of the repository's README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
