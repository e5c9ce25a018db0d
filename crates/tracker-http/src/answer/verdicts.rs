//! Reads the verdicts in the body of a success: `{"rejected":[{"index":3,"reason":"..."}]}`.

use std::collections::BTreeMap;

use exact_json::{elements, members};

use crate::answer::text::{decoded, unquoted};

/// The rejected events by their index in the batch, each with the server's reason.
pub(crate) type Verdicts = BTreeMap<usize, String>;

/// Reads the verdicts on a batch of `events` events.
///
/// A body without `rejected` means that every event was taken. An index may be a number or a text,
/// an entry may be a bare index, and a reason may be any JSON value. The `Err` describes the
/// unreadable part; an unreadable body is no consent.
pub(crate) fn read(body: &[u8], events: usize) -> Result<Verdicts, String> {
    let text = decoded(body);
    let text = text.trim();
    let mut verdicts = Verdicts::new();
    let Some(members) = members(text) else {
        // A cut or broken object may have contained verdicts. So may an array or a quoted text that
        // mentions them.
        if text.starts_with('{') || mentions_verdicts(text) {
            return Err(format!("it is not a JSON object: {}", beginning(text)));
        }
        return Ok(verdicts);
    };
    for member in members {
        if is_named(member.key, "rejected") {
            read_list(member.value, events, &mut verdicts)?;
        }
    }
    Ok(verdicts)
}

/// Returns whether a text that is not an object mentions a field `rejected`.
fn mentions_verdicts(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices("rejected")
        .any(|(at, _)| text[..at].ends_with(['"', '\'', '<']))
}

fn is_named(key: &str, name: &str) -> bool {
    unquoted(key).eq_ignore_ascii_case(name)
}

fn read_list(value: &str, events: usize, verdicts: &mut Verdicts) -> Result<(), String> {
    if matches!(value, "null" | "false") || whole_number(value) == Some(0) {
        return Ok(());
    }
    let Some(entries) = elements(value) else {
        return Err(format!(
            "its field `rejected` is not an array: {}",
            beginning(value)
        ));
    };
    for entry in entries {
        let Some((index, reason)) = read_entry(entry) else {
            return Err(format!(
                "an entry of `rejected` has no index: {}",
                beginning(entry)
            ));
        };
        if index >= events {
            return Err(format!(
                "it rejects the event {index} of a batch of {events}"
            ));
        }
        let kept = verdicts.entry(index).or_default();
        if kept.is_empty() {
            *kept = reason;
        }
    }
    Ok(())
}

fn read_entry(entry: &str) -> Option<(usize, String)> {
    let Some(members) = members(entry) else {
        return Some((read_index(entry)?, String::new()));
    };
    let mut index = None;
    let mut reason = String::new();
    for member in members {
        if is_named(member.key, "index") {
            let read = read_index(member.value)?;
            // An entry with two different indices is unreadable.
            if index.replace(read).is_some_and(|before| before != read) {
                return None;
            }
        } else if is_named(member.key, "reason") && reason.is_empty() && member.value != "null" {
            reason = unquoted(member.value).into_owned();
        }
    }
    Some((index?, reason))
}

/// Reads an index, which is a number or a text.
fn read_index(value: &str) -> Option<usize> {
    whole_number(unquoted(value).trim())
}

/// Reads a number without a fraction in any of its forms: `3`, `3.0`, `0.3e1`.
fn whole_number(text: &str) -> Option<usize> {
    // From 2^53 on, a float cannot tell neighbouring whole numbers apart.
    const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = text.parse().ok().filter(|_| is_number)?;
    (number.fract() == 0.0 && (0.0..MAX_EXACT_INTEGER).contains(&number)).then_some(number as usize)
}

