//! From events to a request body: `{"events":[...]}`, enriched and compressed as configured.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracker_core::{Reason, SendError};

/// The fields that the configuration adds to every event; they win over fields of the same name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Enrichment {
    fields: Map<String, Value>,
    /// The fields as they stand behind the opening brace: `"env":"prod","serviceKey":"k"`.
    encoded: Vec<u8>,
}

impl Enrichment {
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.fields.insert(name.into(), Value::String(value));
        let object = Value::Object(self.fields.clone()).to_string().into_bytes();
        self.encoded = object[1..object.len() - 1].to_vec();
    }

    /// Appends the event that stands in `event` as JSON, with the fields added.
    fn append(&self, body: &mut Vec<u8>, event: &[u8]) -> Result<(), String> {
        let Some(rest) = event.strip_prefix(b"{") else {
            return Err("it is not a JSON object, so no field can be added to it".into());
        };
        // A field of that name is rare; where the name occurs at all, or may in escapes, the slow way decides. It
        // keeps every value as it is written.
        if contains(event, b"\\u") || self.fields.keys().any(|name| contains(event, name.as_bytes())) {
            let mut object: BTreeMap<String, &RawValue> =
                serde_json::from_slice(event).map_err(|error| error.to_string())?;
            object.retain(|name, _| !self.fields.contains_key(name));
            let object = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
            self.splice(body, &object[1..]);
            return Ok(());
        }
        self.splice(body, rest);
        Ok(())
    }

    /// Appends an object: the fields, and then `rest`, an object without its opening brace.
    fn splice(&self, body: &mut Vec<u8>, rest: &[u8]) {
        body.push(b'{');
        body.extend_from_slice(&self.encoded);
        if rest != b"}" {
            body.push(b',');
        }
        body.extend_from_slice(rest);
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Encodes `events` as one body.
pub(crate) fn body<E: Serialize>(events: &[E], enrichment: &Enrichment) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::with_capacity(64 + events.len() * 128);
    let mut event_json = Vec::new();
    body.extend_from_slice(b"{\"events\":[");
    for (index, event) in events.iter().enumerate() {
        let unencodable = |reason: String| SendError::Unencodable { index, reason: Reason::new(reason) };
        if index > 0 {
            body.push(b',');
        }
        if enrichment.fields.is_empty() {
            serde_json::to_writer(&mut body, event).map_err(|error| unencodable(error.to_string()))?;
            continue;
        }
        event_json.clear();
        serde_json::to_writer(&mut event_json, event).map_err(|error| unencodable(error.to_string()))?;
        enrichment.append(&mut body, &event_json).map_err(unencodable)?;
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}

/// Bodies up to this size, in bytes, are not compressed: it would not pay.
#[cfg(feature = "gzip")]
const GZIP_ABOVE: usize = 1024;

/// Compresses `body` if it is large enough; says whether it did.
#[cfg(feature = "gzip")]
pub(crate) fn gzip(body: Vec<u8>) -> (bytes::Bytes, bool) {
    use std::io::Write;

    if body.len() <= GZIP_ABOVE {
        return (body.into(), false);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    match encoder.write_all(&body).and_then(|()| encoder.finish()) {
        Ok(compressed) => (compressed.into(), true),
        // Writing to memory does not fail; if it did, the plain body is as good.
        Err(_) => (body.into(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn enriched(event: Value) -> Value {
        let mut enrichment = Enrichment::default();
        enrichment.set("env", "prod".into());
        enrichment.set("serviceKey", "k\"ey".into());
        let body = body(&[event], &enrichment).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["events"][0].clone()
    }

    #[test]
    fn configured_fields_are_added_and_win() {
        assert_eq!(enriched(json!({})), json!({"env": "prod", "serviceKey": "k\"ey"}));
        assert_eq!(enriched(json!({"a": 1})), json!({"a": 1, "env": "prod", "serviceKey": "k\"ey"}));
        assert_eq!(enriched(json!({"env": "dev", "a": 1})), json!({"a": 1, "env": "prod", "serviceKey": "k\"ey"}));
        assert_eq!(
            enriched(json!({"a": {"env": "inner"}})),
            json!({"a": {"env": "inner"}, "env": "prod", "serviceKey": "k\"ey"})
        );
    }

    #[test]
    fn an_overridden_field_stands_once() {
        let mut enrichment = Enrichment::default();
        enrichment.set("env", "prod".into());
        let body = body(&[json!({"env": "dev"})], &enrichment).unwrap();
        assert_eq!(body, br#"{"events":[{"env":"prod"}]}"#);
    }

    #[test]
    fn an_event_that_is_not_an_object_cannot_be_enriched() {
        let mut enrichment = Enrichment::default();
        enrichment.set("env", "prod".into());
        let refused = body(&[json!({}), json!(7)], &enrichment).unwrap_err();
        assert!(matches!(refused, SendError::Unencodable { index: 1, .. }));
        assert_eq!(body(&[json!(7), json!("x")], &Enrichment::default()).unwrap(), br#"{"events":[7,"x"]}"#);
    }

    #[cfg(feature = "gzip")]
    #[test]
    fn only_large_bodies_are_compressed() {
        assert!(!gzip(vec![b'a'; GZIP_ABOVE]).1);
        let (compressed, encoded) = gzip(vec![b'a'; GZIP_ABOVE + 1]);
        assert!(encoded && compressed.len() < 100);
    }
}
