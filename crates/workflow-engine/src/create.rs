//! Creating runs, and going on with those there are.

use std::pin::pin;
use std::time::Duration;

use futures::future::select;
use serde::Serialize;
use workflow_events::EventKind;

use crate::active::Changed;
use crate::engine::Inner;
use crate::error::RunError;
use crate::history::{Halt, Ids, Outgoing};
use crate::limits::{ID_BYTES, ValueError, check_name, check_value};
use crate::outcome::{End, RunOptions};
use crate::payload::Payload;
use crate::replay::Replay;
use crate::status::Status;
use crate::store::{Claimed, Created, EntryKind, NewRun, Run, Span, StoreError};
use crate::time::wall;

/// A run that was created, or was there.
pub(crate) enum Made {
    New(Box<(Claimed, Replay)>),
    Exists,
}

/// An input in its recorded form, and whether a new run may have it.
pub(crate) struct Input {
    payload: Payload,
    accepted: Result<(), RunError>,
}

impl Inner {
    /// Encodes the input of a workflow that is registered here. Whether it is accepted counts only
    /// for a new run: one that exists may be of a version that accepted more.
    pub(crate) fn input<I: Serialize>(&self, workflow: &str, input: &I) -> Result<Input, RunError> {
        let Some(body) = self.workflows.get(workflow) else {
            return Err(RunError::UnknownWorkflow {
                name: workflow.to_owned(),
            });
        };
        let payload = Payload::encode(input).map_err(RunError::Input)?;
        let accepted =
            check_value(&payload, self.settings.value_limit).map_err(|error| match error {
                ValueError::TooLarge { bytes, limit } => RunError::InputTooLarge { bytes, limit },
                ValueError::TooDeep { levels, limit } => RunError::InputTooDeep { levels, limit },
            });
        let accepted = accepted.and_then(|()| {
            body.check_input(&payload)
                .map_err(RunError::InputUnreadable)
        });
        Ok(Input { payload, accepted })
    }

    /// Creates a run, unless there is one with this id; that one must be the same.
    pub(crate) async fn create(
        &self,
        workflow: &str,
        options: RunOptions,
        input: Input,
        status: Status,
    ) -> Result<Made, RunError> {
        let RunOptions { id, execution_id } = options;
        let Input {
            payload: input,
            accepted,
        } = input;
        let named = accepted.and_then(|()| check_id("run id", &id));
        if let Err(refused) = named.and_then(|()| {
            execution_id
                .iter()
                .try_for_each(|id| check_id("execution id", id))
        }) {
            let Some(existing) = self.find(&id).await? else {
                return Err(refused);
            };
            self.check_same(&existing, workflow, &input).await?;
            return Ok(Made::Exists);
        }
        self.retried(|| self.lease.ensure()).await?;
        let ids = Ids {
            run: id,
            workflow: workflow.to_owned(),
            execution: execution_id,
        };
        let now = wall(&*self.clock);
        let event = match status {
            Status::Queued => EventKind::WorkflowQueued {
                input: input.clone(),
            },
            _ => EventKind::WorkflowStarted {
                input: input.clone(),
            },
        };
        let outgoing = [Outgoing::of_run(
            now,
            event,
            EntryKind::Created,
            Some(input.clone()),
        )];
        let Some(record) = ids
            .records(0, &outgoing)
            .map_err(|halt| left(&ids.run, halt))?
            .pop()
        else {
            return Err(RunError::Closed);
        };
        let replay = Replay::begin(input.clone(), &record);
        let new = NewRun {
            id: ids.run.clone(),
            workflow: ids.workflow.clone(),
            execution_id: ids.execution.clone(),
            status,
            worker: self.lease.worker.clone(),
            record,
        };
        let begun = self.active.begin_claim();
        let created = {
            let _pass = self.gate.enter_commit().ok_or(RunError::Closed)?;
            self.retried(|| self.store.create(new.clone())).await?
        };
        begun.ended();
        match created {
            Created::New(claim) => {
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
                Ok(Made::New(Box::new((
                    Claimed {
                        claim,
                        run,
                        died: false,
                    },
                    replay,
                ))))
            }
            Created::Exists(existing) => {
                self.check_same(&existing, workflow, &input).await?;
                Ok(Made::Exists)
            }
        }
    }

