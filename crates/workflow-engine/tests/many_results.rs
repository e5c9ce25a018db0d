//! Results that are accepted one by one are accepted together, and stored values are not checked
//! again.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::sync::Arc;

use futures::future::try_join_all;
use tracker_core::testing::TestClock;
use workflow_engine::store::{Entry, EntryKind, NewRun, Record};
use workflow_engine::{
    CancelError, Cancelled, Context, EncodedEvent, Engine, Failure, MemoryStore, Outcome, Payload,
    RunError, Status, Store, Timestamp, Workflow,
};
use workflow_testing::FaultStore;

use support::{Fixture, STEPS};

const MANY: Workflow<usize, usize> = Workflow::new("many");

/// Executes parallel steps whose results each have the maximum size.
async fn many(ctx: Context, count: usize) -> Result<usize, Failure> {
    let steps = (0..count).map(|n| {
        ctx.step(format!("step-{n}"), || async {
            Ok::<_, Failure>("x".repeat((1 << 20) - 2))
        })
    });
    Ok(try_join_all(steps).await?.len())
}

/// PostgreSQL refused 520 MiB in one write, and every step was executed again without end.
#[test]
fn parallel_results_that_are_each_within_their_limit_go_into_several_writes() {
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::new())));
    let clock = Arc::new(TestClock::new());
    let builder = Engine::builder().store(store.clone()).clock(clock.clone());
    let engine = builder.workflow(&MANY, many).build().unwrap();
    clock.run(async {
        assert_eq!(
            engine.run(&MANY, "small", 1).await.unwrap(),
            Outcome::Completed(1)
        );
        let before = store.writes();
        assert_eq!(
            engine.run(&MANY, "few", 2).await.unwrap(),
            Outcome::Completed(2)
        );
        let few = store.writes() - before;
        let before = store.writes();
        assert_eq!(
            engine.run(&MANY, "many", 70).await.unwrap(),
            Outcome::Completed(70)
        );
        let many = store.writes() - before;
        // Each result counts twice, so sixteen go into 32 MiB.
        assert!(many >= few + 4, "{few} writes for few, {many} for many");
        let history = engine.history("many").await.unwrap();
        assert_eq!(history.len(), 2 + 2 * 70);
        assert!(
            history.iter().zip(1..).all(|(event, seq)| event.seq == seq),
            "the history is contiguous"
        );
    });
}

#[test]
fn a_cancel_beside_many_results_keeps_them_all() {
    let fixture = Fixture::new();
    let engine = fixture.builder().workflow(&MANY, many).build().unwrap();
    fixture.clock.run(async {
        engine.start(&MANY, "r", 70).await.unwrap();
        assert_eq!(engine.run_until_idle().await.unwrap().executed, 1);
        assert_eq!(
            engine
                .handle(&MANY, "r")
                .completed_steps()
                .await
                .unwrap()
                .len(),
            70
        );
    });
}

/// Creates a queued run as an earlier version did, with an id or an input that is refused today.
async fn create_as_earlier_version(fixture: &Fixture, id: &str, workflow: &str, input: String) {
    let payload = Payload::from_json(input.clone()).unwrap();
    let event = format!(
        concat!(
            r#"{{"eventId":"0197a3c0-5c00-7000-8000-000000000001","timestamp":"1970-01-01T00:00:00.000Z","#,
            r#""source":"workflow","type":"workflow.queued","workflowId":"r","workflowName":"{}","seq":1,"input":{}}}"#
        ),
        workflow, input
    );
    let entry = Entry {
        kind: EntryKind::Created,
        name: String::new(),
        occurrence: 0,
        attempt: 0,
        due_at: None,
        payload: Some(payload),
    };
    let record = Record {
        first_seq: 1,
        at: Timestamp::UNIX_EPOCH,
        events: vec![EncodedEvent::from_json(event).unwrap()],
        entry: Some(entry),
    };
    let workflow = workflow.into();
    let worker = "w".into();
    let status = Status::Queued;
    let new = NewRun {
        id: id.into(),
        workflow,
        execution_id: None,
        status,
        worker,
        record,
    };
    fixture.store.create(new).await.unwrap();
}

#[test]
fn a_run_with_an_id_that_is_refused_today_continues_and_can_be_cancelled_and_awaited() {
    let fixture = Fixture::new();
    let long = "x".repeat(600);
    let engine = fixture.builder().build().unwrap();
    fixture.clock.run(async {
        create_as_earlier_version(&fixture, &long, "steps", "2".into()).await;
        assert_eq!(
            engine.run(&STEPS, long.as_str(), 2).await.unwrap(),
            Outcome::Completed(2)
        );
        assert_eq!(
            engine.handle(&STEPS, long.as_str()).result().await.unwrap(),
            Outcome::Completed(2)
        );
        assert!(matches!(
            engine.run(&STEPS, long.as_str(), 3).await,
            Err(RunError::Conflict { what: "input", .. })
        ));

        let other = format!("{long}-other");
        let new = format!("{long}-new");
        create_as_earlier_version(&fixture, &other, "steps", "2".into()).await;
        assert_eq!(engine.cancel(&other, "no").await.unwrap(), Cancelled::Done);
        assert!(
            matches!(engine.cancel(&new, "no").await, Err(CancelError::Id(_))),
            "there is none"
        );
        assert!(matches!(
            engine.handle(&STEPS, new.as_str()).result().await,
            Err(RunError::Id { .. })
        ));
        assert!(matches!(
            engine.run(&STEPS, new.as_str(), 2).await,
            Err(RunError::Id { .. })
        ));
    });
}

#[test]
fn a_run_whose_input_is_too_deep_today_continues() {
    const DEEP: Workflow<Payload, u32> = Workflow::new("deep");
    let fixture = Fixture::new();
    let nested = "[".repeat(110) + &"]".repeat(110);
    let engine = fixture
        .builder()
        .workflow(&DEEP, |_, _| async { Ok::<_, Failure>(7) })
        .build()
        .unwrap();
    let input = Payload::from_json(nested.clone()).unwrap();
    fixture.clock.run(async {
        create_as_earlier_version(&fixture, "r", "deep", nested).await;
        assert_eq!(
            engine.run(&DEEP, "r", input.clone()).await.unwrap(),
            Outcome::Completed(7)
        );
        assert!(matches!(
            engine.run(&DEEP, "new", input).await,
            Err(RunError::InputTooDeep { .. })
        ));
    });
}
