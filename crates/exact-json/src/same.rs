//! Compares two texts by their values.

use crate::number::Decimal;
use crate::scan::{Member, depth, elements, members};

/// The largest depth of texts that are compared by value, which bounds the recursion.
const MAX_COMPARED_DEPTH: usize = 256;

/// Returns whether two JSON texts have the same value.
///
/// White space and the order of members do not count. Strings are compared without their escapes,
/// and numbers by their exact decimal value: `1.50` is `15e-1`, and two integers beyond 64 bits
/// that differ in one digit are different. `-0` is not `0`. Texts of more than 256 levels have the
/// same value only if they are equal byte for byte.
pub fn same(one: &str, other: &str) -> bool {
    one == other
        || (depth(one).max(depth(other)) <= MAX_COMPARED_DEPTH
            && values_are_same(one.trim(), other.trim()))
}

fn values_are_same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => members(one)
            .zip(members(other))
            .is_some_and(|(one, other)| objects_are_same(one, other)),
        (Some(b'['), Some(b'[')) => {
            elements(one)
                .zip(elements(other))
                .is_some_and(|(one, other)| {
                    one.len() == other.len()
                        && one
                            .iter()
                            .zip(&other)
                            .all(|(one, other)| values_are_same(one, other))
                })
        }
        (Some(b'"'), Some(b'"')) => decoded_text(one)
            .zip(decoded_text(other))
            .is_some_and(|(one, other)| one == other),
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => Decimal::read(one)
            .zip(Decimal::read(other))
            .is_some_and(|(one, other)| one == other),
        _ => false,
    }
}

fn objects_are_same(one: Vec<Member<'_>>, other: Vec<Member<'_>>) -> bool {
    let by_name = |members: Vec<Member<'_>>| {
        // A name with invalid escapes is compared as it is written.
        let named = members.into_iter().map(|member| {
            (
                member.name().ok_or(member.key.to_owned()),
                member.value.to_owned(),
            )
        });
        let mut named: Vec<_> = named.collect();
        // The sort is stable, so members of the same name keep their order.
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        named
    };
    let one = by_name(one);
    let other = by_name(other);
    one.len() == other.len()
        && one
            .iter()
            .zip(&other)
            .all(|(one, other)| one.0 == other.0 && values_are_same(&one.1, &other.1))
}

fn decoded_text(quoted: &str) -> Option<String> {
    serde_json::from_str(quoted).ok()
}
