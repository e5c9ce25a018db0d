//! Reads the body of an answer up to a limit, and decodes it.

use bytes::Buf;
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, HeaderMap, TRANSFER_ENCODING};

/// The result of reading a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// Everything was read.
    Complete,
    /// The body is longer than the limit.
    TooLong,
    /// The connection broke; the text is the error.
    Broken(String),
}

/// Appends the body to `read`, until the body ends or `read` has `limit` bytes.
///
/// # Cancel safety
///
/// The bytes that were read before the future was dropped are in `read`.
pub(crate) async fn read<B>(body: &mut B, limit: usize, read: &mut Vec<u8>) -> ReadEnd
where
    B: Body + Unpin,
    B::Error: std::fmt::Display,
{
    while let Some(frame) = body.frame().await {
        let mut data = match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => data,
                Err(_) => continue,
            },
            Err(error) => return ReadEnd::Broken(error.to_string()),
        };
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            let room = limit - read.len();
            read.extend_from_slice(&chunk[..length.min(room)]);
            if length > room {
                return ReadEnd::TooLong;
            }
            data.advance(length);
        }
    }
    ReadEnd::Complete
}

/// A decoded body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// The decoded bytes: the whole body, or its beginning if there is a fault.
    pub(crate) bytes: Vec<u8>,
    /// The fault that stopped the decoding, if there was one.
    pub(crate) fault: Option<String>,
}

/// Removes the encodings that `headers` name, although the request accepts none; the result has at
/// most `limit` bytes.
pub(crate) fn decode(headers: &HeaderMap, bytes: Vec<u8>, limit: usize) -> Decoded {
    /// A body with more encodings is an attack, not an answer.
    const MAX_ENCODINGS: usize = 4;

    let mut encodings = encodings(headers);
    if bytes.is_empty() || encodings.is_empty() {
        return Decoded { bytes, fault: None };
    }
    if encodings.len() > MAX_ENCODINGS {
        return Decoded {
            bytes: Vec::new(),
            fault: Some("it is encoded too often".into()),
        };
    }
    let mut decoded = Decoded { bytes, fault: None };
    // The encoding that is named last was applied last.
    while let Some(encoding) = encodings.pop() {
        decoded = decode_one(&encoding, &decoded, limit);
        if decoded.bytes.is_empty() {
            break;
        }
    }
    decoded
}

/// Returns the encodings in the order in which they were applied.
fn encodings(headers: &HeaderMap) -> Vec<String> {
    let named = [CONTENT_ENCODING, TRANSFER_ENCODING].map(|name| headers.get_all(name).into_iter());
    let named = named
        .into_iter()
        .flatten()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let named: Vec<String> = named.collect();
    let named = named.iter().flat_map(|list| list.split(',')).map(str::trim);
    named
        .filter(|name| !matches!(*name, "" | "identity" | "chunked"))
        .map(str::to_owned)
        .collect()
}

#[cfg(feature = "gzip")]
fn decode_one(encoding: &str, from: &Decoded, limit: usize) -> Decoded {
    use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

    let source = from.bytes.as_slice();
    let mut decoded = match encoding {
        "gzip" | "x-gzip" => inflate(MultiGzDecoder::new(source), limit),
        "deflate" => {
            let zlib = inflate(ZlibDecoder::new(source), limit);
            // Some servers omit the zlib header.
            let is_raw = zlib.bytes.is_empty() && zlib.fault.is_some();
            if is_raw {
                inflate(DeflateDecoder::new(source), limit)
            } else {
                zlib
            }
        }
        other => unknown_encoding(other),
    };
    // The fault of an outer encoding remains, because the inner data is incomplete then.
    decoded.fault = from.fault.clone().or(decoded.fault);
    decoded
}

#[cfg(not(feature = "gzip"))]
fn decode_one(encoding: &str, _from: &Decoded, _limit: usize) -> Decoded {
    unknown_encoding(encoding)
}

