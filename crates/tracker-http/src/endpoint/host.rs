//! The host of an endpoint: an address, or a name that no resolver takes for an address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host that every reader understands in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// An IPv4 address in its usual form, or an IPv6 address in brackets.
    Address(IpAddr),
    /// A DNS name in lower case; it may end with the dot that makes it absolute.
    Name(String),
}

/// The largest length of a name in characters, without the dot at its end (RFC 1035, section
/// 2.3.4).
const MAX_NAME_CHARS: usize = 253;

/// The largest length of a label in characters (RFC 1035, section 2.3.4).
const MAX_LABEL_CHARS: usize = 63;

/// The suffixes of names that are used on private networks only.
const PRIVATE_SUFFIXES: [&str; 5] = [".localhost", ".local", ".internal", ".lan", ".home.arpa"];

impl Host {
    /// Parses a host as it is written in a URL; the `Err` describes the fault.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let host = if text.starts_with('[') {
            Self::parse_v6(text)?
        } else {
            Self::parse_name(text)?
        };
        match host {
            Self::Address(ip) if ip.to_canonical().is_unspecified() => {
                Err("is the address of no machine")
            }
            host => Ok(host),
        }
    }

    fn parse_v6(text: &str) -> Result<Self, &'static str> {
        let address = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let address = address.and_then(|text| text.parse::<Ipv6Addr>().ok());
        address
            .map(|ip| Self::Address(ip.into()))
            .ok_or("is not an IPv6 address in brackets, without a zone")
    }

    fn parse_name(text: &str) -> Result<Self, &'static str> {
        if !text.is_ascii() {
            return Err("is not ASCII; write its punycode form (xn--...)");
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(ip.into()));
        }
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.len() > MAX_NAME_CHARS {
            return Err("is longer than the 253 characters of a DNS name");
        }
        let has_valid_characters = |label: &str| {
            label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !bare.split('.').all(|label| {
            (1..=MAX_LABEL_CHARS).contains(&label.len()) && has_valid_characters(label)
        }) {
            return Err(
                "is neither an address nor a DNS name of letters, digits, hyphens and underscores",
            );
        }
        // Many resolvers read such a host as the parts of an address: 127.1, 0177.0.0.1,
        // 2130706433, 0x7f.1.
        if bare.rsplit('.').next().is_some_and(is_number) {
            return Err("ends in a number and is not an IPv4 address of four decimal numbers");
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }

    /// Returns whether this is `localhost` or a name below it, which means this machine by
    /// definition (RFC 6761, section 6.3).
    pub(crate) fn is_localhost(&self) -> bool {
        self.bare_name()
            .is_some_and(|name| name == "localhost" || name.ends_with(".localhost"))
    }

    /// Returns whether the host is this machine or on a private network, judged by its form.
    pub(crate) fn is_local_or_private(&self) -> bool {
        match self {
            Self::Address(ip) => match ip.to_canonical() {
                IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
                IpAddr::V6(ip) => {
                    ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
                }
            },
            // A single label with a dot at its end is a top-level domain, not a machine of the
            // local network.
            Self::Name(name) => {
                !name.contains('.')
                    || self.is_localhost()
                    || self
                        .bare_name()
                        .is_some_and(|name| PRIVATE_SUFFIXES.iter().any(|end| name.ends_with(end)))
            }
        }
    }

    /// Returns the name without the dot at its end; `None` for an address.
    pub(crate) fn bare_name(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Name(name) => Some(name.strip_suffix('.').unwrap_or(name)),
        }
    }
}

/// Returns whether resolvers may read this label as a decimal, octal or hexadecimal number.
fn is_number(label: &str) -> bool {
    let hex = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Writes the host as in a URL.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
