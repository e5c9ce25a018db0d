//! The verdicts in a success: read exactly, or not taken for consent. The books agree with the
//! server.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;
use tracker_core::{Config, DeliveryError, FlushReport, Observer, Reason, SendError};
use tracker_http::testing::{Answer, FaultServer, Reply};
use tracker_http::{HttpTracker, JsonEvent};

/// An observer that keeps the reasons.
#[derive(Default)]
struct Reasons(Mutex<Vec<String>>);

impl Observer<JsonEvent> for Reasons {
    fn rejected(&self, _: JsonEvent, reason: &Reason) {
        self.0.lock().unwrap().push(reason.as_str().to_owned());
    }
}

struct Set {
    server: FaultServer,
    tracker: HttpTracker,
    reasons: Arc<Reasons>,
}

/// Makes a tracker with `events` events, and a server that gives this answer to the first request.
async fn set(events: usize, answer: Answer) -> Set {
    let server = FaultServer::start().await.unwrap();
    server.then(answer);
    let reasons = Arc::new(Reasons::default());
    let config = Config::builder()
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(20));
    let builder = HttpTracker::builder(server.url())
        .config(config.build().unwrap())
        .observer(reasons.clone());
    let tracker = builder.scoped().unwrap();
    (0..events).for_each(|id| tracker.emit(json!({"eventId": id.to_string()})).unwrap());
    Set {
        server,
        tracker,
        reasons,
    }
}

async fn flush(set: &Set) -> FlushReport {
    timeout(Duration::from_secs(10), set.tracker.flush())
        .await
        .expect("a flush ends")
}

/// Flushes `events` events. The server takes all except those at `rejected`, and answers with
/// `reply`.
async fn rejects(events: usize, rejected: Vec<usize>, reply: Reply) -> Vec<String> {
    let set = set(events, Answer::Take(rejected.clone(), reply)).await;
    let report = flush(&set).await;
    assert_eq!(
        (report.unsettled, report.rejected),
        (0, rejected.len() as u64),
        "{report:?}"
    );
    assert_eq!(
        (report.books.delivered, set.server.requests().len()),
        (set.server.received() as u64, 1)
    );
    let reasons = set.reasons.0.lock().unwrap().clone();
    assert_eq!(reasons.len(), rejected.len());
    reasons
}

/// Flushes three events to a server that takes two of them, and answers with an unreadable body.
async fn is_no_consent(reply: Reply) -> String {
    let set = set(3, Answer::Take(vec![1], reply)).await;
    let report = flush(&set).await;
    let Some(DeliveryError::Configuration(SendError::Unreadable {
        status: 200,
        reason,
    })) = &report.stop
    else {
        panic!("it must be unreadable: {report:?}")
    };
    assert_eq!(
        (
            report.unsettled,
            report.books.delivered,
            report.books.rejected
        ),
        (3, 0, 0),
        "nothing is lost"
    );
    // Once the server is repaired, every event arrives; the server drops duplicates by id.
    let report = flush(&set).await;
    assert_eq!(
        (report.ok().unwrap().delivered, set.server.distinct()),
        (3, 3)
    );
    reason.to_string()
}

#[tokio::test]
async fn an_odd_verdict_hides_no_other() {
    let body = r#"{"rejected":[{"index":0,"reason":"bad"},{"index":"1","reason":null}]}"#;
    assert_eq!(
        rejects(3, vec![0, 1], Reply::new(200).body(body)).await,
        ["bad", ""]
    );
    let body =
        b"{\"rejected\":[2, {\"reason\":{\"code\":7},\"index\":0.0}, {\"index\":1,\"reason\":\"\\ud800 \xFF\"}]}";
    let reasons = rejects(3, vec![0, 1, 2], Reply::new(207).body(*body)).await;
    assert_eq!(reasons, ["{\"code\":7}", "\u{FFFD} \u{FFFD}", ""]);
}

#[tokio::test]
async fn the_limit_of_an_answer_follows_the_batch() {
    let verdicts: Vec<_> = (0..512)
        .map(|index| json!({"index": index, "reason": "x".repeat(130)}))
        .collect();
    let reply = Reply::new(200).body(json!({ "rejected": verdicts }).to_string());
    let reasons = rejects(512, (0..512).collect(), reply).await;
    assert!(reasons.iter().all(|reason| reason.len() == 130));
}

#[tokio::test]
async fn verdicts_that_cannot_be_read_keep_the_batch_and_are_reported() {
    for (body, text) in [
        (r#"{"rejected":1}"#, "not an array: 1"),
        (r#"{"rejected":[{"id":"1"}]}"#, r#"no index: {"id":"1"}"#),
        (
            r#"{"rejected":[{"index":3}]}"#,
            "rejects the event 3 of a batch of 3",
        ),
        (r#"{"rejected":[{"index":1},{"ind"#, "not a JSON object"),
    ] {
        let reason = is_no_consent(Reply::new(200).body(body)).await;
        assert!(reason.contains(text), "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_keeps_the_batch_and_is_reported() {
    let padded = json!({"padding": "x".repeat(80 * 1024), "rejected": [1]}).to_string();
    let reason = is_no_consent(Reply::new(200).body(padded)).await;
    assert!(reason.contains("longer than"), "{reason}");
}

#[tokio::test]
async fn an_answer_may_repeat_the_whole_batch() {
    let events = json!({"events": [{"text": "x".repeat(300 * 1024)}], "rejected": [0]}).to_string();
    let set = set(0, Answer::Take(vec![0], Reply::new(200).body(events))).await;
    set.tracker
        .emit(json!({"text": "x".repeat(300 * 1024)}))
        .unwrap();
    assert_eq!(flush(&set).await.rejected, 1);
}

#[tokio::test]
async fn a_request_asks_for_an_answer_as_it_is() {
    let set = set(1, Answer::Accept).await;
    flush(&set).await.ok().unwrap();
    assert_eq!(
        set.server.requests()[0].header("accept-encoding"),
        Some("identity")
    );
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn an_answer_that_is_compressed_all_the_same_is_read() {
    let verdicts = Reply::new(200)
        .body(r#"{"rejected":[{"index":2,"reason":"late"}]}"#)
        .gzip();
    assert_eq!(rejects(3, vec![2], verdicts).await, ["late"]);
    assert!(
        rejects(3, vec![], Reply::new(200).header("content-encoding", "br"))
            .await
            .is_empty()
    );

    let set = set(
        1,
        Answer::Refuse(Reply::new(401).body("unknown key").gzip()),
    )
    .await;
    let report = flush(&set).await;
    assert!(report.stop.unwrap().to_string().contains("unknown key"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_decoded_keeps_the_batch_and_is_reported() {
    let verdicts = Reply::new(200).body(r#"{"rejected":[1]}"#);
    let reason = is_no_consent(verdicts.clone().header("content-encoding", "br")).await;
    assert!(reason.contains("encoded as br"), "{reason}");
    is_no_consent(verdicts.header("content-encoding", "gzip")).await;
    is_no_consent(Reply::new(200).body(vec![b' '; 10_000_000]).gzip()).await;

    let set = set(
        1,
        Answer::Refuse(
            Reply::new(401)
                .header("content-encoding", "br")
                .body("\u{1}\u{2}"),
        ),
    )
    .await;
    let text = flush(&set).await.stop.unwrap().to_string();
    assert!(
        text.contains("Unauthorized") && text.contains("encoded as br"),
        "{text}"
    );
}
