//! The recorded form of a step's result. The code sees what this form decodes to, in the first
//! execution and in every replay.

use std::any::Any;

use serde::Serialize;
use serde::de::DeserializeOwned;
use workflow_events::ErrorInfo;
use workflow_events::bounds::{WORD_BYTES, cut};

use crate::limits::{ValueError, check_value};
use crate::payload::Payload;
use crate::workflow::failure::{DurableError, StepFailure, panic_message};

/// The output of an attempt; a panic is caught.
pub(crate) type Caught<T, E> = Result<Result<T, E>, Box<dyn Any + Send>>;

/// Returns the value that the record decodes to, and the record; or why there is no record.
pub(crate) fn recorded_value<T, E>(
    caught: Caught<T, E>,
    limit: usize,
) -> Result<(T, Payload), StepFailure<E>>
where
    T: Serialize + DeserializeOwned,
{
    let value = match caught {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => return Err(StepFailure::Returned(error)),
        Err(panic) => return Err(StepFailure::Panicked(panic_message(&*panic))),
    };
    let payload =
        Payload::encode(&value).map_err(|error| StepFailure::Unencodable(short(&error)))?;
    check_value(&payload, limit).map_err(|error| match error {
        ValueError::TooLarge { bytes, limit } => StepFailure::TooLarge { bytes, limit },
        ValueError::TooDeep { levels, limit } => StepFailure::TooDeep { levels, limit },
    })?;
    let value = payload
        .decode()
        .map_err(|error| StepFailure::Unencodable(unreadable(&error)))?;
    Ok((value, payload))
}

/// Returns the failure that the record decodes to, and the record. Only the text is recorded of an
/// error that cannot be recorded as its own type.
pub(crate) fn recorded_failure<E: DurableError>(
    cause: StepFailure<E>,
    info: &ErrorInfo,
    limit: usize,
) -> (StepFailure<E>, Payload) {
    recorded_as_it_is(&cause, limit).unwrap_or_else(|problem| {
        let cause = StepFailure::Unrecorded {
            info: Box::new(info.clone()),
            problem,
        };
        let payload = Payload::encode(&cause).unwrap_or_default();
        (cause, payload)
    })
}

fn recorded_as_it_is<E: DurableError>(
    cause: &StepFailure<E>,
    limit: usize,
) -> Result<(StepFailure<E>, Payload), String> {
    if let StepFailure::Returned(error) = cause {
        let error = Payload::encode(error).map_err(|error| short(&error))?;
        check_value(&error, limit).map_err(|error| error.to_string())?;
    }
    let payload = Payload::encode(cause).map_err(|error| short(&error))?;
    Ok((
        payload.decode().map_err(|error| unreadable(&error))?,
        payload,
    ))
}

fn unreadable(error: &serde_json::Error) -> String {
    format!("its JSON form cannot be read back: {}", short(error))
}

/// Returns the message of an encoder or a decoder, cut because it may quote a value.
fn short(error: &impl ToString) -> String {
    cut(&error.to_string(), WORD_BYTES).into_owned()
}
