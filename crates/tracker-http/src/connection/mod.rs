//! Connections to one endpoint: pooled, made, secured.

pub(crate) mod pool;

pub(crate) mod connector;

pub(crate) mod race;
pub(crate) mod resolver;
#[cfg(feature = "tls")]
pub(crate) mod tls;
