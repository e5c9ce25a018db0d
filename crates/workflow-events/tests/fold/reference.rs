//! The naive reference: sort by `seq`, drop duplicates, then answer every question by its own pass
//! over the plain list. It shares no code and no state machine with the fold.

use std::collections::BTreeSet;

use workflow_events::{
    AttemptOutcome, ErrorInfo, Event, EventKind, Payload, ResumeReason, RunStatus, RunView,
    Timestamp,
};

/// All answers of a view, as plain data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answers {
    identity: [Option<String>; 3],
    status: RunStatus,
    input: Option<Payload>,
    output: Option<Payload>,
    error: Option<ErrorInfo>,
    cancel_reason: Option<String>,
    times: [Option<Timestamp>; 3],
    duration_ms: Option<u128>,
    completed_steps: Vec<String>,
    completed_step_count: u64,
    steps: Vec<Step>,
    sleeps: Vec<(Option<Timestamp>, Option<Timestamp>)>,
    next_retry: Option<String>,
    last_seq: u64,
    missing: Vec<u64>,
    conflicts: Vec<u64>,
    complete: bool,
}

/// Name, attempts, failed attempt and due time of the next retry, whether retries are exhausted.
type Step = (String, Vec<Attempt>, Option<(u32, Timestamp)>, bool);

/// Number, start, end, deadline, whether timed out, outcome.
type Attempt = (
    u32,
    Option<Timestamp>,
    Option<Timestamp>,
    Option<Timestamp>,
    bool,
    AttemptOutcome,
);

pub(crate) fn answers_of(view: &RunView) -> Answers {
    Answers {
        identity: [view.run_id(), view.workflow_name(), view.execution_id()]
            .map(|name| name.map(Into::into)),
        status: view.status().clone(),
        input: view.input().cloned(),
        output: view.output().cloned(),
        error: view.error().cloned(),
        cancel_reason: view.cancel_reason().map(Into::into),
        times: [view.queued_at(), view.started_at(), view.finished_at()],
        duration_ms: view.duration().map(|duration| duration.as_millis()),
        completed_steps: view.completed_steps().to_vec(),
        completed_step_count: view.completed_step_count(),
        steps: view
            .steps()
            .iter()
            .map(|step| {
                let attempts = step.attempts.iter().map(|a| {
                    (
                        a.number,
                        a.started_at,
                        a.finished_at,
                        a.deadline,
                        a.timed_out,
                        a.outcome.clone(),
                    )
                });
                let retry = step
                    .next_retry
                    .as_ref()
                    .map(|retry| (retry.failed_attempt, retry.at));
                (
                    step.name.clone(),
                    attempts.collect(),
                    retry,
                    step.retries_exhausted,
                )
            })
            .collect(),
        sleeps: view
            .sleeps()
            .iter()
            .map(|sleep| (sleep.started_at, sleep.completed_at))
            .collect(),
        next_retry: view.next_retry().map(|retry| retry.step_name.clone()),
        last_seq: view.last_seq(),
        missing: view.missing().flatten().collect(),
        conflicts: view.conflicts().collect(),
        complete: view.is_complete(),
    }
}

