//! Spans name runs and steps, and no span or log event contains a payload.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use workflow_engine::{Context, Failure, Retry, Workflow};

use support::Fixture;

/// Records every span and event.
#[derive(Clone, Default)]
struct Scribe(Arc<Mutex<String>>, Arc<AtomicU64>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Scribe {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("workflow")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = self.0.lock().unwrap();
        text.push_str(span.metadata().name());
        span.record(&mut Line(&mut text));
        text.push('\n');
        Id::from_u64(self.1.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut Line(&mut text));
        text.push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn spans_have_ids_and_names_and_no_payload() {
    const PAY: Workflow<String, String> = Workflow::new("pay");
    let fixture = Fixture::new();
    let scribe = Scribe::default();
    let pay = |ctx: Context, card: String| async move {
        let charge = || async { Err::<String, _>(Failure::new(format!("declined: {card}"))) };
        let policy = Retry::constant(std::time::Duration::from_millis(10)).attempts(2)?;
        let _ = ctx.step("charge", charge).retry(policy).await;
        Ok::<_, Failure>(
            ctx.step("mail", || async { Ok::<_, Failure>(card.clone()) })
                .await?,
        )
    };
    let engine = fixture.builder().workflow(&PAY, pay).build().unwrap();
    tracing::subscriber::with_default(scribe.clone(), || {
        fixture.clock.run(async {
            let _ = engine
                .run(&PAY, "pay-17", "4111-1111".to_owned())
                .await
                .unwrap();
            let _ = engine.shutdown(std::time::Duration::from_secs(1)).await;
        });
    });
    let text = scribe.0.lock().unwrap().clone();
    for line in [
        "workflow run=\"pay-17\" workflow=\"pay\"",
        "step step=\"charge\" attempt=1",
        "step step=\"charge\" attempt=2",
        "step step=\"mail\" attempt=1",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains("4111"), "a payload:\n{text}");
}
