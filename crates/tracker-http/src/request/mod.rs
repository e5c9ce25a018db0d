//! The request: its body and its headers.

pub(crate) mod body;
pub(crate) mod enrichment;
pub(crate) mod gzip;

pub(crate) mod headers;