    /// Checks that an existing run is the one that was asked for.
    async fn check_same(
        &self,
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
        let Some(first) = self.records(existing.key, Span::First).await?.pop() else {
            // It was purged just now.
            return Ok(());
        };
        // The order of fields in the text is no part of a value; every digit of a number is.
        let recorded = first.entry.and_then(|entry| entry.payload);
        if recorded.as_ref() == Some(input) {
            Ok(())
        } else {
            Err(conflict("input"))
        }
    }

    /// Creates a run, or goes on with the one there is, until it ends or is suspended.
    pub(crate) async fn run(
        &self,
        workflow: &str,
        options: RunOptions,
        input: Input,
    ) -> Result<End, RunError> {
        if self.gate.is_closed() {
            return Err(RunError::Closed);
        }
        let id = options.id.clone();
        let halt = match self
            .create(workflow, options, input, Status::Running)
            .await?
        {
            Made::New(new) => {
                let (claimed, replay) = *new;
                match self
                    .execute(self.active.taken(claimed), Some(replay), Duration::ZERO)
                    .await
                {
                    Ok(end) => return Ok(end),
                    Err(halt) => halt,
                }
            }
            Made::Exists => Halt::Fenced,
        };
        match halt {
            Halt::Fenced => self.go_on(&id).await,
            halt => Err(left(&id, halt)),
        }
    }

    /// Goes on with a run that others may be at.
    async fn go_on(&self, id: &str) -> Result<End, RunError> {
        loop {
            let changed = self.active.changed(id);
            let run = self.existing(id).await?;
            if run.status.is_terminal() {
                return self.end_of(&run).await;
            }
            if let Some(taken) = self.retried(|| self.claim_run(id)).await? {
                match self.execute(taken, None, Duration::ZERO).await {
                    Ok(end) => return Ok(end),
                    Err(Halt::Fenced) => continue,
                    Err(halt) => return Err(left(id, halt)),
                }
            }
            if run.status == Status::Paused
                && let Some(resume_at) = run.due_at
            {
                let last = self.records(run.key, Span::Last).await?.pop();
                let paused = last
                    .and_then(|record| record.entry)
                    .filter(|entry| entry.kind == EntryKind::Paused);
                if let Some(reason) = paused.and_then(|entry| entry.payload?.decode().ok()) {
                    return Ok(End::Paused {
                        reason,
                        resume_at,
                        step: None,
                    });
                }
            }
            if self.gate.is_closed() {
                return Err(RunError::Closed);
            }
            self.wait(changed).await;
        }
    }

    /// Waits until a run has ended, and returns how.
    pub(crate) async fn result(&self, id: &str) -> Result<End, RunError> {
        loop {
            let changed = self.active.changed(id);
            let run = self.existing(id).await?;
            if run.status.is_terminal() {
                return self.end_of(&run).await;
            }
            if self.gate.is_stopped() {
                return Err(RunError::Closed);
            }
            self.wait(changed).await;
        }
    }

    async fn existing(&self, id: &str) -> Result<Run, RunError> {
        match self.find(id).await? {
            Some(run) => Ok(run),
            None => check_id("run id", id).and(Err(RunError::UnknownRun { id: id.to_owned() })),
        }
    }

    /// Waits until a run has changed here, or long enough for it to have changed elsewhere.
    pub(crate) async fn wait(&self, changed: Changed<'_>) {
        select(pin!(changed), self.clock.sleep(self.settings.poll_interval)).await;
    }

    async fn end_of(&self, run: &Run) -> Result<End, RunError> {
        let last = self.records(run.key, Span::Last).await?.pop();
        match last.as_ref().and_then(End::read) {
            Some(end) => end.map_err(|source| RunError::Decode {
                id: run.id.clone(),
                source,
            }),
            None => Err(StoreError::Corrupt {
                what: format!("run {} has ended, and its history has not", run.key),
            }
            .into()),
        }
    }
}

fn check_id(what: &'static str, id: &str) -> Result<(), RunError> {
    check_name(id, ID_BYTES).map_err(|source| RunError::Id { what, source })
}

/// What a caller is told of a run that was left.
pub(crate) fn left(id: &str, halt: Halt) -> RunError {
    match halt {
        Halt::Store(error) => RunError::Store(error),
        Halt::Determinism(error) => RunError::Determinism {
            id: id.to_owned(),
            error,
        },
        Halt::Stopped | Halt::Fenced => RunError::Closed,
    }
}
