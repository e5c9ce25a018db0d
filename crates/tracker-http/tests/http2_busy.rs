//! A server that is busy for seconds gets the full `request_timeout`; the server is node's http2.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;
use tracker_core::Config;
use tracker_http::HttpTracker;

/// A server that blocks its event loop for 7 s after the first request, so it answers no PING
/// either. The server prints its counts after each answer, and ends by itself.
const BUSY: &str = "
    const http2 = require('http2');
    let sessions = 0, requests = 0, events = 0;
    const server = http2.createServer();
    server.on('session', () => sessions++);
    server.on('stream', (stream, headers) => {
        let body = '';
        stream.on('data', data => body += data);
        stream.on('end', () => {
            events += JSON.parse(body).events.length;
            if (requests++ === 0) { const end = Date.now() + 7000; while (Date.now() < end); }
            stream.respond({ ':status': 200 });
            stream.end();
            console.log(JSON.stringify([sessions, requests, events]));
        });
        stream.on('error', () => {});
    });
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));
    setTimeout(() => process.exit(), 60000);";

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_receiver_that_is_busy_longer_than_a_ping_is_waited_for() {
    let mut node = Node(
        Command::new("node")
            .args(["-e", BUSY])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(node.0.stdout.take().unwrap()).lines();
    let port = lines.next().unwrap().unwrap();

    let config = Config::builder()
        .request_timeout(Duration::from_secs(30))
        .batch_events(5)
        .build()
        .unwrap();
    let builder = HttpTracker::builder(format!("http://127.0.0.1:{port}/v1/events"));
    let tracker = builder
        .transport(|transport| transport.http2_only())
        .config(config)
        .scoped()
        .unwrap();
    (0..10).for_each(|id| tracker.emit(json!({"eventId": id.to_string()})).unwrap());
    let patience = Duration::from_secs(60);
    let report = timeout(patience, tracker.shutdown(patience)).await.unwrap();
    assert!(
        report.ok().is_ok() && report.books.delivered == 10,
        "{report}"
    );

    // One connection, two batches, and no event twice.
    let seen: Vec<String> = lines.by_ref().take(2).map(Result::unwrap).collect();
    assert_eq!(seen, ["[1,1,5]", "[1,2,10]"]);
}

/// A server that ends a stream before the end of its answer; the path decides how.
const CUTS: &str = "
    const http2 = require('http2');
    const server = http2.createServer();
    server.on('session', session => session.on('error', () => {}));
    server.on('stream', (stream, headers) => {
        stream.on('error', () => {});
        stream.on('data', () => {});
        stream.on('end', () => {
            switch (headers[':path']) {
                case '/length': stream.respond({ ':status': 200, 'content-length': '26' }); stream.close(); break;
                case '/part': stream.respond({ ':status': 200 }); stream.write('ok');
                    setTimeout(() => stream.destroy(), 50); break;
                case '/destroy': stream.respond({ ':status': 200 }); setTimeout(() => stream.destroy(), 50); break;
                default: stream.respond({ ':status': 200 }); stream.end('{}');
            }
        });
    });
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));
    setTimeout(() => process.exit(), 60000);";

/// hyper reports a stream that is reset without an error code as the end of its body. Without a
/// check, two events would count as delivered.
#[tokio::test]
async fn an_answer_whose_stream_is_reset_is_no_consent() {
    let mut node = Node(
        Command::new("node")
            .args(["-e", CUTS])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let port = BufReader::new(node.0.stdout.take().unwrap())
        .lines()
        .next()
        .unwrap()
        .unwrap();
    for (path, delivered) in [("length", 0), ("part", 0), ("destroy", 0), ("whole", 2)] {
        let builder = HttpTracker::builder(format!("http://127.0.0.1:{port}/{path}"));
        let tracker = builder
            .transport(|transport| transport.http2_only())
            .scoped()
            .unwrap();
        (0..2).for_each(|id| tracker.emit(json!({"eventId": id})).unwrap());
        let report = tracker.shutdown(Duration::from_secs(2)).await;
        assert_eq!(report.books.delivered, delivered, "{path}: {report:?}");
        assert_eq!(
            report.returned.len() as u64,
            2 - delivered,
            "{path}: {report:?}"
        );
    }
}
