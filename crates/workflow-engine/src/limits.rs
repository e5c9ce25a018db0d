//! The limits of what the engine accepts. They are the same for every store, and are checked before
//! anything is written.
//!
//! | what | limit | refused with |
//! | --- | --- | --- |
//! | an input | [`max_value_bytes`](crate::EngineBuilder::max_value_bytes), [`VALUE_DEPTH`], and that it can be read back | [`RunError`](crate::RunError) |
//! | a step's result, a run's output | the same | the step, or the run, fails: [`StepFailure`](crate::StepFailure) |
//! | an error of a step or a run | the same | only its text is recorded |
//! | a run's id, an execution id | [`ID_BYTES`], no control characters | [`RunError::Id`](crate::RunError::Id), [`CancelError::Id`](crate::CancelError::Id) |
//! | a workflow's name, a sink's name | [`NAME_BYTES`], no control characters | [`BuildError::Name`](crate::BuildError::Name) |
//! | a step's name | [`STEP_NAME_BYTES`], no control characters | [`StepFailure::InvalidName`](crate::StepFailure::InvalidName) |
//! | the reason of a cancel | [`CANCEL_REASON_BYTES`] | [`CancelError::Reason`](crate::CancelError::Reason) |
//!
//! Events are bounded as [`workflow_events::bounds`] says. Values that a store holds already are
//! not checked, so a run that an earlier version created continues.

use workflow_events::bounds::cut;

use crate::payload::Payload;

/// The default of the largest value, in bytes of JSON: 1 MiB.
pub const VALUE_BYTES: usize = 1024 * 1024;
/// The deepest nesting of arrays and objects in a value: 100 levels. Most readers of JSON accept
/// 128, and some of these levels are taken by what wraps the value on its way.
pub const VALUE_DEPTH: usize = 100;
/// The longest run id and execution id, in bytes of UTF-8: 512. The shortest has 1.
pub const ID_BYTES: usize = 512;
/// The longest name of a workflow and of a sink, in bytes of UTF-8: 256. The shortest has 1.
pub const NAME_BYTES: usize = 256;
/// The longest name of a step, in bytes of UTF-8: 512. The shortest has 1.
pub const STEP_NAME_BYTES: usize = 512;
/// The longest reason of a cancel, in bytes of UTF-8: 16 KiB.
pub const CANCEL_REASON_BYTES: usize = 16 * 1024;

/// The most bytes that are shown of a name that is not accepted.
const SHOWN_BYTES: usize = 128;

/// Error of an id or a name that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("it is empty")]
    Empty,
    /// The name is longer than its limit.
    #[error("it has {bytes} bytes, and the limit is {limit}")]
    TooLong {
        /// Its length in bytes of UTF-8.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The name has a control character, for instance NUL or the end of a line.
    #[error("it has a control character, {character:?}, at byte {at}")]
    ControlCharacter {
        /// The first one.
        character: char,
        /// Its place, in bytes of UTF-8 from 0.
        at: usize,
    },
}

/// Error of a value that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("it has {bytes} bytes, and the limit is {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("it is nested {levels} levels deep, and the limit is {limit}")]
    TooDeep { levels: usize, limit: usize },
}

/// Checks an id or a name of at most `limit` bytes.
pub(crate) fn check_name(name: &str, limit: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > limit {
        return Err(NameError::TooLong {
            bytes: name.len(),
            limit,
        });
    }
    match name
        .char_indices()
        .find(|(_, character)| character.is_control())
    {
        Some((at, character)) => Err(NameError::ControlCharacter { character, at }),
        None => Ok(()),
    }
}

/// Checks a value of at most `limit` bytes.
pub(crate) fn check_value(value: &Payload, limit: usize) -> Result<(), ValueError> {
    let bytes = value.as_str().len();
    if bytes > limit {
        return Err(ValueError::TooLarge { bytes, limit });
    }
    match value.depth() {
        levels if levels > VALUE_DEPTH => Err(ValueError::TooDeep {
            levels,
            limit: VALUE_DEPTH,
        }),
        _ => Ok(()),
    }
}

/// Returns the form of a name that is not accepted in which it may be shown and recorded: short,
/// and without control characters.
pub(crate) fn shown(name: &str) -> String {
    let visible = |character: char| {
        if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    cut(name, SHOWN_BYTES).chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_accepted_up_to_its_limit_and_without_control_characters() {
        for name in [
            "a",
            "order-17",
            "bestellung é 🦀",
            &"a".repeat(512),
            "\u{a0}",
            "a b",
        ] {
            assert_eq!(check_name(name, 512), Ok(()), "{name}");
        }
        assert_eq!(check_name("", 512), Err(NameError::Empty));
        assert_eq!(
            check_name(&"é".repeat(257), 512),
            Err(NameError::TooLong {
                bytes: 514,
                limit: 512
            })
        );
        for character in ['\0', '\n', '\t', '\u{1b}', '\u{7f}', '\u{85}'] {
            let name = format!("é{character}");
            assert_eq!(
                check_name(&name, 512),
                Err(NameError::ControlCharacter { character, at: 2 })
            );
            assert_eq!(shown(&name), "é\u{fffd}");
        }
        assert_eq!(check_name(&shown(&"\0".repeat(3_000_000)), 512), Ok(()));
    }

    #[test]
    fn a_value_is_accepted_up_to_its_limits() {
        let nested =
            |levels: usize| Payload::from_json("[".repeat(levels) + &"]".repeat(levels)).unwrap();
        assert_eq!(check_value(&nested(100), 200), Ok(()));
        assert_eq!(
            check_value(&nested(100), 199),
            Err(ValueError::TooLarge {
                bytes: 200,
                limit: 199
            })
        );
        assert_eq!(
            check_value(&nested(101), 1_000),
            Err(ValueError::TooDeep {
                levels: 101,
                limit: 100
            })
        );
    }
}
