//! Creating runs, and continuing those that exist.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use workflow_events::EventKind;

use crate::clock::wall;
use crate::engine::Engine;
use crate::engine::error::RunError;
use crate::engine::handle::RunHandle;
use crate::engine::outcome::{Outcome, RunOptions, decode};
use crate::engine::result::{check_id, ending, existing};
use crate::execution::ending::Ending;
use crate::execution::halt::Halt;
use crate::execution::outgoing::{Ids, Outgoing};
use crate::execution::replay::Replay;
use crate::limits::{ValueError, check_value};
use crate::payload::Payload;
use crate::store::{Claimed, Created, EntryKind, NewRun, Run, Span, Status};
use crate::worker::Worker;
use crate::workflow::definition::Workflow;
use crate::workflow::failure::DurableError;

impl Engine {
    /// Creates a run and executes it on this task, until the run ends or is suspended.
    ///
    /// `options` is the run's id, or [`RunOptions`] with more. A workflow that fails is an
    /// [`Outcome`], not an error.
    ///
    /// The same id with the same workflow and the same input continues the run that exists. If that
    /// run has ended, its outcome is returned and nothing is executed. If it is due, or its process
    /// has died, it is executed here. If it is being executed elsewhere, this call waits.
    ///
    /// # Errors
    ///
    /// [`RunError`] if the run was not executed, or not to its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has the effect of a crash: the run stays as it is, and
    /// [`work`](Self::work) or another `run` of the same id continues it.
    pub async fn run<I, O, E>(
        &self,
        workflow: &Workflow<I, O, E>,
        options: impl Into<RunOptions>,
        input: I,
    ) -> Result<Outcome<O, E>, RunError>
    where
        I: Serialize,
        O: DeserializeOwned,
        E: DurableError,
    {
        let options = options.into();
        let id = options.id.clone();
        let input = encode_input(&self.worker, workflow.name(), &input)?;
        let ending = run(&self.worker, workflow.name(), options, input).await?;
        decode(ending).map_err(|source| RunError::Decode { id, source })
    }

    /// Creates a run for a [worker](Self::work) and returns its handle. The run is recorded when
    /// this returns, and is executed even if this process dies.
    ///
    /// If the id exists with the same workflow and the same input, nothing happens, and the handle
    /// is that of the existing run.
    ///
    /// # Errors
    ///
    /// [`RunError`] if nothing was recorded; for [`RunError::Store`] the run may have been
    /// recorded.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the run may have been created or not; repeat the call with the
    /// same id.
    pub async fn start<I, O, E>(
        &self,
        workflow: &Workflow<I, O, E>,
        options: impl Into<RunOptions>,
        input: I,
    ) -> Result<RunHandle<O, E>, RunError>
    where
        I: Serialize,
    {
        let worker = &self.worker;
        let options = options.into();
        let id = options.id.clone();
        let input = encode_input(worker, workflow.name(), &input)?;
        if worker.shutdown.is_closed() {
            return Err(RunError::Closed);
        }
        create(worker, workflow.name(), options, input, Status::Queued).await?;
        worker.active.work_available.notify_one();
        Ok(RunHandle::new(Arc::clone(worker), id))
    }

    /// Returns the handle of a run that was created before. A run that does not exist is reported
    /// when the handle is used.
    pub fn handle<I, O, E>(
        &self,
        _workflow: &Workflow<I, O, E>,
        id: impl Into<String>,
    ) -> RunHandle<O, E> {
        RunHandle::new(self.worker.clone(), id.into())
    }
}

/// An input in its recorded form, and whether a new run may have it.
struct Input {
    payload: Payload,
    accepted: Result<(), RunError>,
}

/// Encodes the input of a workflow that is registered here.
///
/// Whether the input is accepted counts only for a new run, because a run that exists may be of a
/// version that accepted more.
fn encode_input<I: Serialize>(
    worker: &Worker,
    workflow: &str,
    input: &I,
) -> Result<Input, RunError> {
    let Some(body) = worker.workflows.get(workflow) else {
        return Err(RunError::UnknownWorkflow {
            name: workflow.to_owned(),
        });
    };
    let payload = Payload::encode(input).map_err(RunError::Input)?;
    let size = check_value(&payload, worker.settings.max_value_bytes);
    let size = size.map_err(|error| match error {
        ValueError::TooLarge { bytes, limit } => RunError::InputTooLarge { bytes, limit },
        ValueError::TooDeep { levels, limit } => RunError::InputTooDeep { levels, limit },
    });
    let readable = |()| {
        body.check_input(&payload)
            .map_err(RunError::InputUnreadable)
    };
    Ok(Input {
        accepted: size.and_then(readable),
        payload,
    })
}

/// Creates a run, or continues the one that exists, until it ends or is suspended.
async fn run(
    worker: &Worker,
    workflow: &str,
    options: RunOptions,
    input: Input,
) -> Result<Ending, RunError> {
    if worker.shutdown.is_closed() {
        return Err(RunError::Closed);
    }
    let id = options.id.clone();
    if let Some(new) = create(worker, workflow, options, input, Status::Running).await? {
        let (claimed, replay) = *new;
        let claimed = worker.active.claimed(claimed);
        let executed = worker.execute(claimed, Some(replay), Duration::ZERO);
        match executed.await {
            Ok(ending) => return Ok(ending),
            // Another worker has taken the run over.
            Err(Halt::Fenced) => {}
            Err(halt) => return Err(not_ended(&id, halt)),
        }
    }
    resume(worker, &id).await
}

