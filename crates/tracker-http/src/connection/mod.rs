//! Connections to one endpoint: the pool, and how a connection is made.

pub(crate) mod pool;

pub(crate) mod connector;

pub(crate) mod race;
pub(crate) mod resolver;
#[cfg(feature = "tls")]
pub(crate) mod tls;
