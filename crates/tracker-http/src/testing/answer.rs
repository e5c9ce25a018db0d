//! The answers of the fault server.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::echo::Echo;
use super::reply::Reply;
use super::request::RecordedRequest;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Takes the events and answers 200.
    Accept,
    /// Takes the events and answers 200 after a wait.
    AcceptAfter(Duration),
    /// Takes the events and answers 200 after this wait for each event, like a server whose work
    /// grows with the batch.
    AcceptAfterEach(Duration),
    /// Takes the events except those with these indices, and lists the rejected ones in the body.
    Reject(Vec<usize>),
    /// Takes the events except those with these indices, and answers with this reply.
    Take(Vec<usize>, Reply),
    /// Takes nothing and answers with this reply.
    Refuse(Reply),
    /// Takes nothing and answers with this status.
    Status(u16),
    /// Takes nothing and answers with this status and this text.
    RefuseAll(u16, String),
    /// Takes up to this many events in one request as [`Accept`](Self::Accept) does, and answers
    /// 413 to more.
    AtMost(usize),
    /// Takes nothing and answers 400 if the body contains this text; otherwise as
    /// [`Accept`](Self::Accept) does.
    RefuseIf(&'static str),
    /// Takes nothing and answers with this status if the body contains this text; otherwise as
    /// [`Accept`](Self::Accept) does.
    StatusIf(u16, &'static str),
    /// Takes nothing and answers 409 if it has taken an event with one of the `eventId`s before;
    /// otherwise as [`Accept`](Self::Accept) does.
    ConflictIfKnown,
    /// Takes nothing and answers with this status, these header lines, and this body.
    Full(u16, Vec<(&'static str, String)>, String),
    /// Takes nothing and answers with this status; the text repeats the headers of the request in
    /// this form.
    Echo(u16, Echo),
    /// Takes the events and breaks the connection before the answer.
    LoseAnswer,
    /// Takes the events, answers 200, and closes the connection without announcing it.
    AcceptAndClose,
    /// Takes nothing and resets the connection after it has read the request.
    Reset,
    /// Takes nothing and resets the connection in the middle of its answer's body.
    ResetInBody,
    /// Takes nothing, and never answers.
    Hang,
    /// Takes nothing and answers with bytes that are not HTTP.
    Garbage,
    /// Takes the events and answers 200 with a body that never ends.
    EndlessBody,
}

impl Answer {
    /// Returns the concrete answer to this request; `has` tells whether an event with this id was
    /// taken before.
    pub(super) fn resolve(
        self,
        request: &RecordedRequest,
        mut has: impl FnMut(&str) -> bool,
    ) -> Self {
        match self {
            Self::AtMost(events) if request.events().len() > events => Self::Status(413),
            Self::RefuseIf(text) => Self::StatusIf(400, text).resolve(request, has),
            Self::StatusIf(status, text) if request.contains(text) => {
                Self::RefuseAll(status, format!("the body contains {text}"))
            }
            Self::ConflictIfKnown => {
                let known = request
                    .events()
                    .iter()
                    .any(|event| event["eventId"].as_str().is_some_and(&mut has));
                if known {
                    Self::RefuseAll(409, "an event is there already".into())
                } else {
                    Self::Accept
                }
            }
            Self::AtMost(_) | Self::StatusIf(..) => Self::Accept,
            Self::AcceptAfterEach(wait) => {
                Self::AcceptAfter(wait * u32::try_from(request.events().len()).unwrap_or(u32::MAX))
            }
            Self::Echo(status, form) => Self::RefuseAll(status, form.repeat(request)),
            other => other,
        }
    }

    /// Returns the indices of the events that are not taken; `None` if no event is taken.
    pub(super) fn rejected_indices(&self) -> Option<Vec<usize>> {
        match self {
            Self::Reject(indices) | Self::Take(indices, _) => Some(indices.clone()),
            Self::Accept
            | Self::AcceptAfter(_)
            | Self::AcceptAndClose
            | Self::LoseAnswer
            | Self::EndlessBody => Some(Vec::new()),
            _ => None,
        }
    }

    /// Writes the answer; returns whether the connection stays open.
    pub(super) async fn write(self, stream: &mut TcpStream) -> io::Result<bool> {
        match self {
            Self::AcceptAfter(wait) => {
                tokio::time::sleep(wait).await;
                Reply::new(200).write(stream).await?;
            }
            Self::Reject(indices) => {
                let verdict = |index| json!({"index": index, "reason": "rejected by script"});
                let verdicts: Vec<_> = indices.into_iter().map(verdict).collect();
                Reply::new(200)
                    .body(json!({"rejected": verdicts}).to_string())
                    .write(stream)
                    .await?;
            }
            Self::Take(_, reply) | Self::Refuse(reply) => reply.write(stream).await?,
            Self::Status(status) => Reply::new(status).write(stream).await?,
            Self::RefuseAll(status, text) => Reply::new(status).body(text).write(stream).await?,
            Self::Full(status, headers, body) => {
                let reply = headers
                    .into_iter()
                    .fold(Reply::new(status), |reply, (name, value)| {
                        reply.header(name, value)
                    });
                reply.body(body).write(stream).await?;
            }
            Self::AcceptAndClose => {
                Reply::new(200).write(stream).await?;
                return Ok(false);
            }
            Self::LoseAnswer => return Ok(false),
            Self::Reset => {
                stream.set_zero_linger()?;
                return Ok(false);
            }
            Self::ResetInBody => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"rejected\":")
                    .await?;
                stream.flush().await?;
                return Ok(false);
            }
            Self::Hang => std::future::pending().await,
            Self::Garbage => {
                stream
                    .write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
                    .await?;
                return Ok(false);
            }
            Self::EndlessBody => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await?;
                let chunk = format!("{:x}\r\n{}\r\n", 4096, "x".repeat(4096));
                loop {
                    stream.write_all(chunk.as_bytes()).await?;
                }
            }
            // `resolve` has turned the other answers into one of those above, or into `Accept`.
            _ => Reply::new(200).write(stream).await?,
        }
        Ok(true)
    }
}
