//! From a response to what the delivery policy understands.

use std::time::{Duration, SystemTime};

use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use tracker_core::{Reason, Receipt, SendError};

use crate::credentials::Credentials;
use crate::secrets::Secrets;

/// The most bytes of a response body that are read.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;

/// How long the text of a refusal is waited for.
const TEXT_PATIENCE: Duration = Duration::from_millis(100);

/// Reads `response` and classifies it; `encoded` says whether the request was compressed.
///
/// A success whose body breaks off is no answer: it may have carried verdicts. Its events are sent again, and the far
/// end drops what it has by id. A success whose body goes beyond the limit counts as it stands: all delivered.
pub(crate) async fn read<B>(
    response: Response<B>,
    encoded: bool,
    credentials: &Credentials,
) -> Result<Receipt, SendError>
where
    B: Body + Unpin,
    B::Error: std::fmt::Display,
{
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        return match read_body(body).await {
            Ok(Some(body)) => Ok(receipt(&body, &credentials.secrets())),
            Ok(None) => Ok(Receipt::default()),
            Err(reason) => {
                Err(SendError::no_answer(clean(&format!("the answer broke off: {reason}"), &credentials.secrets())))
            }
        };
    }
    // The status and its headers say what to do; the text is for people, and is not worth a wait.
    let text = tokio::time::timeout(TEXT_PATIENCE, read_body(body)).await;
    let text = text.ok().and_then(Result::ok).flatten().unwrap_or_default();
    Err(SendError::Answer {
        status: head.status.as_u16(),
        retry_after: retry_after(&head.headers, SystemTime::now()),
        encoded,
        reason: reason(head.status, &text, &credentials.secrets()),
    })
}

/// Reads the whole body; `None` if it is longer than the limit.
async fn read_body<B>(mut body: B) -> Result<Option<Vec<u8>>, String>
where
    B: Body + Unpin,
    B::Error: std::fmt::Display,
{
    use bytes::Buf;

    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(mut data) = frame.into_data() else { continue };
        if read.len() + data.remaining() > BODY_LIMIT {
            return Ok(None);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            read.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
    Ok(Some(read))
}

/// The verdicts that a success may carry: `{"rejected":[{"index":3,"reason":"..."}]}`; what is not listed was taken.
#[derive(Deserialize)]
struct Verdicts {
    rejected: Vec<Verdict>,
}

#[derive(Deserialize)]
struct Verdict {
    index: usize,
    #[serde(default)]
    reason: String,
}

/// Any other body means that everything was taken.
fn receipt(body: &[u8], secrets: &Secrets) -> Receipt {
    let verdicts = serde_json::from_slice::<Verdicts>(body).map_or_else(|_| Vec::new(), |verdicts| verdicts.rejected);
    let rejected = verdicts.into_iter().map(|verdict| (verdict.index, Reason::new(clean(&verdict.reason, secrets))));
    Receipt { rejected: rejected.collect() }
}

fn reason(status: StatusCode, body: &[u8], secrets: &Secrets) -> Reason {
    let text = clean(&String::from_utf8_lossy(body), secrets);
    let phrase = status.canonical_reason().unwrap_or_default();
    Reason::new(if text.is_empty() { phrase.to_owned() } else { text })
}

/// Makes a far end's text fit for a log: no secret, no control characters.
pub(crate) fn clean(text: &str, secrets: &Secrets) -> String {
    secrets.redact(text).trim().replace(|c: char| c.is_control(), " ")
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. What is neither is ignored.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read(&httpdate::fmt_http_date(now + Duration::from_secs(90))), Some(Duration::from_secs(90)));
        assert_eq!(read(&httpdate::fmt_http_date(now - Duration::from_secs(90))), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn verdicts_are_read_and_everything_else_is_a_plain_success() {
        let rejected =
            receipt(br#"{"rejected":[{"index":3,"reason":"no id"},{"index":5}],"more":1}"#, &Secrets::default())
                .rejected;
        assert_eq!(rejected, [(3, Reason::new("no id")), (5, Reason::default())]);
        for body in ["", "ok", "{}", "[]", r#"{"rejected":true}"#, r#"{"rejected":[{"index":-1}]}"#] {
            assert_eq!(receipt(body.as_bytes(), &Secrets::default()), Receipt::default(), "{body}");
        }
    }

    #[test]
    fn a_reason_is_safe_to_log() {
        let credentials = Credentials::new(Some(Token::new("SECRET").unwrap()), Vec::new());
        let secrets = credentials.secrets();
        let said = reason(StatusCode::UNAUTHORIZED, b"bad\r\ntoken SECRET\x1b[31m", &secrets);
        assert_eq!(said.as_str(), "bad  token [token] [31m");
        assert_eq!(reason(StatusCode::NOT_FOUND, b"", &secrets).as_str(), "Not Found");
    }
}
