//! One request and its answer.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use serde::Serialize;
use tracker_core::{Reason, Receipt, SendError, SendOptions};

use crate::answer::classify::{self, SentRequest};
use crate::answer::text::clean;
use crate::connection::pool::{Connections, error_chain};
use crate::endpoint::Endpoint;
use crate::request::enrichment::Enrichment;
use crate::request::{body, gzip};
use crate::secrets::credentials::Credentials;

/// The parts of a request and the connections that carry it. Clones of a transport share one
/// exchange.
pub(crate) struct Exchange {
    connections: Connections,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) credentials: Credentials,
    pub(crate) enrichment: Enrichment,
    gzip: bool,
}

impl Exchange {
    pub(crate) fn new(
        connections: Connections,
        endpoint: Endpoint,
        headers: HeaderMap,
        credentials: Credentials,
        enrichment: Enrichment,
        gzip: bool,
    ) -> Self {
        Self {
            connections,
            endpoint,
            headers,
            credentials,
            enrichment,
            gzip,
        }
    }

    /// Sends `events` as one request, and reads the answer.
    pub(crate) async fn send<E: Serialize>(
        &self,
        events: &[E],
        options: SendOptions,
    ) -> Result<Receipt, SendError> {
        let (request, sent) = self.build_request(events, options)?;
        let Some(mut attempt) = self.connections.begin_attempt() else {
            return Err(SendError::Unreachable {
                reason: Reason::new("there is no tokio runtime to send the request"),
            });
        };
        match attempt.request(request).await {
            Ok(response) => {
                let answer = classify::read(response, sent, &self.credentials).await;
                if !matches!(answer, Err(SendError::NoAnswer { .. })) {
                    attempt.answered();
                }
                answer
            }
            Err(error) => {
                let reason = Reason::new(clean(&error_chain(&error), &self.credentials.secrets()));
                let is_unreachable = error.is_connect();
                Err(if is_unreachable {
                    SendError::Unreachable { reason }
                } else {
                    SendError::NoAnswer { reason }
                })
            }
        }
    }

    fn build_request<E: Serialize>(
        &self,
        events: &[E],
        options: SendOptions,
    ) -> Result<(Request<Full<Bytes>>, SentRequest), SendError> {
        let body = body::encode(events, &self.enrichment)?;
        let bytes = body.len();
        let compresses = self.gzip && !options.plain;
        let (body, encoded) = if compresses {
            gzip::compress(body)
        } else {
            (body.into(), false)
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.uri().clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(authorization) = self.credentials.authorization() {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        if encoded {
            request
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok((
            request,
            SentRequest {
                events: events.len(),
                bytes,
                encoded,
            },
        ))
    }
}
