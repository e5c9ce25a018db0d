//! Secrets of a transport, and how they are kept out of every message.

pub(crate) mod credentials;
pub(crate) mod token;

pub(crate) mod redaction;

mod decode;
