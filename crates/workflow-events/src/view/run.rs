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
/// The view is a function of the **set** of events applied: neither their order nor how often each
/// of them arrived changes it. It holds one fact per `seq` and is always the replay of these facts
/// in order of `seq`; time never orders anything.
///
/// - Events may be missing. What they would have told is absent until they arrive, and
///   [`missing`](Self::missing) names their places.
/// - Two different events at one `seq` are a conflict, which a correct engine never makes. The one
///   with the smallest `eventId` counts and [`conflicts`](Self::conflicts) names the place.
/// - Events of several runs in one view are the caller's mistake. The run with the smallest id
///   counts and [`is_mixed`](Self::is_mixed) tells.
/// - A run ends once: what follows the first terminal event fills its place and changes nothing.
/// - An event with `seq` 0 has no place and is ignored; reading refuses it.
///
/// Applying costs O(log n). An event that arrives in order is folded at once; after one that
/// arrives late, the next look replays all facts. A fact is the event without its envelope and
/// without its unknown fields.
#[derive(Debug, Clone, Default)]
pub struct RunView {
    run_id: Option<String>,
    mixed: bool,
    origin: Option<Origin>,
    facts: BTreeMap<u64, Fact>,
    conflicts: BTreeSet<u64>,
    /// The replay of `facts`, when someone has looked since the last late event.
    fold: OnceLock<Fold>,
}

/// The event that names the run: the first by this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    seq: u64,
    event_id: Uuid,
    workflow_name: String,
    execution_id: Option<String>,
}

impl RunView {
    /// The view of a run of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The view after all of these events.
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

    /// Adds what one event tells.
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

    /// The id of the run.
    #[must_use]
    pub fn run_id(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    /// The name of the definition, by the first event seen.
    #[must_use]
    pub fn workflow_name(&self) -> Option<&str> {
        self.origin
            .as_ref()
            .map(|origin| origin.workflow_name.as_str())
    }

    /// The correlation id given at start, by the first event seen.
    #[must_use]
    pub fn execution_id(&self) -> Option<&str> {
        self.origin.as_ref()?.execution_id.as_deref()
    }

    /// Where the run stands, by the last event seen that tells.
    #[must_use]
    pub fn status(&self) -> &RunStatus {
        &self.fold().status
    }

    /// What the run was started with.
    #[must_use]
    pub fn input(&self) -> Option<&Payload> {
        match &self.facts.get(&self.fold().input_seq?)?.kind {
            EventKind::WorkflowQueued { input } | EventKind::WorkflowStarted { input } => {
                Some(input)
            }
            _ => None,
        }
    }

    /// What the run returned.
    #[must_use]
    pub fn output(&self) -> Option<&Payload> {
        match &self.terminal_fact()?.kind {
            EventKind::WorkflowCompleted { output, .. } => output.as_ref(),
            _ => None,
        }
    }

    /// The error that ended the run.
    #[must_use]
    pub fn error(&self) -> Option<&ErrorInfo> {
        match &self.terminal_fact()?.kind {
            EventKind::WorkflowFailed { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The words of the caller who cancelled the run.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<&str> {
        match &self.terminal_fact()?.kind {
            EventKind::WorkflowCancelled { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }

    /// When the run was created, if it was queued.
    #[must_use]
    pub fn queued_at(&self) -> Option<Timestamp> {
        self.fold().queued_at
    }

    /// When the first execution began.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.fold().started_at
    }

    /// When the run ended.
    #[must_use]
    pub fn finished_at(&self) -> Option<Timestamp> {
        Some(self.terminal_fact()?.timestamp)
    }

    /// From start to end, pauses included: as the engine measured it for a completed run, by the
    /// two timestamps for one that failed or was cancelled.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        match &self.terminal_fact()?.kind {
            EventKind::WorkflowCompleted { duration_ms, .. } => {
                Some(Duration::from_millis(*duration_ms))
            }
            _ => Some(self.finished_at()?.duration_since(self.started_at()?)),
        }
    }

    /// The completed steps in order of completion: by the word of the terminal event, which lists
    /// the last ones, and until then those seen to complete.
    #[must_use]
    pub fn completed_steps(&self) -> &[String] {
        self.fold().completed_steps.names()
    }

    /// How many steps have completed: by the word of the terminal event, until then those seen to
    /// complete. It is more than [`completed_steps`](Self::completed_steps) lists where that event
    /// could not list all.
    #[must_use]
    pub fn completed_step_count(&self) -> u64 {
        self.fold().completed_steps.count()
    }

    /// Every step seen, in order of first appearance.
    #[must_use]
    pub fn steps(&self) -> &[StepView] {
        &self.fold().steps
    }

    /// The step of that name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepView> {
        self.steps().get(*self.fold().step_index.get(name)?)
    }

    /// Every sleep seen, in order of its first event. Of several open sleeps, a completion is taken
    /// to end the one due first.
    #[must_use]
    pub fn sleeps(&self) -> &[SleepView] {
        &self.fold().sleeps
    }

    /// The retry that is due first.
    #[must_use]
    pub fn next_retry(&self) -> Option<&RetryView> {
        self.steps()
            .iter()
            .filter_map(|step| step.next_retry.as_ref())
            .min_by_key(|retry| retry.at)
    }

    /// The highest `seq` seen, 0 before the first event.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.facts.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// The places from 1 to [`last_seq`](Self::last_seq) whose events have not arrived, in order.
    pub fn missing(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let mut before = 0;
        self.facts.keys().filter_map(move |seq| {
            let gap = before + 1..=*seq - 1;
            before = *seq;
            (!gap.is_empty()).then_some(gap)
        })
    }

    /// The places at which two different events were seen, in order.
    pub fn conflicts(&self) -> impl Iterator<Item = u64> {
        self.conflicts.iter().copied()
    }

    /// Whether events of more than one run were applied.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// Whether the record is whole: the run has ended and no event is missing. It says nothing on
    /// [`conflicts`](Self::conflicts).
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
        // The fold follows from the facts.
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
