//! The fold is a function of the set of events, and agrees with the reference.

use proptest::prelude::*;
use proptest::sample::subsequence;
use uuid::Uuid;
use workflow_events::{Event, EventKind, PauseReason, ResumeReason, RunView};

use crate::make;
use crate::reference::{answers_of, reference};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn order_and_repetition_change_nothing((record, delivery) in record_and_delivery()) {
        let expected = RunView::from_events(&record);
        let delivered = RunView::from_events(&delivery);
        prop_assert_eq!(&delivered, &expected);
        prop_assert_eq!(answers_of(&delivered), answers_of(&expected));
    }

    #[test]
    fn a_second_application_changes_nothing((_, delivery) in record_and_delivery()) {
        let once = RunView::from_events(&delivery);
        let mut twice = once.clone();
        for event in &delivery {
            twice.apply(event);
            prop_assert_eq!(&twice, &once);
            prop_assert_eq!(answers_of(&twice), answers_of(&once));
        }
    }

    #[test]
    fn the_view_is_what_the_reference_says((_, delivery) in record_and_delivery()) {
        prop_assert_eq!(answers_of(&RunView::from_events(&delivery)), reference(&delivery));
    }

    /// A query after every event folds some events at once and others by replay.
    #[test]
    fn a_view_queried_after_every_event_is_what_the_reference_says((_, delivery) in record_and_delivery()) {
        let mut view = RunView::new();
        for (seen, event) in delivery.iter().enumerate() {
            view.apply(event);
            prop_assert_eq!(answers_of(&view), reference(&delivery[..=seen]));
        }
    }

    #[test]
    fn even_a_broken_contract_has_one_view_in_every_order((a, b) in mixed_up()) {
        let a = RunView::from_events(&a);
        let b = RunView::from_events(&b);
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(answers_of(&a), answers_of(&b));
    }
}

/// Generates a record with gaps and conflicts, and a delivery of it: shuffled, with some events
/// repeated.
fn record_and_delivery() -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    // The ids of a run are its places, so an id of this range is below or above that of its rival.
    let rival = (1..24_u64, 0..24_u128, kind()).prop_map(|(seq, id, kind)| Event {
        event_id: Uuid::from_u128(id),
        ..make::event(seq, kind)
    });
    (
        prop::collection::vec(kind(), 1..24),
        prop::collection::vec(rival, 0..3),
    )
        .prop_map(|(kinds, rivals)| unique([make::run(kinds), rivals].concat()))
        .prop_flat_map(|events| (some_of(&events, events.len() / 2), some_of(&events, 0)))
        .prop_flat_map(|(record, again)| {
            let again = again
                .into_iter()
                .filter(|event| record.contains(event))
                .collect();
            let delivery = [record.clone(), again].concat();
            (Just(record), Just(delivery).prop_shuffle())
        })
}

fn some_of(events: &[Event], at_least: usize) -> impl Strategy<Value = Vec<Event>> + use<> {
    subsequence(events.to_vec(), at_least..=events.len())
}

/// Generates events of several runs and names, with places and ids shared by different events, in
/// two orders.
fn mixed_up() -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    let event = (0..4_u64, 0..3_u128, 0..2_u8, 0..2_u8, any::<bool>(), kind()).prop_map(
        |(seq, id, run, name, execution, kind)| Event {
            event_id: Uuid::from_u128(id),
            workflow_id: format!("run-{run}"),
            workflow_name: format!("name-{name}"),
            execution_id: execution.then(|| "exec".into()),
            ..make::event(seq, kind)
        },
    );
    prop::collection::vec(event, 0..12)
        .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle()))
}

/// Generates one event per place and id, as the contract promises.
fn unique(record: Vec<Event>) -> Vec<Event> {
    let mut unique: Vec<Event> = Vec::new();
    for event in record {
        if !unique
            .iter()
            .any(|held| (held.seq, held.event_id) == (event.seq, event.event_id))
        {
            unique.push(event);
        }
    }
    unique
}

/// Generates any kind, with few names and numbers, so that events refer to the same steps.
fn kind() -> impl Strategy<Value = EventKind> {
    let step = || prop::sample::select(vec!["a", "b"]);
    let attempt = || 1..3_u32;
    prop_oneof![
        1 => (0..3_u32).prop_map(|input| EventKind::WorkflowQueued { input: serde_json::Value::from(input).into() }),
        1 => (0..3_u32).prop_map(|input| EventKind::WorkflowStarted { input: serde_json::Value::from(input).into() }),
        1 => (prop::sample::select(vec![PauseReason::Sleep, PauseReason::Retry]), prop::option::of(step()))
            .prop_map(|(reason, step)| make::paused(reason, Some(make::at(9)), step)),
        2 => prop::sample::select(vec![ResumeReason::Timer, ResumeReason::Recovery]).prop_map(make::resumed),
        1 => prop_oneof![
            Just(make::completed(&["a"])),
            Just(make::failed(&["b"])),
            Just(make::cancelled(&[])),
        ],
        5 => (step(), attempt()).prop_map(|(step, attempt)| make::step_started(step, attempt)),
        3 => (step(), attempt()).prop_map(|(step, attempt)| make::step_completed(step, attempt)),
        3 => (step(), attempt(), any::<bool>()).prop_map(|(step, attempt, retry)| make::step_failed(step, attempt, retry)),
        2 => (step(), attempt(), 0..99_u64).prop_map(|(step, attempt, due)| make::retry_scheduled(step, attempt, due)),
        1 => (step(), attempt()).prop_map(|(step, attempts)| make::retry_exhausted(step, attempts)),
        2 => (0..99_u64).prop_map(make::sleep_started),
        2 => Just(make::sleep_completed()),
        2 => (step(), attempt(), 0..99_u64).prop_map(|(step, attempt, due)| make::timeout_set(step, attempt, due)),
        1 => (step(), attempt()).prop_map(|(step, attempt)| make::timeout_exceeded(step, attempt)),
        1 => Just(make::unknown()),
    ]
}
