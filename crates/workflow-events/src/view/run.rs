//! The view of one run: idempotent, and independent of the order in which events arrive.

use std::borrow::Borrow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Duration;

use uuid::Uuid;

use crate::error_info::ErrorInfo;
use crate::event::Event;
use crate::kind::EventKind;
use crate::payload::Payload;
use crate::timestamp::Timestamp;
use crate::view::fold::{Fact, Fold};
use crate::view::status::RunStatus;
use crate::view::step::{RetryView, SleepView, StepView};

/// The view of one run, folded from its events.
///
/// The view is a function of the **set** of applied events: neither their order nor repeated events
/// change the view. The view holds one fact per `seq`, and is always the replay of these facts in
/// order of `seq`. Time never decides the order.
///
/// - Events may be missing. Their information is absent until they arrive, and
///   [`missing`](Self::missing) names their places.
/// - Two different events at one `seq` are a conflict, which a correct engine never makes. The
///   event with the smallest `eventId` counts, and [`conflicts`](Self::conflicts) names the place.
/// - Events of several runs in one view are the caller's mistake. The run with the smallest id
///   counts, and [`is_mixed`](Self::is_mixed) returns true.
/// - A run ends once: an event after the first terminal event fills its place, but changes nothing
///   else.
/// - An event with `seq` 0 has no place and is ignored; reading refuses such an event.
///
/// Applying an event costs O(log n). An event that arrives in order is folded at once; after an
/// event that arrives late, the next query replays all facts. A fact is the event without its
/// envelope and its unknown fields.
#[derive(Debug, Clone, Default)]
pub struct RunView {
    run_id: Option<String>,
    mixed: bool,
    origin: Option<Origin>,
    facts: BTreeMap<u64, Fact>,
    conflicts: BTreeSet<u64>,
    /// The replay of `facts`; empty from a late event until the next query.
    fold: OnceLock<Fold>,
}

/// The event that names the run: the first in the order of these fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    seq: u64,
    event_id: Uuid,
    workflow_name: String,
    execution_id: Option<String>,
}

impl RunView {
    /// Creates the view of a run without events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the view of a run from its events.
    pub fn from_events<I>(events: I) -> Self
    where
        I: IntoIterator,
        I::Item: Borrow<Event>,
    {
        let mut view = Self::new();
        for event in events {
            view.apply(event.borrow());
        }
        view
    }

    /// Applies one event.
    pub fn apply(&mut self, event: &Event) {
        if event.seq == 0 {
            return;
        }
        match &self.run_id {
            Some(run_id) if event.workflow_id == *run_id => {}
            Some(run_id) if event.workflow_id > *run_id => {
                self.mixed = true;
                return;
            }
            known => {
                *self = Self {
                    mixed: known.is_some(),
                    run_id: Some(event.workflow_id.clone()),
                    ..Self::default()
                };
            }
        }
        self.update_origin(event);

        let fact = Fact {
            event_id: event.event_id,
            timestamp: event.timestamp,
            kind: event.kind.clone(),
        };
        let in_order = event.seq > self.last_seq();
        match self.facts.entry(event.seq) {
            Entry::Vacant(place) => {
                match self.fold.get_mut() {
                    Some(fold) if in_order => fold.advance(event.seq, &fact),
                    _ => self.fold = OnceLock::new(),
                }
                place.insert(fact);
            }
            Entry::Occupied(held) if *held.get() == fact => {}
            Entry::Occupied(mut held) => {
                self.conflicts.insert(event.seq);
                if fact.precedes(held.get()) {
                    held.insert(fact);
                    self.fold = OnceLock::new();
                }
            }
        }
    }

