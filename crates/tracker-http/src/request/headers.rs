//! The headers of every request, and the secrets in the configuration.

use hyper::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};

use crate::endpoint::Endpoint;
use crate::error::BuildError;
use crate::request::enrichment::Enrichment;
use crate::secrets::redaction::Label;

/// The headers that a user cannot set.
const RESERVED_NAMES: [&str; 15] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
    // These concern the connection, and change the answer or prevent it.
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// Returns the headers that all requests share; `authorization` is added to each request.
pub(crate) fn common(
    secret: Vec<(String, String)>,
    public: Vec<(String, String)>,
) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("tracker-http/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let secret = secret.into_iter().map(|header| (header, true));
    let public = public.into_iter().map(|header| (header, false));
    for ((name, value), sensitive) in secret.chain(public) {
        let (Ok(header), Ok(mut value)) =
            (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
        else {
            return Err(BuildError::Header { name });
        };
        if RESERVED_NAMES.contains(&header.as_str()) {
            return Err(BuildError::ReservedHeader { name });
        }
        value.set_sensitive(sensitive);
        headers.append(header, value);
    }
    Ok(headers)
}

/// Returns the secrets of the configuration, except the token.
pub(crate) fn configured_secrets(
    endpoint: &Endpoint,
    headers: &[(String, String)],
    enrichment: &Enrichment,
) -> Vec<(String, Label)> {
    let headers = headers.iter().flat_map(|(_, value)| {
        // In "Basic dXNlcg==", the part after the scheme is a secret on its own.
        let (_, last) = value.rsplit_once(' ').unwrap_or_default();
        [
            (value.clone(), Label::Header),
            (last.to_owned(), Label::Header),
        ]
    });
    let query = endpoint.uri().query().unwrap_or_default().split(['&', ';']);
    let query = query.map(|pair| {
        (
            pair.split_once('=')
                .map_or(pair, |(_, value)| value)
                .to_owned(),
            Label::Secret,
        )
    });
    let key = enrichment
        .text("serviceKey")
        .map(|key| (key.to_owned(), Label::Secret));
    headers.chain(query).chain(key).collect()
}