/// Returns the answers of the reference for the events of one run.
pub(crate) fn reference(events: &[Event]) -> Answers {
    let mut sorted = events.to_vec();
    sorted.sort_by_key(|event| (event.seq, event.event_id));
    sorted.dedup();
    let conflicts: BTreeSet<u64> = sorted
        .windows(2)
        .filter(|pair| pair[0].seq == pair[1].seq)
        .map(|pair| pair[0].seq)
        .collect();
    sorted.dedup_by_key(|event| event.seq);
    let seen: BTreeSet<u64> = sorted.iter().map(|event| event.seq).collect();
    let last_seq = seen.last().copied().unwrap_or(0);
    let missing: Vec<u64> = (1..=last_seq).filter(|seq| !seen.contains(seq)).collect();

    if let Some(end) = sorted.iter().position(|event| event.kind.is_terminal()) {
        sorted.truncate(end + 1);
    }
    let end = sorted.last().filter(|event| event.kind.is_terminal());
    let steps: Vec<_> = step_names(&sorted)
        .into_iter()
        .map(|name| step(&sorted, name, end.is_some()))
        .collect();
    let started_at = first(&sorted, |kind| {
        matches!(kind, EventKind::WorkflowStarted { .. })
    });
    let mut answers = Answers {
        identity: sorted.first().map_or([None, None, None], |event| {
            [
                Some(event.workflow_id.clone()),
                Some(event.workflow_name.clone()),
                event.execution_id.clone(),
            ]
        }),
        status: status(&sorted),
        input: sorted.iter().find_map(|event| match &event.kind {
            EventKind::WorkflowQueued { input } | EventKind::WorkflowStarted { input } => {
                Some(input.clone())
            }
            _ => None,
        }),
        output: None,
        error: None,
        cancel_reason: None,
        times: [
            first(&sorted, |kind| {
                matches!(kind, EventKind::WorkflowQueued { .. })
            }),
            started_at,
            end.map(|event| event.timestamp),
        ],
        duration_ms: end.zip(started_at).map(|(end, start)| {
            u128::try_from(end.timestamp.as_millis() - start.as_millis()).unwrap_or(0)
        }),
        completed_step_count: completions(&sorted).len() as u64,
        completed_steps: completions(&sorted),
        next_retry: steps
            .iter()
            .filter_map(|(name, _, retry, _)| retry.map(|(_, at)| (at, name)))
            .reduce(|best, other| if other.0 < best.0 { other } else { best })
            .map(|(_, name)| name.clone()),
        steps,
        sleeps: sleeps(&sorted),
        last_seq,
        complete: end.is_some() && missing.is_empty(),
        missing,
        conflicts: conflicts.into_iter().collect(),
    };
    match end.map(|event| event.kind.clone()) {
        Some(EventKind::WorkflowCompleted {
            completed_steps,
            duration_ms,
            output,
        }) => {
            answers.completed_step_count = completed_steps.count();
            answers.completed_steps = completed_steps.names().to_vec();
            answers.duration_ms = Some(duration_ms.into());
            answers.output = output;
        }
        Some(EventKind::WorkflowFailed {
            error,
            completed_steps,
        }) => {
            answers.completed_step_count = completed_steps.count();
            answers.completed_steps = completed_steps.names().to_vec();
            answers.error = Some(error);
        }
        Some(EventKind::WorkflowCancelled {
            reason,
            completed_steps,
        }) => {
            answers.completed_step_count = completed_steps.count();
            answers.completed_steps = completed_steps.names().to_vec();
            answers.cancel_reason = reason;
        }
        _ => {}
    }
    answers
}

fn first(events: &[Event], is_it: impl Fn(&EventKind) -> bool) -> Option<Timestamp> {
    events
        .iter()
        .find(|event| is_it(&event.kind))
        .map(|event| event.timestamp)
}

/// Returns the status from the last event that shows it; a run is queued if no later event is
/// known.
fn status(events: &[Event]) -> RunStatus {
    let telling = events.iter().rfind(|event| {
        !matches!(
            event.kind,
            EventKind::Unknown { .. } | EventKind::WorkflowQueued { .. }
        )
    });
    match telling.map(|event| event.kind.clone()) {
        Some(EventKind::WorkflowCompleted { .. }) => RunStatus::Completed,
        Some(EventKind::WorkflowFailed { .. }) => RunStatus::Failed,
        Some(EventKind::WorkflowCancelled { .. }) => RunStatus::Cancelled,
        Some(EventKind::WorkflowPaused {
            reason,
            resume_at,
            step_name,
        }) => RunStatus::Paused {
            reason,
            resume_at,
            step_name,
        },
        Some(_) => RunStatus::Running,
        None if events
            .iter()
            .any(|event| matches!(event.kind, EventKind::WorkflowQueued { .. })) =>
        {
            RunStatus::Queued
        }
        None => RunStatus::Unknown,
    }
}

fn step_name(kind: &EventKind) -> Option<&str> {
    match kind {
        EventKind::StepStarted { step_name, .. }
        | EventKind::StepCompleted { step_name, .. }
        | EventKind::StepFailed { step_name, .. }
        | EventKind::RetryScheduled { step_name, .. }
        | EventKind::RetryExhausted { step_name, .. }
        | EventKind::TimeoutSet { step_name, .. }
        | EventKind::TimeoutExceeded { step_name, .. } => Some(step_name),
        _ => None,
    }
}

