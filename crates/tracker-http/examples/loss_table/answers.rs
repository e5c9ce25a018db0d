//! Servers with unusual answers: the books agree with the events that the servers have taken.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tracker_core::{Observer, Reason};
use tracker_http::testing::{Answer, FaultServer, Reply};
use tracker_http::{HttpTracker, JsonEvent};

use crate::cases::{CASE_TIMEOUT, Failure, emit, id, start};
use crate::row::Row;

/// The number of events of each case; one batch.
const EVENTS: u64 = 512;

pub(crate) async fn all(servers: &Handle) -> Result<Vec<Row>, Failure> {
    let odd = r#"{"rejected":[{"index":0,"reason":"bad"},{"index":"1","reason":null},{"index":2.0,"reason":{"code":7}},3]}"#;
    let long: Vec<_> = (0..EVENTS)
        .map(|index| json!({"index": index, "reason": "x".repeat(130)}))
        .collect();
    let long = json!({ "rejected": long }).to_string();
    let plain = |body: &str| Reply::new(200).body(body);
    Ok(vec![
        case(
            servers,
            "verdicts in odd forms, 4 of 512 refused",
            0..4,
            plain(odd),
        )
        .await?,
        case(
            servers,
            "all 512 refused, an answer of 80 KiB",
            0..EVENTS as usize,
            plain(&long),
        )
        .await?,
        case(
            servers,
            "verdicts compressed unasked, 4 of 512 refused",
            0..4,
            plain(odd).gzip(),
        )
        .await?,
        case(
            servers,
            "verdicts that nobody can read, then a mended receiver",
            0..4,
            plain(r#"{"rejected":4}"#),
        )
        .await?,
        case(
            servers,
            "verdicts that were cut, then a mended receiver",
            0..4,
            plain(&odd[..odd.len() - 2]),
        )
        .await?,
        case(
            servers,
            "an answer that never ends, then a mended receiver",
            0..0,
            plain(&"x".repeat(10_000_000)),
        )
        .await?,
    ])
}

/// Collects the ids of the rejected events, which the program now has.
#[derive(Default)]
struct Rejected(Mutex<Vec<u64>>);

impl Observer<JsonEvent> for Rejected {
    fn rejected(&self, event: JsonEvent, _: &Reason) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(event.decode().ok().as_ref().and_then(id));
    }
}

/// The server takes the first batch except `refused`, and answers with `reply`. It accepts all
/// later requests.
async fn case(
    servers: &Handle,
    case: &str,
    refused: std::ops::Range<usize>,
    reply: Reply,
) -> Result<Row, Failure> {
    let server: FaultServer = start(servers).await?;
    server.then(Answer::Take(refused.collect(), reply));
    let rejected = Arc::new(Rejected::default());
    let tracker = HttpTracker::builder(server.url())
        .observer(rejected.clone())
        .scoped()?;
    emit(&tracker, EVENTS)?;
    let begin = Instant::now();
    // If the first answer is unreadable, this flush stops and keeps the events, and the shutdown
    // delivers them.
    let _ = tracker.flush().await;
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took: Duration = begin.elapsed();
    let received: Vec<u64> = server.events().iter().filter_map(id).collect();
    let returned = report
        .returned
        .iter()
        .filter_map(|event| id(&event.decode::<Value>().ok()?));
    let mut back: HashSet<u64> = returned.collect();
    back.extend(
        rejected
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter(),
    );
    let back: Vec<u64> = back.into_iter().collect();
    Ok(Row::new(case, EVENTS, &received, &back, report.books).took(took, "of flush and shutdown"))
}
