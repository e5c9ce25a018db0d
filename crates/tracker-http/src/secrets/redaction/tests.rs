//! Tests of the redaction.

use proptest::prelude::*;

use super::*;
use crate::secrets::decode::plain;

fn secrets(secret: &str) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.add(secret, Label::Token);
    secrets
}

#[test]
fn a_secret_is_replaced_where_it_stands() {
    let secrets = secrets("s3cret-token");
    for (text, expected) in [
        ("Bearer s3cret-token is bad", "Bearer [token] is bad"),
        ("S3CRET-TOKEN", "[token]"),
        (r#"{"t":"s3cret\u002dtoken"}"#, r#"{"t":"[token]"}"#),
        ("%73%33cret%252Dtoken!", "[token]!"),
        ("a s3cret-t and oken", "a [token] and oken"),
        ("s3cret-token, s3cret-token", "[token], [token]"),
        ("é s3cret-tokené", "é [token]é"),
        ("cut at the end: s3cr", "cut at the end: [token]"),
        ("s3cret-t+oken", "[token]+oken"),
        ("a secret token", "a secret token"),
        ("", ""),
    ] {
        assert_eq!(secrets.redact(text), expected, "{text}");
    }
}

#[test]
fn a_short_secret_is_hidden_whole_and_a_shorter_one_not_at_all() {
    assert_eq!(
        secrets("s3cr").redact("a s3cr b, s3c r"),
        "a [token] b, s3c r"
    );
    assert_eq!(secrets("s3c").redact("s3c"), "s3c");
}

#[test]
fn a_space_may_have_become_a_plus() {
    let secrets = secrets("a key of words+1");
    assert_eq!(
        secrets.redact("key=a+key+of+words%2B1&more=1"),
        "key=[token]&more=1"
    );
    assert_eq!(secrets.redact("a key of\twords 1"), "[token]");
}

#[test]
fn a_secret_that_is_itself_encoded_is_found_decoded_too() {
    let secrets = secrets("qu3ry%2Fs3cret%2541");
    assert_eq!(
        secrets.redact("a qu3ry/s3cret%41 b qu3ry/s3cretA c qu3ry%2Fs3cret%2541 d"),
        "a [token] b [token] c [token] d"
    );
}

#[test]
fn a_long_text_is_cut_and_never_within_a_secret() {
    let secrets = secrets("s3cret-token-of-some-length");
    let encoded: String = "s3cret-token-of-some-length"
        .bytes()
        .map(|byte| format!("&#x{byte:02x};"))
        .collect();
    for padding in (0..400).step_by(9) {
        let text = format!(
            "{}{}",
            "x".repeat(MAX_TEXT_BYTES - padding),
            encoded.repeat(20)
        );
        let redacted = secrets.redact(&text);
        assert!(
            redacted.len() <= MAX_TEXT_BYTES && !redacted.contains('&'),
            "{padding}: {redacted}"
        );
    }
    let many = secrets.redact(&"s3cret-token-of-some-length ".repeat(1000));
    assert!(many.replace("[token]", "").trim().is_empty(), "{many}");
}

/// The ways in which one character may be written.
fn written(c: char, way: usize) -> String {
    let code = u32::from(c);
    match way {
        0 => c.to_string(),
        1 => c.to_uppercase().collect(),
        2 => format!("\\u{code:04x}"),
        3 => format!("\\x{code:02X}"),
        4 => format!("%{code:02x}"),
        5 => format!("&#{code};"),
        6 => format!("&#X{code:x};"),
        7 => format!("%25{code:02X}"),
        8 => format!("&amp;#{code};"),
        9 => format!("\\\\u{{{code:x}}}"),
        _ => format!("%5Cu{code:04X}"),
    }
}

proptest! {
    #[test]
    fn no_eight_characters_in_a_row_are_left_however_each_is_written(
        token in "[A-Za-z0-9._~+/=-]{8,40}",
        ways in proptest::collection::vec(0..11_usize, 40),
        before in "[a-z ]{0,20}[ ]",
        after in "[ ][a-z ]{0,20}",
    ) {
        let parts: Vec<String> = token.chars().zip(ways).map(|(c, way)| written(c, way)).collect();
        let redacted = secrets(&token).redact(&format!("{before}{}{after}", parts.concat()));
        prop_assert!(redacted.starts_with(&before), "{}", redacted);
        for window in parts.windows(8) {
            prop_assert!(!redacted.contains(&window.concat()), "{} in {}", window.concat(), redacted);
        }
        let windows: Vec<Vec<char>> = token.chars().map(folded).collect::<Vec<_>>().windows(8).map(<[char]>::to_vec).collect();
        for form in decoded_forms(plain(&redacted)) {
            let shown = form.windows(8).find(|shown| windows.iter().any(|window| equals(shown, window)));
            prop_assert!(shown.is_none(), "{}", redacted);
        }
    }

    #[test]
    fn a_part_of_base64_or_hexadecimal_is_hidden(token in "[!-~]{12,40}", before in "[!-~]{0,7}") {
        let bytes = [before.as_bytes(), token.as_bytes()].concat();
        let whole = base64(&bytes, 0);
        let redacted = secrets(&token).redact(&whole);
        let kept = redacted.replace("[token]", "");
        prop_assert!(kept.len() <= before.len() * 4 / 3 + 3, "{} of {}", redacted, whole);
    }

    #[test]
    fn no_text_panics_or_grows(token in "\\PC{0,20}", text in "\\PC{0,200}|[\\\\%&#;ux0-9a-f{}]{0,200}") {
        let redacted = secrets(&token).redact(&text);
        prop_assert!(redacted.chars().count() <= text.chars().count() + "[token]".len() * 50);
    }
}