fn step_names(events: &[Event]) -> Vec<&str> {
    let mut names = Vec::new();
    for name in events.iter().filter_map(|event| step_name(&event.kind)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn completions(events: &[Event]) -> Vec<String> {
    let mut names = Vec::new();
    for event in events {
        if let EventKind::StepCompleted { step_name, .. } = &event.kind
            && !names.contains(step_name)
        {
            names.push(step_name.clone());
        }
    }
    names
}

/// Splits the events of one step into attempts, and then reads each attempt from its part.
fn step(events: &[Event], name: &str, ended: bool) -> Step {
    let mut pieces: Vec<(u32, Vec<&Event>)> = Vec::new();
    // Whether the last part still takes events.
    let mut open = false;
    let mut cut_by_crash = Vec::new();
    let mut retry = None;
    let mut exhausted = false;
    for event in events {
        if matches!(
            event.kind,
            EventKind::WorkflowResumed {
                reason: ResumeReason::Recovery
            }
        ) && open
        {
            open = false;
            cut_by_crash.push(pieces.len() - 1);
        }
        if step_name(&event.kind) != Some(name) {
            continue;
        }
        let (number, begins, ends) =
            match &event.kind {
                EventKind::StepStarted { attempt, .. } => (*attempt, true, false),
                EventKind::StepCompleted { attempt, .. }
                | EventKind::StepFailed { attempt, .. } => (*attempt, false, true),
                EventKind::TimeoutSet { attempt, .. }
                | EventKind::TimeoutExceeded { attempt, .. } => (*attempt, false, false),
                EventKind::RetryScheduled {
                    attempt,
                    next_attempt_at,
                    ..
                } => {
                    retry = Some((*attempt, *next_attempt_at));
                    continue;
                }
                _ => {
                    (retry, exhausted) = (None, true);
                    continue;
                }
            };
        match pieces.last_mut() {
            Some((last, piece)) if open && !begins && *last == number => piece.push(event),
            _ => {
                pieces.push((number, vec![event]));
                retry = None;
            }
        }
        open = !ends;
    }
    let last = pieces.len().saturating_sub(1);
    let attempts = pieces.iter().enumerate().map(|(index, (number, piece))| {
        let find = |is_it: fn(&EventKind) -> bool| piece.iter().find(|event| is_it(&event.kind));
        let end = find(|kind| {
            matches!(
                kind,
                EventKind::StepCompleted { .. } | EventKind::StepFailed { .. }
            )
        });
        let outcome = match end.map(|event| event.kind.clone()) {
            Some(EventKind::StepCompleted {
                duration_ms,
                cached,
                ..
            }) => AttemptOutcome::Completed {
                duration: std::time::Duration::from_millis(duration_ms),
                cached,
            },
            Some(EventKind::StepFailed {
                error, will_retry, ..
            }) => AttemptOutcome::Failed { error, will_retry },
            _ if index == last && !ended && !cut_by_crash.contains(&index) => {
                AttemptOutcome::Running
            }
            _ => AttemptOutcome::Interrupted,
        };
        let deadline = piece.iter().rev().find_map(|event| match event.kind {
            EventKind::TimeoutSet { deadline, .. } => Some(deadline),
            _ => None,
        });
        (
            *number,
            find(|kind| matches!(kind, EventKind::StepStarted { .. })).map(|event| event.timestamp),
            end.map(|event| event.timestamp),
            deadline,
            find(|kind| matches!(kind, EventKind::TimeoutExceeded { .. })).is_some(),
            outcome,
        )
    });
    (
        name.to_owned(),
        attempts.collect(),
        retry.filter(|_| !ended),
        exhausted,
    )
}

fn sleeps(events: &[Event]) -> Vec<(Option<Timestamp>, Option<Timestamp>)> {
    // The start, the end and the due time.
    let mut sleeps: Vec<(Option<Timestamp>, Option<Timestamp>, Option<Timestamp>)> = Vec::new();
    for event in events {
        match event.kind {
            EventKind::SleepStarted { resume_at, .. } => {
                sleeps.push((Some(event.timestamp), None, Some(resume_at)))
            }
            EventKind::SleepCompleted { .. } => {
                let due_first = sleeps
                    .iter()
                    .filter(|sleep| sleep.1.is_none())
                    .filter_map(|sleep| sleep.2)
                    .min();
                match sleeps
                    .iter_mut()
                    .find(|sleep| sleep.1.is_none() && sleep.2 == due_first)
                {
                    Some(sleep) => sleep.1 = Some(event.timestamp),
                    None => sleeps.push((None, Some(event.timestamp), None)),
                }
            }
            _ => {}
        }
    }
    sleeps
        .into_iter()
        .map(|(start, end, _)| (start, end))
        .collect()
}
