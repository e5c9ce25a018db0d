//! The view of an imperfect record: late, missing, repeated and contradictory events.

use serde_json::json;
use uuid::Uuid;
use workflow_events::{
    AttemptOutcome, EventKind, PauseReason, Payload, ResumeReason, RunStatus, RunView,
};

use crate::make::*;

#[test]
fn nothing_is_known_of_a_new_view() {
    let view = RunView::new();
    assert_eq!(*view.status(), RunStatus::Unknown);
    assert_eq!(
        (view.run_id(), view.workflow_name(), view.execution_id()),
        (None, None, None)
    );
    assert_eq!(
        (view.input(), view.output(), view.error(), view.duration()),
        (None, None, None, None)
    );
    assert_eq!(view.last_seq(), 0);
    assert_eq!(view.missing().count(), 0);
    assert!(!view.is_complete());
}

#[test]
fn gaps_are_ranges_and_close_when_the_late_events_arrive() {
    let events = run([
        started(),
        step_started("a", 1),
        step_completed("a", 1),
        step_started("b", 1),
        step_completed("b", 1),
        completed(&["a", "b"]),
    ]);
    let mut view = RunView::from_events([&events[1], &events[5]]);
    assert_eq!(view.missing().collect::<Vec<_>>(), [1..=1, 3..=5]);
    assert_eq!(*view.status(), RunStatus::Completed);
    assert_eq!(
        view.completed_steps(),
        ["a", "b"],
        "the terminal event knows more than the steps seen"
    );
    assert_eq!(view.input(), None);
    assert!(!view.is_complete());

    view.apply(&events[3]);
    assert_eq!(view.missing().collect::<Vec<_>>(), [1..=1, 3..=3, 5..=5]);
    for late in [4, 2, 0] {
        view.apply(&events[late]);
    }
    assert_eq!(view.missing().count(), 0);
    assert!(view.is_complete());
    assert_eq!(view, RunView::from_events(&events));
    assert_eq!(view.steps(), RunView::from_events(&events).steps());
}

#[test]
fn a_contiguous_record_without_its_end_is_not_complete() {
    assert!(!RunView::from_events(run([started(), step_started("a", 1)])).is_complete());
}

#[test]
fn a_query_between_two_events_changes_nothing() {
    let events = run([
        started(),
        step_started("a", 1),
        step_completed("a", 1),
        completed(&["a"]),
    ]);
    let mut looked_at = RunView::new();
    for late in [2, 0, 3, 1] {
        looked_at.apply(&events[late]);
        let _ = looked_at.status();
    }
    assert_eq!(looked_at.steps(), RunView::from_events(&events).steps());
    assert_eq!(looked_at.status(), &RunStatus::Completed);
}

#[test]
fn what_only_a_running_run_does_shows_that_it_runs() {
    let asleep = paused(PauseReason::Sleep, Some(at(9)), None);
    for kind in [
        step_started("a", 1),
        step_completed("a", 1),
        step_failed("a", 1, true),
        retry_scheduled("a", 1, 9),
        retry_exhausted("a", 1),
        sleep_started(9),
        sleep_completed(),
        timeout_set("a", 1, 9),
        timeout_exceeded("a", 1),
        resumed(ResumeReason::Timer),
    ] {
        let view = RunView::from_events([event(3, asleep.clone()), event(5, kind)]);
        assert_eq!(*view.status(), RunStatus::Running);
    }
    let view = RunView::from_events([event(3, asleep), event(5, unknown())]);
    assert_eq!(
        view.status().as_str(),
        "paused",
        "an unknown type tells nothing"
    );
}

#[test]
fn an_outcome_without_its_start_is_an_attempt_without_start() {
    let view = RunView::from_events([event(3, step_failed("a", 2, false))]);
    let attempt = view.step("a").unwrap().latest().unwrap();
    assert_eq!(
        (attempt.number, attempt.started_at, attempt.finished_at),
        (2, None, Some(at(3)))
    );
    assert_eq!(attempt.error().unwrap().message, "boom");
}

#[test]
fn a_start_without_its_outcome_is_interrupted_by_the_next() {
    let view = RunView::from_events([
        event(2, step_started("a", 1)),
        event(7, step_started("a", 2)),
    ]);
    let outcomes: Vec<_> = view
        .step("a")
        .unwrap()
        .attempts
        .iter()
        .map(|attempt| &attempt.outcome)
        .collect();
    assert_eq!(
        outcomes,
        [&AttemptOutcome::Interrupted, &AttemptOutcome::Running]
    );
}