/// Creates a run and returns its claim; `None` if the run exists already and is the same.
async fn create(
    worker: &Worker,
    workflow: &str,
    options: RunOptions,
    input: Input,
    status: Status,
) -> Result<Option<Box<(Claimed, Replay)>>, RunError> {
    let RunOptions { id, execution_id } = options;
    let Input {
        payload: input,
        accepted,
    } = input;
    let accepted = accepted
        .and_then(|()| check_id("run id", &id))
        .and_then(|()| {
            let mut ids = execution_id.iter();
            ids.try_for_each(|id| check_id("execution id", id))
        });
    if let Err(refused) = accepted {
        let Some(existing) = worker.find(&id).await? else {
            return Err(refused);
        };
        check_same(worker, &existing, workflow, &input).await?;
        return Ok(None);
    }
    worker.retried(|| worker.lease.ensure()).await?;
    let ids = Ids {
        run: id,
        workflow: workflow.to_owned(),
        execution: execution_id,
    };
    let now = wall(&*worker.clock);
    let event = match status {
        Status::Queued => EventKind::WorkflowQueued {
            input: input.clone(),
        },
        _ => EventKind::WorkflowStarted {
            input: input.clone(),
        },
    };
    let outgoing = Outgoing::of_run(now, event, EntryKind::Created, Some(input.clone()));
    let Some(record) = ids.records(0, &[outgoing])?.pop() else {
        return Err(RunError::Closed);
    };
    let replay = Replay::begin(input.clone(), &record);
    let new = NewRun {
        id: ids.run.clone(),
        workflow: ids.workflow.clone(),
        execution_id: ids.execution.clone(),
        status,
        worker: worker.lease.worker_id.clone(),
        record,
    };
    let pending = worker.active.begin_claim();
    let created = {
        let _permit = worker.shutdown.admit_commit().ok_or(RunError::Closed)?;
        worker.retried(|| worker.store.create(new.clone())).await?
    };
    pending.resolve();
    let claim = match created {
        Created::New(claim) => claim,
        Created::Exists(existing) => {
            check_same(worker, &existing, workflow, &input).await?;
            return Ok(None);
        }
    };
    let run = Run {
        key: claim.key,
        id: ids.run,
        workflow: ids.workflow,
        execution_id: ids.execution,
        status,
        last_seq: 1,
        created_at: now,
        ended_at: None,
        due_at: None,
        worker: None,
        recoveries: 0,
        cancel: None,
    };
    let claimed = Claimed {
        claim,
        run,
        died: false,
    };
    Ok(Some(Box::new((claimed, replay))))
}

/// Checks that an existing run has this workflow and this input.
async fn check_same(
    worker: &Worker,
    existing: &Run,
    workflow: &str,
    input: &Payload,
) -> Result<(), RunError> {
    let conflict = |what| RunError::Conflict {
        id: existing.id.clone(),
        what,
    };
    if existing.workflow != workflow {
        return Err(conflict("workflow"));
    }
    let Some(first) = worker.records(existing.key, Span::First).await?.pop() else {
        // The run was purged just now.
        return Ok(());
    };
    // The order of fields is no part of a value; every digit of a number is.
    let recorded = first.entry.and_then(|entry| entry.payload);
    if recorded.as_ref() == Some(input) {
        Ok(())
    } else {
        Err(conflict("input"))
    }
}

/// Continues a run that others may be executing.
async fn resume(worker: &Worker, id: &str) -> Result<Ending, RunError> {
    loop {
        let changed = worker.active.changed(id);
        let run = existing(worker, id).await?;
        if run.status.is_terminal() {
            return ending(worker, &run).await;
        }
        if let Some(claimed) = worker.retried(|| worker.claim_run(id)).await? {
            match worker.execute(claimed, None, Duration::ZERO).await {
                Ok(ending) => return Ok(ending),
                Err(Halt::Fenced) => continue,
                Err(halt) => return Err(not_ended(id, halt)),
            }
        }
        if let Some(suspended) = suspended(worker, &run).await? {
            return Ok(suspended);
        }
        if worker.shutdown.is_closed() {
            return Err(RunError::Closed);
        }
        worker.wait_for_change(changed).await;
    }
}

/// Returns what a suspended run waits for; `None` if it is not suspended.
async fn suspended(worker: &Worker, run: &Run) -> Result<Option<Ending>, RunError> {
    let Some(resume_at) = run.due_at.filter(|_| run.status == Status::Suspended) else {
        return Ok(None);
    };
    let last = worker.records(run.key, Span::Last).await?.pop();
    let entry = last.and_then(|record| record.entry);
    let reason = entry.filter(|entry| entry.kind == EntryKind::Suspended);
    let reason = reason.and_then(|entry| entry.payload?.decode().ok());
    Ok(reason.map(|reason| Ending::Suspended {
        reason,
        resume_at,
        step: None,
    }))
}

/// Returns the error of a run that was left as it is.
fn not_ended(id: &str, halt: Halt) -> RunError {
    match halt {
        Halt::Store(error) => RunError::Store(error),
        Halt::Determinism(error) => RunError::Determinism {
            id: id.to_owned(),
            error,
        },
        Halt::Stopped | Halt::Fenced => RunError::Closed,
    }
}
