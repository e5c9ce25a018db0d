//! Decimal numbers of any size.

/// A number in normal form: its digits without zeros at either end, and the power of ten of the
/// last digit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i128,
}

impl Decimal {
    /// Reads a JSON number; `None` if `text` is not a number, or its exponent does not fit into 64
    /// bits.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (negative, rest) = text
            .strip_prefix('-')
            .map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if whole.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut exponent = i128::from(exponent) - fraction.len() as i128;
        while digits.pop_if(|last| *last == b'0').is_some() {
            exponent += 1;
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        let exponent = if digits.is_empty() { 0 } else { exponent };
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }
}