fn unknown_encoding(encoding: &str) -> Decoded {
    const MAX_SHOWN_BYTES: usize = 32;

    let encoding = &encoding[..encoding.floor_char_boundary(MAX_SHOWN_BYTES)];
    Decoded {
        bytes: Vec::new(),
        fault: Some(format!(
            "it is encoded as {encoding}, which the request does not accept"
        )),
    }
}

#[cfg(feature = "gzip")]
fn inflate(decoder: impl std::io::Read, limit: usize) -> Decoded {
    use std::io::Read;

    let mut bytes = Vec::new();
    let read = decoder.take(limit as u64 + 1).read_to_end(&mut bytes);
    let fault = match read {
        Ok(_) if bytes.len() > limit => Some(format!(
            "it is longer than {limit} bytes when it is decoded"
        )),
        Ok(_) => None,
        Err(error) => Some(format!("it cannot be decoded: {error}")),
    };
    bytes.truncate(limit);
    Decoded { bytes, fault }
}

#[cfg(feature = "gzip")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use hyper::header::HeaderValue;

    const TEXT: &[u8] = br#"{"rejected":[{"index":3}]}"#;
    const LIMIT: usize = 1000;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(encoding: &'static str, bytes: Vec<u8>) -> Decoded {
        let headers =
            HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(encoding))]);
        decode(&headers, bytes, LIMIT)
    }

    fn assert_is_text(decoded: Decoded) {
        assert_eq!(
            decoded,
            Decoded {
                bytes: TEXT.to_vec(),
                fault: None
            }
        );
    }

    #[test]
    fn known_encodings_are_removed() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(TEXT).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(TEXT).unwrap();
        assert_is_text(decoded("identity", TEXT.to_vec()));
        assert_is_text(decoded("gzip", gzip(TEXT)));
        assert_is_text(decoded(" X-GZIP , identity", gzip(TEXT)));
        assert_is_text(decoded("gzip, gzip", gzip(&gzip(TEXT))));
        assert_is_text(decoded(
            "gzip",
            [gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat(),
        ));
        assert_is_text(decoded("deflate", zlib.finish().unwrap()));
        assert_is_text(decoded("deflate", raw.finish().unwrap()));
        let headers =
            HeaderMap::from_iter([(TRANSFER_ENCODING, HeaderValue::from_static("gzip, chunked"))]);
        assert_is_text(decode(&headers, gzip(TEXT), LIMIT));
    }

    #[test]
    fn nothing_is_nothing_in_every_encoding() {
        for encoding in ["gzip", "br", "deflate", "gzip, br"] {
            assert_eq!(
                decoded(encoding, Vec::new()),
                Decoded {
                    bytes: Vec::new(),
                    fault: None
                }
            );
        }
        assert_eq!(
            decoded("gzip", gzip(b"")),
            Decoded {
                bytes: Vec::new(),
                fault: None
            }
        );
    }

    #[test]
    fn a_body_that_cannot_be_decoded_is_a_fault() {
        for (encoding, bytes) in [
            ("br", TEXT.to_vec()),
            ("zstd, gzip", gzip(TEXT)),
            ("gzip", TEXT.to_vec()),
            ("deflate", b"\xFF\xFF\xFF".to_vec()),
            ("gzip,gzip,gzip,gzip,gzip", gzip(TEXT)),
        ] {
            let decoded = decoded(encoding, bytes);
            assert!(
                decoded.fault.is_some() && decoded.bytes.is_empty(),
                "{encoding}: {decoded:?}"
            );
        }
        let whole = gzip(&TEXT.repeat(20));
        let cut = decoded("gzip", whole[..whole.len() - 1].to_vec());
        assert!(
            cut.fault.is_some() && cut.bytes.starts_with(TEXT),
            "{cut:?}"
        );
    }

    #[test]
    fn a_bomb_is_bounded() {
        let bomb = gzip(&gzip(&vec![b' '; 10_000_000]));
        let decoded = decoded("gzip, gzip", bomb);
        assert!(
            decoded.fault.is_some() && decoded.bytes.len() <= LIMIT,
            "{decoded:?}"
        );
    }
}
