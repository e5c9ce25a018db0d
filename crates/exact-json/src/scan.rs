//! Splits a text into its parts, without decoding them.

/// One member of an object, with both parts as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name with its quotes and escapes.
    pub key: &'a str,
    /// The value.
    pub value: &'a str,
}

impl Member<'_> {
    /// Returns the name without quotes and escapes; `None` if an escape is invalid, such as half a
    /// surrogate pair.
    pub fn name(&self) -> Option<String> {
        serde_json::from_str(self.key).ok()
    }
}

/// Returns the depth of the nested arrays and objects in `text`; 0 for a text without any.
pub fn depth(text: &str) -> usize {
    let mut level = 0_usize;
    let mut deepest = 0;
    let mut scanner = Scanner(text);
    while let Some(byte) = scanner.peek() {
        match byte {
            b'"' => {
                if scanner.take_string().is_none() {
                    break;
                }
                continue;
            }
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' => level = level.saturating_sub(1),
            _ => {}
        }
        scanner.skip(1);
    }
    deepest
}

/// Returns the members of an object in order, including members of the same name; `None` if `text`
/// is not an object.
pub fn members(text: &str) -> Option<Vec<Member<'_>>> {
    take_list(text, '{', '}', |scanner| {
        let key = scanner.take_string()?;
        scanner.expect(':')?;
        Some(Member {
            key,
            value: scanner.take_value()?,
        })
    })
}

/// Returns the elements of an array in order; `None` if `text` is not an array.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    take_list(text, '[', ']', Scanner::take_value)
}

fn take_list<'a, T>(
    text: &'a str,
    open: char,
    close: char,
    mut item: impl FnMut(&mut Scanner<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut scanner = Scanner(text);
    let mut items = Vec::new();
    scanner.expect(open)?;
    if scanner.expect(close).is_none() {
        loop {
            scanner.skip_space();
            items.push(item(&mut scanner)?);
            if scanner.expect(close).is_some() {
                break;
            }
            scanner.expect(',')?;
        }
    }
    scanner.skip_space();
    scanner.0.is_empty().then_some(items)
}

/// The rest of a text.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.as_bytes().first().copied()
    }

    /// Skips this number of bytes, and the rest of a character that this would cut.
    fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[self.0.ceil_char_boundary(bytes)..];
    }

    fn take_bytes(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Skips white space, and then `wanted`; `None` if another character follows.
    fn expect(&mut self, wanted: char) -> Option<()> {
        self.skip_space();
        self.0 = self.0.strip_prefix(wanted)?;
        Some(())
    }

    /// Takes a string with its quotes.
    fn take_string(&mut self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        if bytes.first() != Some(&b'"') {
            return None;
        }
        let mut at = 1;
        loop {
            match bytes.get(at)? {
                b'\\' => at += 2,
                b'"' => return Some(self.take_bytes(at + 1)),
                _ => at += 1,
            }
        }
    }

    /// Takes a value.
    fn take_value(&mut self) -> Option<&'a str> {
        self.skip_space();
        let all = self.0;
        let mut open = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => drop(self.take_string()?),
                Some(b'[' | b'{') => {
                    open += 1;
                    self.skip(1);
                    continue;
                }
                Some(b']' | b'}') if open > 0 => {
                    open -= 1;
                    self.skip(1);
                }
                Some(b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') if open > 0 => {
                    self.skip(1);
                    continue;
                }
                Some(byte) if byte.is_ascii_alphanumeric() || b"+-.".contains(&byte) => {
                    let rest = self.0.trim_start_matches(|c: char| {
                        c.is_ascii_alphanumeric() || "+-.".contains(c)
                    });
                    self.0 = rest;
                }
                _ => return None,
            }
            if open == 0 {
                return Some(&all[..all.len() - self.0.len()]);
            }
        }
    }
}
