//! A response of the fault server.

use std::io::{self, Write};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A status, header lines and a body.
///
/// # Examples
///
/// ```
/// use tracker_http::testing::{Answer, Reply};
///
/// let verdicts = Reply::new(200).body(r#"{"rejected":[{"index":1}]}"#).gzip();
/// let answer = Answer::Take(vec![1], verdicts);
/// # let _ = answer;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// Starts a response with this status and no body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header line. The server sets `content-length` itself.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Compresses the body with gzip, and adds the header `content-encoding`.
    #[must_use]
    pub fn gzip(mut self) -> Self {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        // Writing to memory does not fail.
        if encoder.write_all(&self.body).is_ok() {
            self.body = encoder.finish().unwrap_or_default();
        }
        self.header("content-encoding", "gzip")
    }

    pub(super) async fn write(self, stream: &mut TcpStream) -> io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} \r\ncontent-length: {}\r\n",
            self.status,
            self.body.len()
        );
        for (name, value) in self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream
            .write_all(&[head.as_bytes(), &self.body].concat())
            .await
    }
}
