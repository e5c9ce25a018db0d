//! Endpoints and connections that are not what they seem.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tracker_core::{Books, Config, DeliveryError};
use tracker_http::HttpTracker;
use tracker_http::testing::{Answer, FaultServer};

use crate::cases::{CASE_TIMEOUT, Failure, emit, emit_range, ids, returned, row, start};
use crate::far_ends::{BlackHole, BusyHttp2, Proxy};
use crate::row::Row;

pub(crate) async fn all(servers: &Handle) -> Result<Vec<Row>, Failure> {
    let (odd_urls, wrong_port, two_addresses, busy, dead) = tokio::try_join!(
        odd_urls(servers),
        wrong_port(servers),
        two_addresses(servers),
        busy_http2(),
        dead_connection(servers),
    )?;
    Ok(vec![odd_urls, wrong_port, two_addresses, busy, dead])
}

/// URLs that some readers take for the address of the server, and others for another address.
async fn odd_urls(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    let port: u32 = server
        .address()
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .parse()?;
    let odd = [
        format!("http://127.0.0.1:{}/v1/events", port + 65_536),
        format!("http://127.0.0.1:{port}x/v1/events"),
        format!("http://127.0.0.1:+{port}/v1/events"),
        format!("http://127.1:{port}/v1/events"),
        format!("http://2130706433:{port}/v1/events"),
        format!("http://0x7f000001:{port}/v1/events"),
        format!("http://0177.0.0.1:{port}/v1/events"),
        format!("http://１27.0.0.1:{port}/v1/events"),
        format!("http://127.0.0.1:{port}\\@events.example.com/v1/events"),
        format!("http://events@127.0.0.1:{port}/v1/events"),
    ];
    let mut back = Vec::new();
    let mut books = Books::default();
    let mut refused = 0;
    let begin = Instant::now();
    for (id, url) in (0..).zip(&odd) {
        let Ok(tracker) = HttpTracker::builder(url).token("a-secret-token").scoped() else {
            refused += 1;
            back.push(id);
            continue;
        };
        emit_range(&tracker, id..id + 1)?;
        let report = tracker.shutdown(Duration::from_secs(1)).await;
        back.extend(returned(&report));
        books = books + report.books;
    }
    let took = begin.elapsed();
    let requests = server.requests().len();
    Ok(Row::new(
        "URLs that do not mean what they say",
        odd.len() as u64,
        &ids(&server.events()),
        &back,
        books,
    )
    .took(took, "of all builds")
    .note(format!(
        "{refused} of {} refused when the tracker was built; {requests} requests",
        odd.len()
    ))
    .must(
        refused == odd.len() && requests == 0,
        "every one is refused, and nothing is sent",
    ))
}

/// For instance plain HTTP to an HTTPS port.
async fn wrong_port(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    server.always(Answer::RefuseAll(400, "plain HTTP to an HTTPS port".into()));
    let tracker = HttpTracker::builder(server.url()).scoped()?;
    emit(&tracker, 512)?;
    let begin = Instant::now();
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = begin.elapsed();
    let requests = server.requests().len();
    let named = matches!(&report.stop, Some(stop @ DeliveryError::Configuration(_)) if stop.to_string().contains("HTTPS port"));
    Ok(row(
        "a wrong port: 400 to everything",
        512,
        &server.events(),
        &report,
    )
    .took(took, "of shutdown")
    .note(format!(
        "{requests} requests; the shutdown says why: {}",
        stop(&report.stop)
    ))
    .must(requests <= 60, "it takes few requests")
    .must(
        named && report.returned.len() == 512,
        "every event comes back, and the report names the answer",
    ))
}

/// `localhost` has two addresses. At the first one connections are neither accepted nor refused.
async fn two_addresses(servers: &Handle) -> Result<Row, Failure> {
    const CASE: &str = "two addresses, the first a black hole";

    let Ok(server) = servers.spawn(FaultServer::listen("[::1]:0")).await? else {
        return Ok(Row::new(CASE, 0, &[], &[], Books::default())
            .note("not run: this machine has no address ::1"));
    };
    let port = server
        .address()
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .parse()?;
    let _hole = BlackHole::at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).await?;
    let tracker = HttpTracker::builder(format!("http://localhost:{port}/v1/events")).scoped()?;
    emit(&tracker, 1_000)?;
    let begin = Instant::now();
    let report = tracker.shutdown(CASE_TIMEOUT).await;
    let took = begin.elapsed();
    Ok(row(CASE, 1_000, &server.events(), &report)
        .took(took, "of shutdown")
        .note("localhost, with 127.0.0.1 the black hole")
        .must(
            report.books.all_delivered(),
            "the second address gets its turn",
        )
        .must(took < Duration::from_secs(5), "it gets it soon"))
}

async fn busy_http2() -> Result<Row, Failure> {
    let server = BusyHttp2::start(Duration::from_secs(6))?;
    let config = Config::builder()
        .request_timeout(Duration::from_secs(20))
        .build()?;
    let builder = HttpTracker::builder(&server.url).transport(|transport| transport.http2_only());
    let tracker = builder.config(config).scoped()?;
    emit(&tracker, 1_000)?;
    let begin = Instant::now();
    let report = tracker.shutdown(Duration::from_secs(60)).await;
    let took = begin.elapsed();
    let requests = server.requests();
    let connections = server.connections();
    Ok(
        row("HTTP/2, busy for 6 s", 1_000, &server.events(), &report)
            .took(took, "of shutdown")
            .note(format!(
                "{requests} requests on {connections} connection; request_timeout is 20 s"
            ))
            .must(
                (requests, connections) == (2, 1),
                "the request is waited for, and not sent again",
            )
            .must(report.books.all_delivered(), "everything is delivered"),
    )
}

/// The far end of a kept connection has vanished silently. The shutdown is the first to notice.
async fn dead_connection(servers: &Handle) -> Result<Row, Failure> {
    let server = start(servers).await?;
    let proxy = Proxy::start(servers, server.address().into()).await?;
    let tracker = HttpTracker::builder(&proxy.url).scoped()?;
    emit_range(&tracker, 0..500)?;
    tracker.flush().await.ok()?;
    proxy.freeze();
    emit_range(&tracker, 500..1_000)?;
    let begin = Instant::now();
    let report = tracker.shutdown(Duration::from_secs(2)).await;
    let took = begin.elapsed();
    let connections = proxy.connections();
    Ok(row(
        "a dead kept connection at shutdown(2 s)",
        1_000,
        &server.events(),
        &report,
    )
    .took(took, "of shutdown")
    .note(format!("{connections} connections"))
    .must(
        connections == 2 && report.books.all_delivered(),
        "there is time for a second connection",
    ))
}

fn stop(stop: &Option<DeliveryError>) -> String {
    stop.as_ref().map(ToString::to_string).unwrap_or_default()
}
