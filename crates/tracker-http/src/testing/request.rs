//! Reads HTTP/1.1 requests from a socket, as far as the fault server needs.

use std::io::{self, Read};
use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// A request that the server has read completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The time at which the request was complete.
    pub at: Instant,
    /// The request line: method, path and version.
    pub line: String,
    /// The headers in order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decompressed if it was compressed.
    pub body: Vec<u8>,
}

impl RecordedRequest {
    /// Returns the value of a header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the events of the body, if it is `{"events":[...]}`.
    ///
    /// An event that `serde_json` cannot read (half a surrogate pair, more than 128 levels) becomes
    /// a `Value::String` with its text.
    pub fn events(&self) -> Vec<Value> {
        let body = String::from_utf8_lossy(&self.body);
        let members = exact_json::members(&body).unwrap_or_default();
        let events = members
            .iter()
            .find(|member| member.key == "\"events\"")
            .and_then(|m| exact_json::elements(m.value));
        let events = events.unwrap_or_default().into_iter();
        events
            .map(|event| {
                serde_json::from_str(event).unwrap_or_else(|_| Value::String(event.to_owned()))
            })
            .collect()
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }

    /// Reads the next request of a connection; `None` if the client has closed the connection.
    pub(super) async fn read(
        stream: &mut BufReader<impl AsyncRead + Unpin>,
    ) -> io::Result<Option<Self>> {
        let line = read_line(stream).await?;
        if line.is_empty() {
            return Ok(None);
        }
        let mut request = Self {
            at: Instant::now(),
            line,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let header = read_line(stream).await?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            request
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = request
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        request.body = vec![0; length];
        stream.read_exact(&mut request.body).await?;
        if request.header("content-encoding") == Some("gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&request.body[..]).read_to_end(&mut plain)?;
            request.body = plain;
        }
        request.at = Instant::now();
        Ok(Some(request))
    }
}

async fn read_line(stream: &mut BufReader<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    line.truncate(line.trim_end().len());
    Ok(line)
}
