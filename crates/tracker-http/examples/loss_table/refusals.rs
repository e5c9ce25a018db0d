//! Servers that refuse, or whose answer is none: each case has one consequence, and no event is
//! blamed for another.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tracker_core::{Config, ConfigBuilder};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, HttpTrackerBuilder};

use crate::cases::{CASE_TIMEOUT, Failure, emit, ids, returned, start};
use crate::row::Row;

pub(crate) async fn all(servers: &Handle) -> Result<Vec<Row>, Failure> {
    Ok(vec![
        full_for_a_while(servers).await?,
        already_there(servers).await?,
        poison(servers).await?,
        no_http(servers).await?,
        #[cfg(feature = "gzip")]
        plain_only(servers).await?,
    ])
}

/// A 413 with a `Retry-After` does not concern the size.
async fn full_for_a_while(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    server.then(Answer::Full(
        413,
        vec![("retry-after", "1".into())],
        "full".into(),
    ));
    let row = run(
        "413 with Retry-After: 1",
        512,
        &server,
        HttpTracker::builder(server.url()),
    )
    .await?;
    let is_kept = row.books.all_delivered() && sizes(&server) == [512, 512];
    Ok(row
        .note(requests(&server))
        .must(is_kept, "the batch is kept, and sent whole after the time"))
}

/// The acknowledgement is lost, and the server refuses events that it already has.
async fn already_there(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    server.then(Answer::LoseAnswer);
    server.always(Answer::ConflictIfKnown);
    let builder = HttpTracker::builder(server.url()).config(brisk().batch_events(64).build()?);
    let row = run("an acknowledgement lost, then 409", 256, &server, builder).await?;
    let all = row.books.all_delivered();
    Ok(row
        .note(requests(&server))
        .must(all, "what is there already is delivered"))
}

/// The server always fails at one event.
async fn poison(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    server.always(Answer::StatusIf(500, "\"eventId\":\"13\""));
    let config = brisk().set_aside_after(NonZeroU32::new(3)).build()?;
    let builder = HttpTracker::builder(server.url()).config(config);
    let row = run(
        "500 for one event of 512, set_aside_after 3",
        512,
        &server,
        builder,
    )
    .await?;
    let one = (row.books.rejected, row.books.delivered) == (1, 511);
    Ok(row
        .note(requests(&server))
        .must(one, "one event is set aside, and no other"))
}

async fn no_http(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    [Answer::Garbage, Answer::ResetInBody, Answer::Garbage]
        .into_iter()
        .for_each(|answer| server.then(answer));
    let builder = HttpTracker::builder(server.url()).config(brisk().build()?);
    let row = run(
        "answers that are not HTTP, or are cut, three times",
        512,
        &server,
        builder,
    )
    .await?;
    let all = row.books.all_delivered();
    Ok(row
        .note(requests(&server))
        .must(all, "the batch is sent again"))
}

/// The server accepts no content encoding.
#[cfg(feature = "gzip")]
async fn plain_only(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    server.then(Answer::Status(415));
    let builder = HttpTracker::builder(server.url()).transport(|transport| transport.gzip());
    let row = run("415 for gzip", 5_000, &server, builder).await?;
    let coded = server
        .requests()
        .iter()
        .filter(|request| request.header("content-encoding").is_some())
        .count();
    let all = row.books.all_delivered();
    Ok(row
        .note(format!("{}, {coded} of them compressed", requests(&server)))
        .must(all && coded == 1, "it is learned once, from one request"))
}

/// Emits, and shuts the tracker down. The program has the rejected events.
async fn run(
    case: &str,
    events: u64,
    server: &FaultServer,
    builder: HttpTrackerBuilder,
) -> Result<Row, Failure> {
    let tracker = builder.scoped()?;
    emit(&tracker, events)?;
    let begin = Instant::now();
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = begin.elapsed();
    // Events are emitted in the order of their ids, so a position is an id.
    let rejected = report.rejections.iter().map(|rejection| rejection.seq);
    let back: Vec<u64> = returned(&report).into_iter().chain(rejected).collect();
    Ok(
        Row::new(case, events, &ids(&server.events()), &back, report.books)
            .took(took, "of shutdown"),
    )
}

fn brisk() -> ConfigBuilder {
    Config::builder().max_delay(Duration::from_millis(200))
}

fn sizes(server: &FaultServer) -> Vec<usize> {
    server
        .requests()
        .iter()
        .map(|request| request.events().len())
        .collect()
}

fn requests(server: &FaultServer) -> String {
    format!("{} requests", server.requests().len())
}