/// Returns the beginning of a text, for an error message.
fn beginning(text: &str) -> &str {
    const MAX_SHOWN_BYTES: usize = 64;

    if text.is_empty() {
        "nothing"
    } else {
        &text[..text.floor_char_boundary(MAX_SHOWN_BYTES)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: usize = 6;

    fn verdicts(body: impl AsRef<[u8]>) -> Vec<(usize, String)> {
        read(body.as_ref(), EVENTS).unwrap().into_iter().collect()
    }

    fn is_unreadable(body: impl AsRef<[u8]>) {
        let read = read(body.as_ref(), EVENTS);
        assert!(
            read.is_err(),
            "{:?}: {read:?}",
            String::from_utf8_lossy(body.as_ref())
        );
    }

    fn owned(verdicts: &[(usize, &str)]) -> Vec<(usize, String)> {
        verdicts
            .iter()
            .map(|(index, reason)| (*index, (*reason).to_owned()))
            .collect()
    }

    #[test]
    fn one_odd_entry_does_not_hide_the_others() {
        let body =
            r#"{"rejected":[{"index":0,"reason":"bad"},{"index":1,"reason":null},{"index":3}]}"#;
        assert_eq!(verdicts(body), owned(&[(0, "bad"), (1, ""), (3, "")]));
    }

    #[test]
    fn an_index_is_a_number_or_a_text() {
        for index in [
            "3",
            "3.0",
            "30e-1",
            "0.3E1",
            r#""3""#,
            r#"" 3.0 ""#,
            r#""\u0033""#,
        ] {
            assert_eq!(
                verdicts(format!(r#"{{"rejected":[{{"index":{index}}}]}}"#)),
                owned(&[(3, "")]),
                "{index}"
            );
            assert_eq!(
                verdicts(format!(r#"{{"rejected":[{index}]}}"#)),
                owned(&[(3, "")]),
                "{index}, bare"
            );
        }
        assert_eq!(
            verdicts(r#"{"rejected":[{"index":-0}]}"#),
            owned(&[(0, "")])
        );
    }

    #[test]
    fn a_reason_may_be_anything() {
        let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        for (reason, expected) in [
            (r#""a\tb""#, "a\tb"),
            ("{\"code\": 7}", "{\"code\": 7}"),
            ("7.50", "7.50"),
            ("true", "true"),
            (r#""half \ud800 \q \u12""#, "half \u{FFFD} q \u{FFFD}"),
            (r#""\ud83d\ude00 \ud800""#, "😀 \u{FFFD}"),
            (r#""\ud83d\ude00""#, "😀"),
            ("\"line\nbreak\"", "line\nbreak"),
            (&deep, &deep),
        ] {
            let body = format!(r#"{{"rejected":[{{"reason":{reason},"index":3}}]}}"#);
            assert_eq!(verdicts(body), owned(&[(3, expected)]));
        }
        assert_eq!(
            verdicts(b"{\"rejected\":[{\"index\":3,\"reason\":\"a\xFFb\"}]}"),
            owned(&[(3, "a\u{FFFD}b")])
        );
    }

    #[test]
    fn the_form_of_the_answer_does_not_count() {
        let body =
            "{ \"more\" : [1],\n\"rejected\" :\t[ { \"index\" : 3 , \"reason\":\"x\" } ] } \r\n";
        let wide: Vec<u8> = "\u{FEFF}{\"rejected\":[3]}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let unmarked = |bytes: fn(u16) -> [u8; 2]| {
            "{\"rejected\":[3]}"
                .encode_utf16()
                .flat_map(bytes)
                .collect::<Vec<u8>>()
        };
        assert_eq!(verdicts(unmarked(u16::to_le_bytes)), owned(&[(3, "")]));
        assert_eq!(verdicts(unmarked(u16::to_be_bytes)), owned(&[(3, "")]));
        assert_eq!(verdicts(body), owned(&[(3, "x")]));
        assert_eq!(verdicts(format!("\u{FEFF}{body}")), owned(&[(3, "x")]));
        assert_eq!(verdicts(wide), owned(&[(3, "")]));
        assert_eq!(
            verdicts(r#"{"Rejected":[{"Index":3,"Reason":"x"}]}"#),
            owned(&[(3, "x")])
        );
        assert_eq!(verdicts(r#"{"\u0072ejected":[3]}"#), owned(&[(3, "")]));
    }

    #[test]
    fn verdicts_that_stand_twice_are_united() {
        let body = r#"{"rejected":[1,{"index":1,"reason":"x"}],"rejected":[{"index":2,"index":2.0}],"rejected":null}"#;
        assert_eq!(verdicts(body), owned(&[(1, "x"), (2, "")]));
    }

    #[test]
    fn an_answer_without_verdicts_means_that_everything_was_taken() {
        for body in [
            "",
            " \n",
            "ok",
            "{}",
            "[]",
            "\u{FEFF}",
            "<html>3 events rejected</html>",
            "null",
            "7",
            "\"ok\"",
            "0 rejected",
        ] {
            assert_eq!(verdicts(body), [], "{body}");
        }
        for none in ["null", "[]", "[ ]", "0", "0.0", "-0", "false"] {
            assert_eq!(verdicts(format!(r#"{{"rejected":{none}}}"#)), [], "{none}");
        }
        assert_eq!(
            verdicts(r#"{"taken":[{"payload":{"rejected":true}}],"\ud800":1}"#),
            []
        );
    }

    #[test]
    fn what_cannot_be_read_is_no_consent() {
        for value in [
            "2",
            "true",
            "\"0\"",
            "\"\"",
            "{}",
            "{\"0\":\"bad\"}",
            "nope",
            "NaN",
        ] {
            is_unreadable(format!(r#"{{"rejected":{value}}}"#));
        }
        for entry in [
            "-1",
            "6",
            "1.5",
            "1e400",
            "18446744073709551616",
            "\"\"",
            "\"x\"",
            "\"inf\"",
            "null",
            "{}",
            "[1]",
            "true",
        ] {
            is_unreadable(format!(r#"{{"rejected":[{entry}]}}"#));
            is_unreadable(format!(
                r#"{{"rejected":[1,{{"index":{entry},"reason":"x"}}]}}"#
            ));
        }
        is_unreadable(r#"{"rejected":[{"reason":"x"}]}"#);
        is_unreadable(r#"{"rejected":[{"index":1,"index":2}]}"#);
        is_unreadable(r#"{"rejected":[1],"rejected":true}"#);
    }

    #[test]
    fn an_answer_that_is_cut_or_broken_is_no_consent() {
        let whole = r#"{"taken":4,"rejected":[{"index":1,"reason":"x"},{"index":3}]}"#;
        for cut in 1..whole.len() {
            is_unreadable(&whole[..cut]);
        }
        for body in [
            "{'rejected': [1]}",
            r#"{"rejected":[1]} {"rejected":[2]}"#,
            r#"[{"rejected":[1]}]"#,
            r#""{\"rejected\":[1]}""#,
            "<rejected>1</rejected>",
            "HTTP/1.1 200 OK\r\n\r\n{\"REJECTED\":[1]}",
        ] {
            is_unreadable(body);
        }
    }
}