#[test]
fn the_retry_due_first_is_next() {
    let view = RunView::from_events(run([
        started(),
        retry_scheduled("a", 1, 30),
        retry_scheduled("b", 1, 20),
        retry_scheduled("c", 1, 40),
    ]));
    assert_eq!(view.next_retry().unwrap().step_name, "b");
}

#[test]
fn a_completion_ends_the_open_sleep_due_first() {
    let view = RunView::from_events(run([
        started(),
        sleep_started(90),
        sleep_started(50),
        sleep_completed(),
        sleep_completed(),
    ]));
    let ends: Vec<_> = view
        .sleeps()
        .iter()
        .map(|sleep| sleep.completed_at)
        .collect();
    assert_eq!(ends, [Some(at(5)), Some(at(4))]);
    let alone = RunView::from_events([event(4, sleep_completed())]);
    assert_eq!(
        (alone.sleeps()[0].started_at, alone.sleeps()[0].completed_at),
        (None, Some(at(4)))
    );
}

#[test]
fn a_run_ends_once() {
    let events = run([
        started(),
        completed(&[]),
        failed(&["a"]),
        step_started("a", 1),
    ]);
    let view = RunView::from_events(&events);
    assert_eq!(*view.status(), RunStatus::Completed);
    assert_eq!((view.error(), view.steps()), (None, &[] as &[_]));
    assert!(view.is_complete(), "what follows the end fills its place");
    assert!(!RunView::from_events(events.iter().filter(|event| event.seq != 3)).is_complete());
}

#[test]
fn a_returned_null_is_an_output() {
    let returned = |output| {
        let kind = EventKind::WorkflowCompleted {
            completed_steps: Default::default(),
            duration_ms: 0,
            output,
        };
        RunView::from_events([event(1, kind)]).output().cloned()
    };
    assert_eq!(returned(None), None);
    assert_eq!(returned(Some(Payload::default())), Some(Payload::default()));
}

#[test]
fn of_two_events_at_one_place_the_smallest_id_counts() {
    let first = event(2, completed(&[]));
    let mut second = event(2, failed(&[]));
    second.event_id = Uuid::from_u128(1);
    let start = event(1, started());
    for order in [[&start, &first, &second], [&second, &first, &start]] {
        let mut view = RunView::new();
        for event in order {
            view.apply(event);
            let _ = view.status();
        }
        assert_eq!(*view.status(), RunStatus::Failed);
        assert_eq!(view.conflicts().collect::<Vec<_>>(), [2]);
        assert!(view.is_complete());
    }
    assert_eq!(
        RunView::from_events([&start, &first, &first])
            .conflicts()
            .count(),
        0
    );
}

#[test]
fn one_id_with_two_contents_is_a_conflict_in_every_order() {
    let a = event(1, step_started("a", 1));
    let b = event(1, step_started("b", 1));
    let view = RunView::from_events([&a, &b]);
    assert_eq!(view, RunView::from_events([&b, &a]));
    assert_eq!(view.conflicts().collect::<Vec<_>>(), [1]);

    // The same holds if the events differ only in a value.
    let [a, b] = [json!([1]), json!([2])].map(|input| {
        event(
            1,
            EventKind::WorkflowStarted {
                input: input.into(),
            },
        )
    });
    let view = RunView::from_events([&a, &b]);
    assert_eq!(view.input(), RunView::from_events([&b, &a]).input());
    assert_eq!(view.conflicts().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_redelivery_with_the_fields_of_its_tracker_is_a_duplicate() {
    let plain = event(1, started());
    let mut sent = plain.clone();
    sent.extra.insert("env".into(), json!("production").into());
    assert_eq!(
        RunView::from_events([&plain, &sent]),
        RunView::from_events([&plain])
    );
}

#[test]
fn of_two_runs_in_one_view_the_smallest_id_counts() {
    let ours = run([started(), completed(&[])]);
    let mut other = event(1, queued());
    other.workflow_id = "run-2".into();
    let expected = RunView::from_events([&ours[0], &other, &ours[1]]);
    assert_eq!(expected, RunView::from_events([&other, &ours[0], &ours[1]]));
    assert_eq!(expected.run_id(), Some("run-1"));
    assert_eq!(*expected.status(), RunStatus::Completed);
    assert_eq!(expected.conflicts().count(), 0);
    assert!(expected.is_mixed() && !RunView::from_events(&ours).is_mixed());
}

#[test]
fn the_extremes_of_seq_are_places_or_ignored() {
    let view = RunView::from_events([event(0, completed(&[])), event(u64::MAX, started())]);
    assert_eq!(*view.status(), RunStatus::Running);
    assert_eq!(view.last_seq(), u64::MAX);
    assert_eq!(view.missing().collect::<Vec<_>>(), [1..=u64::MAX - 1]);
}
