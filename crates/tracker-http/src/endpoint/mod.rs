//! The URL that events are sent to, checked when it is parsed.

pub(crate) mod host;

use std::fmt;
use std::fmt::Write;
use std::str::FromStr;

use hyper::Uri;

use crate::endpoint::host::Host;

/// An `http` or `https` URL that every reader of URLs understands in the same way.
///
/// A text that some reader would take for another URL is refused, because the events and the token
/// could go to another server than the one meant. The rules are:
///
/// - The port is a decimal number from 1 to 65535, or is omitted with its colon.
/// - The host is an IPv4 address of four decimal numbers, an IPv6 address in brackets without a
///   zone, or a DNS name in ASCII that does not end in a number. (`127.1` and `0x7f000001` are
///   127.0.0.1 to some resolvers and a name to others.) A name beyond ASCII is written in its
///   punycode form, `xn--...`.
/// - There are no credentials and no fragment. Characters that a URL cannot have (RFC 3986) are
///   written percent-encoded. Letters beyond ASCII in the path and the query are encoded for you,
///   in UTF-8.
///
/// Plain `http` is allowed on loopback and private networks only. An address must be loopback,
/// private or link-local. A name must be `localhost`, have no dot, or end in `.localhost`,
/// `.local`, `.internal`, `.lan` or `.home.arpa`. [`allow_plain_http`](Self::allow_plain_http)
/// removes this rule.
///
/// # Examples
///
/// ```
/// use tracker_http::{Endpoint, EndpointError};
///
/// let endpoint: Endpoint = "http://127.0.0.1:8733/v1/events".parse()?;
/// assert_eq!(endpoint.to_string(), "http://127.0.0.1:8733/v1/events");
/// let endpoint: Endpoint = "http://localhost/ereignisse/für-alle".parse()?;
/// assert_eq!(endpoint.to_string(), "http://localhost/ereignisse/f%C3%BCr-alle");
///
/// assert!(matches!("http://events.example.com".parse::<Endpoint>(), Err(EndpointError::PlainHttp { .. })));
/// assert_eq!("http://127.0.0.1:87330/".parse::<Endpoint>(), Err(EndpointError::Port));
/// assert!(matches!("https://127.1/".parse::<Endpoint>(), Err(EndpointError::Host { .. })));
/// # Ok::<(), EndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    host: Host,
    port: u16,
}

/// The error of a URL that events cannot be sent to.
///
/// The parts of the URL that an error shows never contain credentials or keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The text is not a URL with a scheme and a host.
    #[error("the endpoint is not a URL such as https://host/path: {reason}")]
    NotAUrl {
        /// The fault.
        reason: String,
    },
    /// The scheme is neither `http` nor `https`.
    #[error("the endpoint's scheme is {scheme}; it must be https, or http")]
    Scheme {
        /// The scheme found.
        scheme: String,
    },
    /// The URL has a user name or a password, which logs would show.
    #[error("the endpoint must not contain credentials; set a token instead")]
    Credentials,
    /// The host is neither an address nor an ASCII name, or some readers would take it for another
    /// host.
    #[error("the endpoint's host {host} {reason}")]
    Host {
        /// The host found.
        host: String,
        /// The fault.
        reason: &'static str,
    },
    /// The port is not a decimal number from 1 to 65535.
    #[error("the endpoint's port is not a number from 1 to 65535")]
    Port,
    /// The URL is plain `http` to a host that is neither loopback nor on a private network.
    #[error(
        "plain http to {host} would show events and token on the way; use https, or allow_plain_http"
    )]
    PlainHttp {
        /// The host found.
        host: String,
    },
    /// The URL is `https`, but the feature `tls` is off.
    #[error("this build of tracker-http has no https: enable its feature tls")]
    NoTls,
}

impl Endpoint {
    /// Parses a URL, and allows plain `http` to any host.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] for every other text that [`FromStr`] refuses.
    pub fn allow_plain_http(url: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| not_a_url("it has no scheme"))?;
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(EndpointError::Credentials);
        }
        let scheme = parse_scheme(scheme)?;
        let (host, port) = parse_authority(authority)?;
        let target = encode_target(target)?;
        let written_port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let uri = format!("{scheme}://{host}{written_port}{target}");
        let uri = uri
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| not_a_url(error))?;
        Ok(Self {
            uri,
            host,
            port: port.unwrap_or(if scheme == "https" { 443 } else { 80 }),
        })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, EndpointError> {
        let endpoint = Self::allow_plain_http(url)?;
        if !endpoint.is_https() && !endpoint.host.is_local_or_private() {
            return Err(EndpointError::PlainHttp {
                host: endpoint.host.to_string(),
            });
        }
        Ok(endpoint)
    }
}

fn not_a_url(reason: impl ToString) -> EndpointError {
    EndpointError::NotAUrl {
        reason: reason.to_string(),
    }
}

fn parse_scheme(scheme: &str) -> Result<&'static str, EndpointError> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok("http"),
        "https" if cfg!(feature = "tls") => Ok("https"),
        "https" => Err(EndpointError::NoTls),
        scheme if is_scheme(scheme) => Err(EndpointError::Scheme {
            scheme: scheme.into(),
        }),
        _ => Err(not_a_url("it has no scheme")),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn parse_authority(authority: &str) -> Result<(Host, Option<u16>), EndpointError> {
    // The port begins after the brackets, because an IPv6 address has colons of its own.
    let address = if authority.starts_with('[') {
        authority.find(']').unwrap_or(authority.len())
    } else {
        0
    };
    let (host, port) = match authority[address..].find(':') {
        Some(colon) => authority.split_at(address + colon),
        None => (authority, ""),
    };
    if host.is_empty() {
        return Err(not_a_url("it has no host"));
    }
    let host = Host::parse(host).map_err(|reason| EndpointError::Host {
        host: escaped(host),
        reason,
    })?;
    Ok((host, port.strip_prefix(':').map(parse_port).transpose()?))
}

/// Parses a port. The error does not show the text, because it may be part of a password with a
/// slash.
fn parse_port(text: &str) -> Result<u16, EndpointError> {
    if text.bytes().any(|byte| !byte.is_ascii_digit()) {
        return Err(EndpointError::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(EndpointError::Port),
        Ok(port) => Ok(port),
    }
}

/// Shortens and escapes a refused host for a message.
fn escaped(host: &str) -> String {
    host.chars()
        .take(64)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// Checks the path and the query, and encodes characters beyond ASCII.
fn encode_target(target: &str) -> Result<String, EndpointError> {
    let mut encoded = String::with_capacity(target.len() + 1);
    if !target.starts_with('/') {
        encoded.push('/');
    }
    for (at, char) in target.char_indices() {
        let fits = match char {
            '#' => return Err(not_a_url("it has a fragment, which is not sent")),
            '%' => is_encoded_byte(&target.as_bytes()[at..]),
            _ if char.is_ascii() => {
                char.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?".contains(char)
            }
            _ => !char.is_whitespace() && !char.is_control(),
        };
        if !fits {
            return Err(not_a_url(format!(
                "its path or query has the character {char:?}; write it percent-encoded"
            )));
        }
        if char.is_ascii() {
            encoded.push(char);
            continue;
        }
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    Ok(encoded)
}

fn is_encoded_byte(text: &[u8]) -> bool {
    matches!(text, [b'%', first, second, ..] if first.is_ascii_hexdigit() && second.is_ascii_hexdigit())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Omits the query, because it may contain a key.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(
            f,
            "{}://{host}{}",
            self.uri.scheme_str().unwrap_or_default(),
            self.uri.path()
        )
    }
}
