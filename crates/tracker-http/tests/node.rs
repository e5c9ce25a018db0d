//! The transport against node's http server and encoders, which are independent of this project.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tracker_core::{DeliveryError, SendError, SendOptions, Transport};
use tracker_http::{HttpTracker, HttpTransport};

/// A server whose answer depends on the path; `/taken` returns the number of events taken so far.
const SERVER: &str = r#"
const http = require('http'), zlib = require('zlib'), util = require('util'), querystring = require('querystring');
const compress = { gzip: zlib.gzipSync, 'x-gzip': zlib.gzipSync, deflate: zlib.deflateSync, br: zlib.brotliCompressSync };
const echo = {
  json: (text) => JSON.stringify({ error: text }),
  json_twice: (text) => JSON.stringify({ error: JSON.stringify({ error: text }) }),
  json_ascii: (text) => [...text].map((c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0')).join(''),
  component: encodeURIComponent,
  component_twice: (text) => encodeURIComponent(encodeURIComponent(text)),
  uri: encodeURI,
  escape: escape,
  query: (text) => querystring.stringify({ text }),
  form: (text) => new URLSearchParams({ text }).toString(),
  inspect: (text) => util.inspect({ text }),
  html: (text) => text.replace(/[^a-z0-9 ]/gi, (c) => '&#' + c.charCodeAt(0) + ';'),
  base64: (text) => Buffer.from(text).toString('base64'),
  base64url: (text) => Buffer.from(text).toString('base64url'),
  hex: (text) => Buffer.from(text).toString('hex'),
  binary: (text) => Buffer.concat([Buffer.from([0xff, 0xfe, 0xfd]), Buffer.from(text)]),
};
let taken = 0;
http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
    const way = new URL(request.url, 'http://localhost').pathname.slice(1);
    const events = JSON.parse(Buffer.concat(chunks)).events;
    if (way === 'taken') {
      return response.writeHead(400).end(String(taken));
    }
    if (echo[way]) {
      return response.writeHead(401).end(echo[way](`${request.headers.authorization} ${request.headers['x-key']} ${request.url}`));
    }
    taken += events.length - 1;
    const verdicts = JSON.stringify({ rejected: [{ index: 1, reason: 'the second' }] });
    if (way === 'raw') {
      response.setHeader('content-encoding', 'deflate');
      return response.end(zlib.deflateRawSync(verdicts));
    }
    response.setHeader('content-encoding', way);
    response.end(compress[way](verdicts));
  });
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
"#;

/// A process that is killed at the end of the test.
struct Node {
    process: Child,
    url: String,
}

impl Node {
    fn start() -> Self {
        let mut process = Command::new("node")
            .args(["-e", SERVER])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        Self {
            process,
            url: format!("http://127.0.0.1:{}", port.trim()),
        }
    }

    fn url(&self, way: &str) -> String {
        format!("{}/{way}", self.url)
    }

    /// Returns the number of events that the server has taken so far.
    async fn taken(&self) -> u64 {
        let transport = HttpTransport::builder(self.url("taken")).build().unwrap();
        transport
            .send(&[json!({})], SendOptions::default())
            .await
            .unwrap_err()
            .reason()
            .unwrap()
            .as_str()
            .parse()
            .unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tracker(url: String) -> HttpTracker {
    let tracker = HttpTracker::builder(url).scoped().unwrap();
    (0..3).for_each(|id| tracker.emit(json!({"eventId": id.to_string()})).unwrap());
    tracker
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn what_node_compresses_is_read() {
    let node = Node::start();
    for (round, way) in (1..).zip(["gzip", "x-gzip", "deflate", "raw"]) {
        let report = tracker(node.url(way)).flush().await;
        assert_eq!(
            (report.unsettled, report.rejected, report.books.delivered),
            (0, 1, 2),
            "{way}: {report:?}"
        );
        assert_eq!(node.taken().await, 2 * round, "{way}");
    }
}

#[tokio::test]
async fn what_node_compresses_with_brotli_is_no_consent() {
    let node = Node::start();
    let report = tracker(node.url("br")).flush().await;
    let Some(DeliveryError::Configuration(SendError::Unreadable { reason, .. })) = &report.stop
    else {
        panic!("{report:?}")
    };
    assert!(reason.as_str().contains("br"), "{reason}");
    assert_eq!((report.unsettled, report.books.delivered), (3, 0));
}

const TOKEN: &str = r#"tK9/"<&>'\%41-s3cr3t+token=="#;
const KEY: &str = "a k3y that is:not/yours&mine";

#[tokio::test]
async fn no_form_that_node_has_shows_a_secret() {
    let node = Node::start();
    for way in [
        "json",
        "json_twice",
        "json_ascii",
        "component",
        "component_twice",
        "uri",
        "escape",
        "query",
        "form",
        "inspect",
        "html",
        "base64",
        "base64url",
        "hex",
        "binary",
    ] {
        let builder = HttpTransport::builder(format!("{}?key=qu3ry%2Bs3cret-value", node.url(way)));
        let transport = builder.token(TOKEN).header("X-Key", KEY).build().unwrap();
        let refused = transport
            .send(&[json!({})], SendOptions::default())
            .await
            .unwrap_err();
        let shown = format!("{refused} {refused:?}");
        assert!(
            shown.contains("[token]") && shown.contains("[header]") && shown.contains("[secret]"),
            "{way}: {shown}"
        );
        for secret in [TOKEN, KEY, "qu3ry+s3cret-value", "qu3ry%2Bs3cret-value"] {
            let chars: Vec<char> = secret.chars().collect();
            for window in chars.windows(8).map(String::from_iter) {
                assert!(!shown.contains(&window), "{way}: {window} in {shown}");
            }
        }
        // The rest must not reveal the token: these are the pieces of the token in letters and
        // digits.
        for piece in ["s3cr3t", "qu3ry", "k3y"] {
            assert!(!shown.contains(piece), "{way}: {piece} in {shown}");
        }
    }
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn the_servers_own_count_is_that_of_the_books() {
    let node = Node::start();
    let events: Vec<Value> = (0..100)
        .map(|id| json!({"eventId": id.to_string()}))
        .collect();
    let tracker = HttpTracker::builder(node.url("gzip")).scoped().unwrap();
    events.iter().for_each(|event| tracker.emit(event).unwrap());
    let report = tracker.flush().await;
    assert_eq!((report.books.delivered, report.books.rejected), (99, 1));
    assert_eq!(node.taken().await, 99);
}