    /// Returns the id of the run.
    #[must_use]
    pub fn run_id(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    /// Returns the name of the definition, from the first event seen.
    #[must_use]
    pub fn workflow_name(&self) -> Option<&str> {
        self.origin
            .as_ref()
            .map(|origin| origin.workflow_name.as_str())
    }

    /// Returns the correlation id given at start, from the first event seen.
    #[must_use]
    pub fn execution_id(&self) -> Option<&str> {
        self.origin.as_ref()?.execution_id.as_deref()
    }

    /// Returns the status of the run, from the last event seen that shows it.
    #[must_use]
    pub fn status(&self) -> &RunStatus {
        &self.fold().status
    }

    /// Returns the input of the run.
    #[must_use]
    pub fn input(&self) -> Option<&Payload> {
        match &self.facts.get(&self.fold().input_seq?)?.kind {
            EventKind::WorkflowQueued { input } | EventKind::WorkflowStarted { input } => {
                Some(input)
            }
            _ => None,
        }
    }

    /// Returns the output of the run.
    #[must_use]
    pub fn output(&self) -> Option<&Payload> {
        match &self.terminal_fact()?.kind {
            EventKind::WorkflowCompleted { output, .. } => output.as_ref(),
            _ => None,
        }
    }

    /// Returns the error that ended the run.
    #[must_use]
    pub fn error(&self) -> Option<&ErrorInfo> {
        match &self.terminal_fact()?.kind {
            EventKind::WorkflowFailed { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Returns the reason that the caller gave for the cancel.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<&str> {
        match &self.terminal_fact()?.kind {
            EventKind::WorkflowCancelled { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }

    /// Returns the time at which the run was created, if it was queued.
    #[must_use]
    pub fn queued_at(&self) -> Option<Timestamp> {
        self.fold().queued_at
    }

    /// Returns the time at which the first execution began.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.fold().started_at
    }

    /// Returns the time at which the run ended.
    #[must_use]
    pub fn finished_at(&self) -> Option<Timestamp> {
        Some(self.terminal_fact()?.timestamp)
    }

    /// Returns the time from start to end, including suspensions: the engine's measurement for a
    /// completed run, and the difference of two timestamps for a failed or cancelled run.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        match &self.terminal_fact()?.kind {
            EventKind::WorkflowCompleted { duration_ms, .. } => {
                Some(Duration::from_millis(*duration_ms))
            }
            _ => Some(self.finished_at()?.duration_since(self.started_at()?)),
        }
    }

    /// Returns the completed steps in order of completion: the list of the terminal event, which
    /// names the last ones. Before that event, the steps seen to complete.
    #[must_use]
    pub fn completed_steps(&self) -> &[String] {
        self.fold().completed_steps.names()
    }

    /// Returns the number of completed steps: the count of the terminal event. Before that event,
    /// the number of steps seen to complete. The count is larger than the list of
    /// [`completed_steps`](Self::completed_steps) if that event could not list all.
    #[must_use]
    pub fn completed_step_count(&self) -> u64 {
        self.fold().completed_steps.count()
    }

    /// Returns every step seen, in order of first appearance.
    #[must_use]
    pub fn steps(&self) -> &[StepView] {
        &self.fold().steps
    }

    /// Returns the step of this name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepView> {
        self.steps().get(*self.fold().step_index.get(name)?)
    }

    /// Returns every sleep seen, in order of its first event. If several sleeps are open, a
    /// completion ends the one that is due first.
    #[must_use]
    pub fn sleeps(&self) -> &[SleepView] {
        &self.fold().sleeps
    }

    /// Returns the retry that is due first.
    #[must_use]
    pub fn next_retry(&self) -> Option<&RetryView> {
        self.steps()
            .iter()
            .filter_map(|step| step.next_retry.as_ref())
            .min_by_key(|retry| retry.at)
    }

    /// Returns the highest `seq` seen; 0 before the first event.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.facts.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// Returns the places from 1 to [`last_seq`](Self::last_seq) whose events have not arrived, in
    /// order.
    pub fn missing(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let mut before = 0;
        self.facts.keys().filter_map(move |seq| {
            let gap = before + 1..=*seq - 1;
            before = *seq;
            (!gap.is_empty()).then_some(gap)
        })
    }

    /// Returns the places at which two different events were seen, in order.
    pub fn conflicts(&self) -> impl Iterator<Item = u64> {
        self.conflicts.iter().copied()
    }

    /// Returns whether events of more than one run were applied.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// Returns whether the record is complete: the run has ended and no event is missing.
    /// [`conflicts`](Self::conflicts) do not count.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.fold().end_seq.is_some() && self.missing().next().is_none()
    }

    fn update_origin(&mut self, event: &Event) {
        let place = (event.seq, event.event_id);
        if self
            .origin
            .as_ref()
            .is_some_and(|origin| place > (origin.seq, origin.event_id))
        {
            return;
        }
        let candidate = Origin {
            seq: event.seq,
            event_id: event.event_id,
            workflow_name: event.workflow_name.clone(),
            execution_id: event.execution_id.clone(),
        };
        if self
            .origin
            .as_ref()
            .is_none_or(|origin| candidate < *origin)
        {
            self.origin = Some(candidate);
        }
    }

    fn fold(&self) -> &Fold {
        self.fold.get_or_init(|| Fold::replay(&self.facts))
    }

    fn terminal_fact(&self) -> Option<&Fact> {
        self.facts.get(&self.fold().end_seq?)
    }
}

impl PartialEq for RunView {
    fn eq(&self, other: &Self) -> bool {
        // The fold is not compared, because the facts determine it.
        self.run_id == other.run_id
            && self.mixed == other.mixed
            && self.origin == other.origin
            && self.facts == other.facts
            && self.conflicts == other.conflicts
    }
}

impl<E: Borrow<Event>> FromIterator<E> for RunView {
    fn from_iter<I: IntoIterator<Item = E>>(events: I) -> Self {
        Self::from_events(events)
    }
}
