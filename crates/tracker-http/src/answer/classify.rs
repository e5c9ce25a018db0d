//! Classifies a response for the delivery policy.

use std::time::{Duration, SystemTime};

use hyper::body::Body;
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Response, StatusCode, Version};
use tracker_core::{Reason, Receipt, SendError};

use crate::answer::body::{self, Decoded, ReadEnd};
use crate::answer::text::{clean, decoded};
use crate::answer::{retry_after, verdicts};
use crate::secrets::credentials::Credentials;
use crate::secrets::redaction::Secrets;

/// The longest wait for the body of a refusal.
const REFUSAL_TEXT_TIMEOUT: Duration = Duration::from_millis(100);

/// The largest part of a refusal's body that is read.
const MAX_REFUSAL_TEXT_BYTES: usize = 64 * 1024;

/// The request that an answer belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentRequest {
    /// The number of events in the batch.
    pub(crate) events: usize,
    /// The size of the body in bytes, before compression.
    pub(crate) bytes: usize,
    /// Whether the body was compressed.
    pub(crate) encoded: bool,
}

impl SentRequest {
    /// Returns the largest size of a success's body that is accepted: room for a verdict on each
    /// event, and for an echo of the request.
    fn max_answer_bytes(self) -> usize {
        const FIXED_BYTES: usize = 64 * 1024;
        const BYTES_PER_EVENT: usize = 2 * 1024;

        FIXED_BYTES + BYTES_PER_EVENT * self.events + 2 * self.bytes
    }
}

/// Reads `response` and classifies it.
///
/// A success whose body breaks off is no answer, because the body may have contained verdicts. The
/// events are sent again, and the server drops duplicates by id. A success whose body is longer
/// than [`SentRequest::max_answer_bytes`], or cannot be decoded or understood, is unreadable and
/// does not count as consent.
pub(crate) async fn read<B>(
    response: Response<B>,
    sent: SentRequest,
    credentials: &Credentials,
) -> Result<Receipt, SendError>
where
    B: Body + Unpin,
    B::Error: std::fmt::Display,
{
    let (head, mut body) = response.into_parts();
    let length: Option<usize> = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let mut read = Vec::new();
    if !head.status.is_success() {
        // The status and the headers decide the action. The text is for people, and is not worth a
        // long wait.
        let reading = body::read(&mut body, MAX_REFUSAL_TEXT_BYTES, &mut read);
        let _ = tokio::time::timeout(REFUSAL_TEXT_TIMEOUT, reading).await;
        return Err(SendError::Answer {
            status: head.status.as_u16(),
            retry_after: retry_after::read(&head.headers, SystemTime::now()),
            encoded: sent.encoded,
            reason: refusal(head.status, &head.headers, read, &credentials.secrets()),
        });
    }
    let end = match body::read(&mut body, sent.max_answer_bytes(), &mut read).await {
        // hyper reports a stream that is reset without an error code as the end of its body.
        ReadEnd::Complete if head.version == Version::HTTP_2 && !body.is_end_stream() => {
            ReadEnd::Broken("the stream was reset".into())
        }
        ReadEnd::Complete if length.is_some_and(|length| length > read.len()) => {
            ReadEnd::Broken(format!(
                "{} of {} bytes arrived",
                read.len(),
                length.unwrap_or_default()
            ))
        }
        end => end,
    };
    let secrets = credentials.secrets();
    let unreadable = |fault: String| SendError::Unreadable {
        status: head.status.as_u16(),
        reason: Reason::new(clean(&fault, &secrets)),
    };
    match end {
        ReadEnd::Complete => receipt(&head.headers, read, sent, &secrets).map_err(unreadable),
        ReadEnd::TooLong => Err(unreadable(format!(
            "it is longer than {} bytes",
            sent.max_answer_bytes()
        ))),
        ReadEnd::Broken(reason) => Err(SendError::no_answer(clean(
            &format!("the answer broke off: {reason}"),
            &secrets,
        ))),
    }
}

/// Reads the body of a success; the `Err` describes the unreadable part.
fn receipt(
    headers: &HeaderMap,
    body: Vec<u8>,
    sent: SentRequest,
    secrets: &Secrets,
) -> Result<Receipt, String> {
    let Decoded { bytes, fault } = body::decode(headers, body, sent.max_answer_bytes());
    if let Some(fault) = fault {
        return Err(fault);
    }
    let rejected = verdicts::read(&bytes, sent.events)?.into_iter();
    Ok(Receipt {
        rejected: rejected
            .map(|(index, reason)| (index, Reason::new(clean(&reason, secrets))))
            .collect(),
    })
}

/// Returns the reason of a refusal: the beginning of its text, or the name of its status if there
/// is no text.
fn refusal(status: StatusCode, headers: &HeaderMap, body: Vec<u8>, secrets: &Secrets) -> Reason {
    let Decoded { bytes, fault } = body::decode(headers, body, MAX_REFUSAL_TEXT_BYTES);
    let text = clean(&decoded(&bytes), secrets);
    if !text.is_empty() {
        return Reason::new(text);
    }
    let phrase = status.canonical_reason().unwrap_or_default();
    let with_fault = fault.map(|fault| format!("{phrase} (the text cannot be shown: {fault})"));
    Reason::new(clean(&with_fault.unwrap_or(phrase.to_owned()), secrets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::token::Token;

    #[test]
    fn a_reason_is_safe_to_log() {
        let credentials = Credentials::new(Some(Token::new("SECRET").unwrap()), Vec::new());
        let none = HeaderMap::new();
        let refusal_text =
            |status, body: &[u8]| refusal(status, &none, body.to_vec(), &credentials.secrets());
        let reason = refusal_text(StatusCode::UNAUTHORIZED, b"bad\r\ntoken SECRET\x1b[31m");
        assert_eq!(reason.as_str(), "bad  token [token][31m");
        let wide = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<u8>>()
        };
        let with_byte_order_mark = [&[0xFF, 0xFE][..], &wide("you sent SECRET")].concat();
        for body in [
            with_byte_order_mark,
            wide("you sent SECRET"),
            b"you sent S\0E\0C\xE2\x80\x8BR\x01ET".to_vec(),
        ] {
            assert_eq!(
                refusal_text(StatusCode::UNAUTHORIZED, &body).as_str(),
                "you sent [token]"
            );
        }
        assert_eq!(
            refusal_text(StatusCode::NOT_FOUND, b"").as_str(),
            "Not Found"
        );
    }

    #[test]
    fn the_limit_follows_the_batch() {
        let sent = |events, bytes| SentRequest {
            events,
            bytes,
            encoded: false,
        };
        assert_eq!(sent(1, 0).max_answer_bytes(), 66 * 1024);
        assert_eq!(
            sent(512, 100_000).max_answer_bytes(),
            64 * 1024 + 1024 * 1024 + 200_000
        );
    }
}
