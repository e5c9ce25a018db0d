//! The cases over HTTP.

use std::error::Error;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Handle;
use tracker_core::{Config, DeliveryReport};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, JsonEvent};

use crate::row::Row;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    event_id: String,
    r#type: &'static str,
    step: &'static str,
    duration_ms: u32,
}

pub(crate) type Failure = Box<dyn Error>;

/// A limit that is longer than any case.
pub(crate) const CASE_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn all(servers: &Handle) -> Result<Vec<Row>, Failure> {
    let patient = Config::default();
    let brisk = Config::builder()
        .max_delay(Duration::from_millis(200))
        .build()?;
    let two = Duration::from_secs(2);
    let one = Duration::from_secs(1);
    Ok(vec![
        short_lived(servers).await?,
        outage(
            servers,
            "503 for 2 s, default config",
            503,
            two,
            patient.clone(),
        )
        .await?,
        outage(
            servers,
            "503 for 2 s, max_delay 200 ms",
            503,
            two,
            brisk.clone(),
        )
        .await?,
        outage(servers, "500 for 1 s, default config", 500, one, patient).await?,
        outage(servers, "500 for 1 s, max_delay 200 ms", 500, one, brisk).await?,
        down_at_shutdown().await?,
        burst(servers).await?,
        lost_answers(servers).await?,
    ])
}

async fn short_lived(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    let start = Instant::now();
    let tracker = HttpTracker::builder(server.url()).scoped()?;
    emit(&tracker, 10_000)?;
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = start.elapsed();
    Ok(row(
        "healthy, short-lived process",
        10_000,
        &server.events(),
        &report,
    )
    .took(took, "from the first emit"))
}

/// The server answers with `status` until it recovers, while a shutdown waits for it.
async fn outage(
    servers: &Handle,
    case: &str,
    status: u16,
    outage: Duration,
    config: Config,
) -> Result<Row, Failure> {
    let server = start(servers).await?;
    server.always(Answer::Status(status));
    let tracker = HttpTracker::builder(server.url()).config(config).scoped()?;
    emit(&tracker, 1_000)?;
    let recovers = async {
        tokio::time::sleep(outage).await;
        server.always(Answer::Accept);
        Instant::now()
    };
    let (report, recovered) = tokio::join!(
        async {
            let report = tracker.shutdown(CASE_TIMEOUT).await;
            (report, Instant::now())
        },
        recovers
    );
    let (report, end) = report;
    Ok(row(case, 1_000, &server.events(), &report)
        .took(end.duration_since(recovered), "from recovery"))
}

async fn down_at_shutdown() -> Result<Row, Failure> {
    // The port was free a moment ago, so nothing listens there.
    let address = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await?
        .local_addr()?;
    let tracker = HttpTracker::builder(format!("http://{address}/v1/events")).scoped()?;
    emit(&tracker, 1_000)?;
    let start = Instant::now();
    let report = tracker.shutdown(Duration::from_millis(500)).await;
    let took = start.elapsed();
    Ok(row("endpoint down at shutdown(500 ms)", 1_000, &[], &report).took(took, "of shutdown"))
}

/// More events than the default capacity, as fast as possible; only `emit_wait` slows the program
/// down.
async fn burst(servers: &Handle) -> Result<Row, Failure> {
    const EVENTS: u64 = 100_000;

    let server = start(servers).await?;
    let tracker = HttpTracker::builder(server.url()).background()?;
    let start = Instant::now();
    for id in 0..EVENTS {
        tracker.emit_wait(event(id)).await?;
    }
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = start.elapsed();
    Ok(row(
        "burst, background, emit_wait",
        EVENTS,
        &server.events(),
        &report,
    )
    .took(took, "from the first emit"))
}

async fn lost_answers(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    (0..3).for_each(|_| server.then(Answer::LoseAnswer));
    let tracker = HttpTracker::builder(server.url()).scoped()?;
    emit(&tracker, 10_000)?;
    let start = Instant::now();
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = start.elapsed();
    Ok(row(
        "three acknowledgements lost",
        10_000,
        &server.events(),
        &report,
    )
    .took(took, "of shutdown"))
}

pub(crate) async fn start(servers: &Handle) -> Result<FaultServer, Failure> {
    Ok(servers.spawn(FaultServer::start()).await??)
}

pub(crate) fn event(id: u64) -> Event {
    Event {
        event_id: id.to_string(),
        r#type: "step.completed",
        step: "charge-card",
        duration_ms: 12,
    }
}

pub(crate) fn emit(tracker: &HttpTracker, events: u64) -> Result<(), Failure> {
    emit_range(tracker, 0..events)
}

pub(crate) fn emit_range(tracker: &HttpTracker, mut ids: Range<u64>) -> Result<(), Failure> {
    ids.try_for_each(|id| tracker.emit(event(id)))
        .map_err(Into::into)
}

/// Makes a row from the events that the server has taken and those that a shutdown returned.
pub(crate) fn row(
    case: &str,
    events: u64,
    taken: &[Value],
    report: &DeliveryReport<JsonEvent>,
) -> Row {
    Row::new(case, events, &ids(taken), &returned(report), report.books)
}

/// Returns the ids of the events that the server has taken.
pub(crate) fn ids(taken: &[Value]) -> Vec<u64> {
    taken.iter().filter_map(id).collect()
}

/// Returns the ids of the events that a shutdown returned.
pub(crate) fn returned(report: &DeliveryReport<JsonEvent>) -> Vec<u64> {
    report
        .returned
        .iter()
        .filter_map(|event| id(&event.decode::<Value>().ok()?))
        .collect()
}

/// Returns the id of an event, taken or returned.
pub(crate) fn id(event: &Value) -> Option<u64> {
    event["eventId"].as_str()?.parse().ok()
}
