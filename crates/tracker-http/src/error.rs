//! The error of a configuration.

use crate::endpoint::EndpointError;
use crate::secrets::token::TokenError;

/// The error of a transport or a tracker that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint is invalid.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The token is invalid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The name or the value of a custom header is invalid. The value is not shown, because it may
    /// be a secret.
    #[error("the header {name:?} has an invalid name or value")]
    Header {
        /// The name given.
        name: String,
    },
    /// A custom header has the name of one that the transport sets itself.
    #[error("the header {name} is set by the transport")]
    ReservedHeader {
        /// The name given.
        name: String,
    },
    /// TLS cannot be set up: the platform has no usable roots, or an added root is not a
    /// certificate.
    #[error("https cannot be set up: {reason}")]
    Tls {
        /// The fault.
        reason: String,
    },
    /// The client certificate cannot be used. No part of its key is shown.
    #[error("the client certificate cannot be used: {reason}")]
    ClientCertificate {
        /// The fault.
        reason: String,
    },
    /// An option is zero that must be at least 1.
    #[error("{option} must be at least 1")]
    Zero {
        /// The name of the option.
        option: &'static str,
    },
    /// A background tracker was built outside of a tokio runtime, so its task cannot run.
    #[error("a background tracker must be built inside a tokio runtime")]
    NoRuntime,
    /// A background tracker was built inside a tokio runtime without timers, so no wait of its task
    /// would ever end.
    #[error(
        "a background tracker needs a tokio runtime with timers; build it with enable_time or enable_all"
    )]
    NoTimer,
}
