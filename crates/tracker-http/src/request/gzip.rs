//! Compression of request bodies.

/// The largest body that is not compressed, in bytes: compression would save too little.
#[cfg(feature = "gzip")]
const MAX_PLAIN_BODY_BYTES: usize = 1024;

/// Compresses `body` if it is large enough, and returns whether it is compressed.
#[cfg(feature = "gzip")]
pub(crate) fn compress(body: Vec<u8>) -> (bytes::Bytes, bool) {
    use std::io::Write;

    if body.len() <= MAX_PLAIN_BODY_BYTES {
        return (body.into(), false);
    }
    let mut encoder = flate2::write::GzEncoder::new(
        Vec::with_capacity(body.len() / 4),
        flate2::Compression::fast(),
    );
    match encoder.write_all(&body).and_then(|()| encoder.finish()) {
        Ok(compressed) => (compressed.into(), true),
        // Writing to memory does not fail; if it did, the plain body is as good.
        Err(_) => (body.into(), false),
    }
}

/// Returns `body` as it is: this build has no compression.
#[cfg(not(feature = "gzip"))]
pub(crate) fn compress(body: Vec<u8>) -> (bytes::Bytes, bool) {
    (body.into(), false)
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use super::*;

    #[test]
    fn only_large_bodies_are_compressed() {
        assert!(!compress(vec![b'a'; MAX_PLAIN_BODY_BYTES]).1);
        let (compressed, encoded) = compress(vec![b'a'; MAX_PLAIN_BODY_BYTES + 1]);
        assert!(encoded && compressed.len() < 100);
    }
}
