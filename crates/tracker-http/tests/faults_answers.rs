//! Answers that are not a plain success: each has one consequence, and no event is lost or blamed
//! for another.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::time::timeout;
use tracker_core::{Config, DeliveryError, FlushReport, Observer, Reason, SendError};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, JsonEvent};

/// An observer that keeps the rejected events and their reasons.
#[derive(Default)]
struct Seen(Mutex<Vec<(Value, String)>>);

impl Observer<JsonEvent> for Seen {
    fn rejected(&self, event: JsonEvent, reason: &Reason) {
        self.0
            .lock()
            .unwrap()
            .push((event.decode().unwrap(), reason.to_string()));
    }
}

struct Set {
    server: FaultServer,
    tracker: HttpTracker,
    seen: Arc<Seen>,
}

async fn set(answers: impl IntoIterator<Item = Answer>) -> Set {
    let server = FaultServer::start().await.unwrap();
    answers.into_iter().for_each(|answer| server.then(answer));
    let config = Config::builder()
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(20));
    let seen = Arc::new(Seen::default());
    let builder = HttpTracker::builder(server.url())
        .config(config.build().unwrap())
        .observer(seen.clone());
    Set {
        tracker: builder.scoped().unwrap(),
        server,
        seen,
    }
}

impl Set {
    fn emit(&self, ids: Range<usize>) {
        ids.for_each(|id| self.tracker.emit(event(id)).unwrap());
    }

    async fn flush(&self) -> FlushReport {
        timeout(Duration::from_secs(10), self.tracker.flush())
            .await
            .expect("a flush ends")
    }

    fn seen(&self) -> Vec<(Value, String)> {
        self.seen.0.lock().unwrap().clone()
    }
}

fn event(id: usize) -> Value {
    json!({"eventId": id.to_string()})
}

fn events(ids: impl IntoIterator<Item = usize>) -> Vec<Value> {
    ids.into_iter().map(event).collect()
}

fn retry_after(value: String) -> Answer {
    Answer::Full(429, vec![("retry-after", value)], "slow down".into())
}

#[tokio::test]
async fn no_request_comes_before_retry_after_in_seconds_has_passed() {
    let set = set([retry_after("1".into())]).await;
    set.emit(0..3);
    set.flush().await.ok().unwrap();
    let requests = set.server.requests();
    let waited = requests[1].at - requests[0].at;
    assert_eq!((requests.len(), set.server.received()), (2, 3));
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    assert!(waited < Duration::from_secs(3), "{waited:?}");
}

