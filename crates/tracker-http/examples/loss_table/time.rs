//! Waits: between attempts, for room, for the clock of a server, for an answer.

use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tracker_core::{Books, Config};
use tracker_http::HttpTracker;
use tracker_http::testing::Answer;

use crate::cases::{CASE_TIMEOUT, Failure, emit, emit_range, event, ids, returned, row, start};
use crate::row::Row;

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn all(servers: &Handle) -> Result<Vec<Row>, Failure> {
    let events = Config::builder().capacity_events(100).build()?;
    let bytes = Config::builder().capacity_bytes(8 * 1024).build()?;
    let now = SystemTime::now();
    let (outage, ahead, behind, events, bytes, slow) = tokio::try_join!(
        outage_then_shutdown(servers),
        far_clock(
            servers,
            "Retry-After as a date, a clock an hour ahead",
            now + HOUR
        ),
        far_clock(
            servers,
            "Retry-After as a date, a clock an hour behind",
            now - HOUR
        ),
        small_capacity(
            servers,
            "capacity of 100 events, batches of 512, emit_wait",
            events
        ),
        small_capacity(
            servers,
            "capacity of 8 KiB, batches of 512 KiB, emit_wait",
            bytes
        ),
        slow_in_proportion(servers),
    )?;
    Ok(vec![outage, ahead, behind, events, bytes, slow])
}

/// The background loops sleep between two attempts when the endpoint recovers; a shutdown does not
/// wait for the end of that sleep.
async fn outage_then_shutdown(servers: &Handle) -> Result<Row, Failure> {
    const PROGRAMS: u64 = 20;
    const EVENTS_PER_PROGRAM: u64 = 50;

    let server = start(servers).await?;
    server.always(Answer::Status(503));
    let mut trackers = Vec::new();
    for program in 0..PROGRAMS {
        let tracker = HttpTracker::builder(server.url()).background()?;
        emit_range(
            &tracker,
            program * EVENTS_PER_PROGRAM..(program + 1) * EVENTS_PER_PROGRAM,
        )?;
        trackers.push(tracker);
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.always(Answer::Accept);
    let begin = Instant::now();
    let mut shutdowns = tokio::task::JoinSet::new();
    for tracker in trackers {
        shutdowns.spawn(async move { tracker.shutdown(Duration::from_secs(1)).await });
    }
    let reports = shutdowns.join_all().await;
    let took = begin.elapsed();
    let back: Vec<u64> = reports.iter().flat_map(returned).collect();
    let books = reports
        .iter()
        .fold(Books::default(), |books, report| books + report.books);
    let case = "background, 503 for 6 s, then healthy, then shutdown(1 s)";
    Ok(Row::new(
        case,
        PROGRAMS * EVENTS_PER_PROGRAM,
        &ids(&server.events()),
        &back,
        books,
    )
    .took(took, "of shutdowns")
    .note(format!(
        "{PROGRAMS} trackers with {EVENTS_PER_PROGRAM} events each"
    ))
    .must(books.all_delivered(), "every shutdown makes an attempt"))
}

/// The server asks for a wait of two seconds, by a date of its own clock.
async fn far_clock(servers: &Handle, case: &str, far_now: SystemTime) -> Result<Row, Failure> {
    const REQUESTED_WAIT: Duration = Duration::from_secs(2);

    let server = start(servers).await?;
    let date = |time| httpdate::fmt_http_date(time);
    let headers = vec![
        ("date", date(far_now)),
        ("retry-after", date(far_now + REQUESTED_WAIT)),
    ];
    server.then(Answer::Full(503, headers, String::new()));
    let tracker = HttpTracker::builder(server.url()).scoped()?;
    emit(&tracker, 1_000)?;
    let begin = Instant::now();
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = begin.elapsed();
    let requests = server.requests().len();
    Ok(row(case, 1_000, &server.events(), &report)
        .took(took, "of shutdown")
        .note(format!(
            "the far end asks for a rest of 2 s; {requests} requests"
        ))
        .must(
            requests == 3 && took >= REQUESTED_WAIT,
            "the far end has its rest",
        )
        .must(
            report.books.all_delivered(),
            "the wait is no longer than that",
        ))
}

/// The buffer is full long before a batch is, so every batch could wait for the linger.
async fn small_capacity(servers: &Handle, case: &str, config: Config) -> Result<Row, Failure> {
    const EVENTS: u64 = 5_000;

    let server = start(servers).await?;
    let linger = config.linger();
    let tracker = HttpTracker::builder(server.url())
        .config(config)
        .background()?;
    let begin = Instant::now();
    for id in 0..EVENTS {
        tracker.emit_wait(event(id)).await?;
    }
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = begin.elapsed();
    let requests = server.requests().len();
    let lingers = linger * u32::try_from(requests)?;
    Ok(row(case, EVENTS, &server.events(), &report)
        .took(took, "from the first emit")
        .note(format!(
            "{requests} requests; a linger of 200 ms before each would take {lingers:.1?}"
        ))
        .must(report.books.all_delivered(), "everything is delivered")
        .must(
            took < lingers / 2,
            "a full buffer does not wait for the linger",
        ))
}

/// A batch takes longer than `request_timeout`, half of the batch too, but a quarter does not.
async fn slow_in_proportion(servers: &Handle) -> Result<Row, Failure> {
    const EVENTS: u64 = 128;

    let server = start(servers).await?;
    server.always(Answer::AcceptAfterEach(Duration::from_millis(5)));
    let config = Config::builder()
        .request_timeout(Duration::from_millis(300))
        .build()?;
    let tracker = HttpTracker::builder(server.url()).config(config).scoped()?;
    emit(&tracker, EVENTS)?;
    let begin = Instant::now();
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = begin.elapsed();
    let sizes: Vec<usize> = server
        .requests()
        .iter()
        .map(|request| request.events().len())
        .collect();
    Ok(row(
        "5 ms an event, requests of at most 300 ms",
        EVENTS,
        &server.events(),
        &report,
    )
    .took(took, "of shutdown")
    .note(format!(
        "events in each request: {sizes:?}; it takes those whose answers came too late, too"
    ))
    .must(report.books.all_delivered(), "requests become small enough")
    .must(
        sizes.len() <= 20,
        "the same request is not sent again and again",
    ))
}
