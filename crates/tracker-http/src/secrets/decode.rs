//! Decodes a text, and keeps the origin of every character.

/// A folded character, and its byte range in the original text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Char {
    pub(crate) value: char,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Returns the characters of a text without decoding.
pub(crate) fn plain(text: &str) -> Vec<Char> {
    let chars = text.char_indices();
    chars
        .map(|(start, c)| Char {
            value: folded(c),
            start,
            end: start + c.len_utf8(),
        })
        .collect()
}

/// Makes characters equal that an echo may exchange: the two cases of a letter, and a space and the
/// plus of a form.
pub(crate) fn folded(c: char) -> char {
    if c == '+' || c.is_whitespace() {
        ' '
    } else {
        c.to_lowercase().next().unwrap_or(c)
    }
}

/// Removes one layer of encodings: backslash escapes, percent encoding, HTML entities. Returns
/// `None` if the text has none.
pub(crate) fn one_layer(text: &[Char]) -> Option<Vec<Char>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut found = false;
    let mut rest = text;
    while let Some(first) = rest.first() {
        let escape = match first.value {
            '\\' => backslash(&rest[1..]),
            '%' => percent(&rest[1..]),
            '&' => entity(&rest[1..]),
            _ => None,
        };
        // The length of the escape excludes its first character.
        let (value, length) = escape.unwrap_or((first.value, 0));
        found |= escape.is_some();
        decoded.push(Char {
            value: folded(value),
            start: first.start,
            end: rest[length].end,
        });
        rest = &rest[length + 1..];
    }
    found.then_some(decoded)
}

/// Decodes `\n`, `\/`, `\x41`, `\u0041`, `\u{41}`, `\U00000041`, `\101`; each half of a surrogate
/// pair becomes a character.
fn backslash(text: &[Char]) -> Option<(char, usize)> {
    match text.first()?.value {
        'u' if text.get(1).is_some_and(|c| c.value == '{') => {
            let (value, digits) = number(&text[2..], 16, 1, 6)?;
            text.get(2 + digits).filter(|c| c.value == '}')?;
            Some((character(value), 3 + digits))
        }
        // In lower case, \U looks like \u. Eight digits that form a character are taken as \U; only
        // a control character in the \u form could be meant instead.
        'u' => match number(&text[1..], 16, 8, 8) {
            Some((value, _)) if value < 0x11_0000 => Some((character(value), 9)),
            _ => number(&text[1..], 16, 4, 4).map(|(value, _)| (character(value), 5)),
        },
        'x' => number(&text[1..], 16, 2, 2).map(|(value, _)| (character(value), 3)),
        '0'..='3' => number(text, 8, 3, 3).map(|(value, _)| (character(value), 3)),
        'n' => Some(('\n', 1)),
        'r' => Some(('\r', 1)),
        't' => Some(('\t', 1)),
        mark if mark.is_ascii_punctuation() => Some((mark, 1)),
        _ => None,
    }
}

/// Decodes `%41`, several of them for a character beyond ASCII, and `%u0041`.
fn percent(text: &[Char]) -> Option<(char, usize)> {
    if text.first()?.value == 'u' {
        return number(&text[1..], 16, 4, 4).map(|(value, _)| (character(value), 5));
    }
    let (first, _) = number(text, 16, 2, 2)?;
    if first < 0x80 {
        return Some((character(first), 2));
    }
    let mut bytes = vec![first as u8];
    for more in text[2..].chunks_exact(3).take(3) {
        let continues = (more[0].value == '%')
            .then(|| number(&more[1..], 16, 2, 2))
            .flatten();
        let Some((byte, _)) = continues.filter(|(byte, _)| (0x80..0xC0).contains(byte)) else {
            break;
        };
        bytes.push(byte as u8);
        if let Some(c) = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.chars().next())
        {
            return Some((c, bytes.len() * 3 - 1));
        }
    }
    Some((character(first), 2))
}

/// Decodes `&#65;`, `&#x41;`, `&amp;`; the semicolon of a number may be missing.
fn entity(text: &[Char]) -> Option<(char, usize)> {
    if text.first()?.value != '#' {
        return named_entity(text);
    }
    let is_hexadecimal = text.get(1)?.value == 'x';
    let before = 1 + usize::from(is_hexadecimal);
    let (value, digits) = number(&text[before..], if is_hexadecimal { 16 } else { 10 }, 1, 10)?;
    let semicolon = text.get(before + digits).is_some_and(|c| c.value == ';');
    Some((character(value), before + digits + usize::from(semicolon)))
}

/// The HTML entities of visible ASCII characters.
const NAMED_ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("equals", '='),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
];

fn named_entity(text: &[Char]) -> Option<(char, usize)> {
    let matches = |name: &str| {
        let length = name.len();
        text.len() > length
            && text[length].value == ';'
            && text[..length].iter().map(|c| c.value).eq(name.chars())
    };
    NAMED_ENTITIES
        .iter()
        .find(|(name, _)| matches(name))
        .map(|(name, c)| (*c, name.len() + 1))
}

/// Reads a number of `min_digits` to `max_digits` digits; returns the count of digits, too.
fn number(text: &[Char], radix: u32, min_digits: usize, max_digits: usize) -> Option<(u32, usize)> {
    let digits = text
        .iter()
        .take(max_digits)
        .map_while(|c| c.value.to_digit(radix));
    let (value, length) = digits.fold((0_u32, 0), |(value, length), digit| {
        (
            value.saturating_mul(radix).saturating_add(digit),
            length + 1,
        )
    });
    (length >= min_digits).then_some((value, length))
}

fn character(value: u32) -> char {
    char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<String> {
        Some(one_layer(&plain(text))?.iter().map(|c| c.value).collect())
    }

    #[test]
    fn one_layer_is_taken_off() {
        for (encoded, expected) in [
            (r"s\u0033\u{63}\x72\145\/", "s3cre/"),
            (r"\U00000073\\n\n\.", "s\\n ."),
            ("%73%C3%A9%F0%9F%98%80%u0065%ff%", "sé😀eÿ%"),
            (
                "&#115;&#x33;&#99&amp;amp;&sol;&nothing;",
                "s3c&amp;/&nothing;",
            ),
            ("%2573 &amp;#115;", "%73 &#115;"),
            (
                r"\u12 \x4 \q % %z &#; &# \u0041",
                r"\u12 \x4 \q % %z &#; &# a",
            ),
        ] {
            assert_eq!(decoded(encoded).as_deref(), Some(expected), "{encoded}");
        }
        for nothing in [
            "",
            "plain",
            "\\",
            "%",
            "&",
            "100 % & more",
            "\\u",
            "%4",
            "&#x",
        ] {
            assert_eq!(decoded(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn every_character_knows_where_it_came_from() {
        let text = "é%41\\u0042&#67;";
        let decoded = one_layer(&plain(text)).unwrap();
        let parts: Vec<_> = decoded
            .iter()
            .map(|c| (c.value, &text[c.start..c.end]))
            .collect();
        assert_eq!(
            parts,
            [('é', "é"), ('a', "%41"), ('b', "\\u0042"), ('c', "&#67;")]
        );
    }
}