#[tokio::test]
async fn no_request_comes_before_the_date_in_retry_after() {
    // A date has whole seconds, so this date is one to two seconds ahead.
    let text = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    let ahead = httpdate::parse_http_date(&text)
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    let not_before = Instant::now() + ahead;
    let set = set([retry_after(text)]).await;
    set.emit(0..3);
    set.flush().await.ok().unwrap();
    let requests = set.server.requests();
    assert_eq!((requests.len(), set.server.received()), (2, 3));
    assert!(
        requests[1].at >= not_before,
        "{:?} too early",
        not_before - requests[1].at
    );
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_ends_the_flush_at_once_and_keeps_the_events() {
    let set = set([retry_after("3600".into())]).await;
    set.emit(0..3);
    let report = set.flush().await;
    let Some(DeliveryError::Deadline {
        last:
            Some(SendError::Answer {
                status: 429,
                reason,
                ..
            }),
    }) = &report.stop
    else {
        panic!("the deadline must end the flush: {report:?}")
    };
    assert_eq!(reason.as_str(), "slow down");
    assert_eq!((report.unsettled, set.server.requests().len()), (3, 1));

    // The requested wait still applies: a later flush or shutdown does not send before its end.
    let again = set.flush().await;
    assert!(
        matches!(again.stop, Some(DeliveryError::Deadline { last: Some(_) })),
        "{again:?}"
    );
    let report = set.tracker.shutdown(Duration::from_secs(5)).await;
    assert_eq!((report.returned.len(), set.server.requests().len()), (3, 1));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved_until_it_fits() {
    let set = set([]).await;
    set.server.always(Answer::AtMost(3));
    set.emit(0..20);
    set.flush().await.ok().unwrap();
    assert_eq!(set.server.events(), events(0..20), "in order, each once");
    let sizes: Vec<_> = set
        .server
        .requests()
        .iter()
        .map(|request| request.events().len())
        .collect();
    assert_eq!(
        sizes,
        [20, 10, 5, 2, 3, 5, 2, 3, 10, 5, 2, 3, 5, 2, 3],
        "each half is tried whole"
    );
}

#[tokio::test]
async fn an_event_that_is_too_large_alone_is_rejected_with_the_reason() {
    let set = set([Answer::Full(413, vec![], "1 MiB at most".into())]).await;
    set.emit(0..1);
    let report = set.flush().await;
    assert_eq!(
        (report.unsettled, report.rejected, report.books.rejected),
        (0, 1, 1)
    );
    assert!(report.ok().is_err(), "a rejected event is not a success");
    assert_eq!(set.seen(), [(event(0), "413: 1 MiB at most".to_owned())]);
}

#[tokio::test]
async fn a_poison_event_is_rejected_alone_and_the_others_arrive_in_order() {
    for poison in [0, 13, 31] {
        let set = set([]).await;
        set.server.always(Answer::RefuseIf("poison"));
        set.emit(0..poison);
        let bad = json!({"eventId": poison.to_string(), "text": "poison"});
        set.tracker.emit(bad.clone()).unwrap();
        set.emit(poison + 1..32);

        let report = set.flush().await;
        assert_eq!(
            (report.unsettled, report.rejected, report.books.delivered),
            (0, 1, 31)
        );
        assert_eq!(
            set.server.events(),
            events((0..32).filter(|id| *id != poison))
        );
        assert_eq!(
            set.seen(),
            [(bad, "400: the body contains poison".to_owned())]
        );
        let report = set.tracker.shutdown(Duration::from_secs(5)).await;
        assert_eq!(
            (report.rejections.len(), report.rejections[0].seq),
            (1, poison as u64)
        );
        assert!(
            report.books.is_balanced() && report.ok().is_err(),
            "{report}"
        );
    }
}

#[tokio::test]
async fn verdicts_per_event_reject_those_and_no_others() {
    let set = set([Answer::Reject(vec![1, 4])]).await;
    set.emit(0..6);
    let report = set.flush().await;
    assert_eq!(
        (report.unsettled, report.rejected, report.books.delivered),
        (0, 2, 4)
    );
    assert_eq!(set.server.events(), events([0, 2, 3, 5]));
    let reason = "rejected by script".to_owned();
    assert_eq!(set.seen(), [(event(1), reason.clone()), (event(4), reason)]);
    assert_eq!(set.server.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_token_stops_at_once_and_keeps_every_event() {
    let set = set([Answer::Full(401, vec![], "unknown token".into())]).await;
    set.emit(0..3);
    let report = set.flush().await;
    let Some(DeliveryError::Configuration(SendError::Answer {
        status: 401,
        reason,
        ..
    })) = &report.stop
    else {
        panic!("401 must stop the flush: {report:?}")
    };
    assert_eq!(reason.as_str(), "unknown token");
    assert_eq!(
        (
            report.unsettled,
            report.books.queued,
            set.server.requests().len()
        ),
        (3, 3, 1)
    );
    assert!(
        report
            .ok()
            .unwrap_err()
            .to_string()
            .contains("unknown token")
    );

    set.emit(3..4);
    let books = set.flush().await.ok().unwrap();
    assert!(books.all_delivered(), "{books}");
    assert_eq!(set.server.events(), events(0..4));
}

#[tokio::test]
async fn no_status_of_a_wrong_configuration_is_retried() {
    for status in [301, 302, 307, 308, 402, 403, 404, 405, 410, 415, 501, 505] {
        let set = set([Answer::Status(status)]).await;
        set.emit(0..2);
        let report = set.flush().await;
        let stop = report.stop.expect("it must stop the flush");
        assert!(
            matches!(&stop, DeliveryError::Configuration(SendError::Answer { status: s, .. }) if *s == status),
            "{stop}"
        );
        assert_eq!(
            (report.unsettled, set.server.requests().len()),
            (2, 1),
            "{status}"
        );
    }
}

#[tokio::test]
async fn every_passing_failure_is_retried() {
    let statuses = [408, 425, 429, 500, 502, 503, 504, 507, 599];
    let set = set(statuses.map(Answer::Status)).await;
    // Timeouts halve a batch, and one event cannot be halved.
    set.emit(0..1);
    set.flush().await.ok().unwrap();
    assert_eq!(
        (set.server.requests().len(), set.server.events()),
        (statuses.len() + 1, events(0..1))
    );
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = FaultServer::start().await.unwrap();
    for status in [301, 302, 303, 307, 308] {
        let set = set([Answer::Full(
            status,
            vec![("location", elsewhere.url())],
            String::new(),
        )])
        .await;
        set.emit(0..2);
        let report = set.flush().await;
        assert!(
            matches!(report.stop, Some(DeliveryError::Configuration(_))),
            "{report:?}"
        );
        assert_eq!((report.unsettled, set.server.received()), (2, 0));
    }
    assert_eq!(
        elsewhere.connections(),
        0,
        "events and token go to the configured endpoint only"
    );
}

#[tokio::test]
async fn the_beginning_of_a_long_refusal_is_kept() {
    let set = set([Answer::RefuseAll(
        401,
        format!("unknown token {}", "x".repeat(1_000_000)),
    )])
    .await;
    set.emit(0..1);
    let report = set.flush().await;
    let Some(DeliveryError::Configuration(SendError::Answer {
        status: 401,
        reason,
        ..
    })) = &report.stop
    else {
        panic!("401 must stop the flush: {report:?}")
    };
    assert!(reason.as_str().starts_with("unknown token xxx"), "{reason}");
}
