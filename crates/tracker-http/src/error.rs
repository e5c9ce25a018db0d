//! What can be wrong with a transport's configuration.

use crate::endpoint::EndpointError;
use crate::secrets::token::TokenError;

/// A transport or tracker that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint is not one.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The token is not one.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A custom header's name or value is not valid. The value is not shown: it may be a secret.
    #[error("the header {name:?} has an invalid name or value")]
    Header {
        /// The name given.
        name: String,
    },
    /// A custom header that the transport sets itself.
    #[error("the header {name} is set by the transport")]
    ReservedHeader {
        /// The name given.
        name: String,
    },
    /// TLS cannot be set up: the platform has no usable roots, or an added root is not a
    /// certificate.
    #[error("https cannot be set up: {reason}")]
    Tls {
        /// What is wrong.
        reason: String,
    },
    /// A client certificate that cannot be used; nothing of its key is shown.
    #[error("the client certificate cannot be used: {reason}")]
    ClientCertificate {
        /// What is wrong.
        reason: String,
    },
    /// An option is zero that must not be.
    #[error("{option} must be at least 1")]
    Zero {
        /// The option.
        option: &'static str,
    },
    /// A background tracker was built outside of a tokio runtime, so nothing could run it.
    #[error("a background tracker must be built inside a tokio runtime")]
    NoRuntime,
    /// A background tracker was built inside a tokio runtime without timers, so no wait of it would
    /// ever end.
    #[error(
        "a background tracker needs a tokio runtime with timers; build it with enable_time or enable_all"
    )]
    NoTimer,
}
