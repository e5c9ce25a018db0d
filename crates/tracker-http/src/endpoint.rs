//! The address that events are sent to, checked when it is made.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

/// An `http` or `https` URL without credentials.
///
/// Plain `http` is for loopback and private networks: an address must be loopback, private or link-local, a name must
/// be `localhost`, have no dot, or end in `.localhost`, `.local`, `.internal`, `.lan` or `.home.arpa`.
/// [`allow_plain_http`](Self::allow_plain_http) lifts that.
///
/// # Examples
///
/// ```
/// use tracker_http::{Endpoint, EndpointError};
///
/// let endpoint: Endpoint = "http://127.0.0.1:8733/v1/events".parse()?;
/// assert_eq!(endpoint.to_string(), "http://127.0.0.1:8733/v1/events");
/// assert!(matches!("http://events.example.com".parse::<Endpoint>(), Err(EndpointError::PlainHttp { .. })));
/// # Ok::<(), EndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// A URL that events cannot be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not a URL with a scheme and a host.
    #[error("the endpoint is not a URL such as https://host/path: {reason}")]
    NotAUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// A scheme other than `http` and `https`.
    #[error("the endpoint's scheme is {scheme}; it must be https, or http")]
    Scheme {
        /// The scheme found.
        scheme: String,
    },
    /// A user name or a password in the URL, where logs would show it.
    #[error("the endpoint must not contain credentials; set a token instead")]
    Credentials,
    /// `http` to a host that is neither loopback nor on a private network.
    #[error("plain http to {host} would show events and token on the way; use https, or allow_plain_http")]
    PlainHttp {
        /// The host found.
        host: String,
    },
    /// `https` without the feature `tls`.
    #[error("this build of tracker-http has no https: enable its feature tls")]
    NoTls,
}

impl Endpoint {
    /// Parses a URL and accepts plain `http` to any host.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] for everything else that [`FromStr`] refuses.
    pub fn allow_plain_http(url: &str) -> Result<Self, EndpointError> {
        let not_a_url = |reason: String| EndpointError::NotAUrl { reason };
        let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| not_a_url(error.to_string()))?;
        let authority = uri.authority().ok_or_else(|| not_a_url("it has no host".into()))?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        if authority.host().is_empty() {
            return Err(not_a_url("it has no host".into()));
        }
        match uri.scheme_str() {
            Some("http") => Ok(Self(uri)),
            Some("https") if cfg!(feature = "tls") => Ok(Self(uri)),
            Some("https") => Err(EndpointError::NoTls),
            Some(scheme) => Err(EndpointError::Scheme { scheme: scheme.into() }),
            None => Err(not_a_url("it has no scheme".into())),
        }
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    #[cfg(feature = "tls")]
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, EndpointError> {
        let endpoint = Self::allow_plain_http(url)?;
        let host = endpoint.0.host().unwrap_or_default();
        if endpoint.0.scheme_str() == Some("http") && !is_near(host) {
            return Err(EndpointError::PlainHttp { host: host.into() });
        }
        Ok(endpoint)
    }
}

/// Whether `host` is this machine or on a private network, as far as its form tells.
fn is_near(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => {
            let name = bare.to_ascii_lowercase();
            let near = [".localhost", ".local", ".internal", ".lan", ".home.arpa"];
            !name.contains('.') || near.iter().any(|suffix| name.ends_with(suffix))
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Leaves the query out: it may hold a key.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{host}{}", self.0.scheme_str().unwrap_or_default(), self.0.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_endpoint_is_refused_by_name() {
        let refused = |url: &str| url.parse::<Endpoint>().unwrap_err();
        for url in
            ["", "/v1/events", "127.0.0.1:80", "http://", "not a url", "http:///path", "http://[::1", "http://:80"]
        {
            assert!(matches!(refused(url), EndpointError::NotAUrl { .. }), "{url}: {:?}", refused(url));
        }
        assert_eq!(refused("ftp://127.0.0.1/"), EndpointError::Scheme { scheme: "ftp".into() });
        assert_eq!(refused("http://user:secret@127.0.0.1/"), EndpointError::Credentials);
    }

    #[test]
    fn plain_http_is_for_near_hosts() {
        for host in
            ["127.0.0.1:1", "[::1]:1", "10.1.2.3", "192.168.0.9", "localhost", "collector", "a.b.svc.cluster.local"]
        {
            assert!(format!("http://{host}/").parse::<Endpoint>().is_ok(), "{host}");
        }
        for host in ["8.8.8.8", "example.com", "local.example.com", "[2001:db8::1]", "notlocal.io"] {
            let refused = format!("http://{host}/").parse::<Endpoint>();
            assert!(matches!(refused, Err(EndpointError::PlainHttp { .. })), "{host}");
            assert!(Endpoint::allow_plain_http(&format!("http://{host}/")).is_ok());
        }
    }

    #[test]
    fn debug_leaves_the_query_out() {
        let endpoint: Endpoint = "http://localhost:1/v1?key=SECRET".parse().unwrap();
        assert_eq!(format!("{endpoint:?}"), "http://localhost:1/v1");
    }
}
