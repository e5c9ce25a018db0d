//! The wire form as one table: each line defines the writing, the reading and the name of a field.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::error::ReadEventError;
use crate::fields::TypedFields;
use crate::kind::EventKind;

/// The wire contract: one line per field, in the order of writing.
///
/// A `required` field is always present. An `object` is always present, too, and must be a JSON
/// object. An `optional` field is omitted if absent, and a null counts as absent. A `nullable`
/// field is omitted if absent, and a null is a value. A `steps` field has its count in a second
/// field.
macro_rules! wire {
    ($($variant:ident = $type_name:literal { $($field:ident: $presence:ident $name:literal $(+ $also:literal)?,)* })*) => {
        impl EventKind {
            /// The names of all known types, in the order of the variants.
            pub const TYPE_NAMES: &'static [&'static str] = &[$($type_name),*];

            /// Returns the `type` on the wire.
            #[must_use]
            pub fn type_name(&self) -> &str {
                match self {
                    $(Self::$variant { .. } => $type_name,)*
                    Self::Unknown { type_name } => type_name,
                }
            }

            pub(crate) fn field_names(&self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant { .. } => &[$($name, $($also,)?)*],)*
                    Self::Unknown { .. } => &[],
                }
            }

            pub(crate) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self {
                    $(Self::$variant { $($field),* } => {
                        $($presence::write(map, $name, $field)?;)*
                    })*
                    Self::Unknown { .. } => {}
                }
                Ok(())
            }

            pub(crate) fn read(fields: &mut TypedFields) -> Result<Self, ReadEventError> {
                Ok(match fields.type_name() {
                    $($type_name => Self::$variant {
                        $($field: $presence::read(fields, $name)?),*
                    },)*
                    unknown => Self::Unknown { type_name: unknown.to_owned() },
                })
            }
        }
    };
}

wire! {
    WorkflowQueued = "workflow.queued" {
        input: required "input",
    }
    WorkflowStarted = "workflow.started" {
        input: required "input",
    }
    WorkflowPaused = "workflow.paused" {
        reason: required "reason",
        resume_at: optional "resumeAt",
        step_name: optional "stepName",
    }
    WorkflowResumed = "workflow.resumed" {
        reason: required "reason",
    }
    WorkflowCompleted = "workflow.completed" {
        completed_steps: steps "completedSteps" + "completedStepCount",
        duration_ms: required "durationMs",
        output: nullable "output",
    }
    WorkflowFailed = "workflow.failed" {
        error: object "error",
        completed_steps: steps "completedSteps" + "completedStepCount",
    }
    WorkflowCancelled = "workflow.cancelled" {
        reason: optional "reason",
        completed_steps: steps "completedSteps" + "completedStepCount",
    }
    StepStarted = "step.started" {
        step_name: required "stepName",
        attempt: required "attempt",
    }
    StepCompleted = "step.completed" {
        step_name: required "stepName",
        attempt: required "attempt",
        duration_ms: required "durationMs",
        cached: required "cached",
    }
    StepFailed = "step.failed" {
        step_name: required "stepName",
        attempt: required "attempt",
        error: object "error",
        will_retry: required "willRetry",
    }
    RetryScheduled = "retry.scheduled" {
        step_name: required "stepName",
        attempt: required "attempt",
        next_attempt_at: required "nextAttemptAt",
        delay_ms: required "delayMs",
    }
    RetryExhausted = "retry.exhausted" {
        step_name: required "stepName",
        attempts: required "attempts",
    }
    SleepStarted = "sleep.started" {
        duration_ms: required "durationMs",
        resume_at: required "resumeAt",
    }
    SleepCompleted = "sleep.completed" {
        duration_ms: required "durationMs",
    }
    TimeoutSet = "timeout.set" {
        step_name: required "stepName",
        deadline: required "deadline",
        timeout_ms: required "timeoutMs",
        attempt: required "attempt",
    }
    TimeoutExceeded = "timeout.exceeded" {
        step_name: required "stepName",
        timeout_ms: required "timeoutMs",
        attempt: required "attempt",
    }
}

impl EventKind {
    /// Returns the type and the fields as text: equal for equal events, and different for different
    /// events.
    pub(crate) fn text(&self) -> String {
        struct Kind<'a>(&'a EventKind);

        impl Serialize for Kind<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("type", self.0.type_name())?;
                self.0.write(&mut map)?;
                map.end()
            }
        }

        // Every field has a JSON form, so this does not fail.
        serde_json::to_string(&Kind(self)).unwrap_or_default()
    }
}

pub(crate) mod required {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde::ser::SerializeMap;

    use crate::error::ReadEventError;
    use crate::fields::TypedFields;

    pub(crate) fn read<T: DeserializeOwned>(
        fields: &mut TypedFields,
        name: &'static str,
    ) -> Result<T, ReadEventError> {
        let value = fields.take(name).ok_or_else(|| fields.missing(name))?;
        fields.convert(name, &value)
    }

    pub(crate) fn write<M: SerializeMap>(
        map: &mut M,
        name: &'static str,
        value: &impl Serialize,
    ) -> Result<(), M::Error> {
        map.serialize_entry(name, value)
    }
}

mod object {
    use serde::de::DeserializeOwned;

    use crate::error::ReadEventError;
    use crate::fields::TypedFields;
    pub(super) use crate::wire::required::write;

    /// Refuses an array, because a derived struct would also read an array, by position.
    pub(super) fn read<T: DeserializeOwned>(
        fields: &mut TypedFields,
        name: &'static str,
    ) -> Result<T, ReadEventError> {
        match fields.take(name) {
            Some(value) if value.as_str().starts_with('{') => fields.convert(name, &value),
            Some(value) => Err(fields.wrong(
                name,
                format_args!("expected an object, not {}", value.as_str()),
            )),
            None => Err(fields.missing(name)),
        }
    }
}

pub(crate) mod optional {
    use crate::error::ReadEventError;
    use crate::fields::TypedFields;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde::ser::SerializeMap;

    pub(crate) fn read<T: DeserializeOwned>(
        fields: &mut TypedFields,
        name: &'static str,
    ) -> Result<Option<T>, ReadEventError> {
        match fields.take(name) {
            Some(value) if !value.is_null() => fields.convert(name, &value).map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn write<M: SerializeMap>(
        map: &mut M,
        name: &'static str,
        value: &Option<impl Serialize>,
    ) -> Result<(), M::Error> {
        match value {
            Some(value) => map.serialize_entry(name, value),
            None => Ok(()),
        }
    }
}

mod nullable {
    use crate::error::ReadEventError;
    use crate::fields::TypedFields;
    use crate::payload::Payload;
    pub(super) use crate::wire::optional::write;

    pub(super) fn read(
        fields: &mut TypedFields,
        name: &'static str,
    ) -> Result<Option<Payload>, ReadEventError> {
        Ok(fields.take(name))
    }
}

mod steps {
    use serde::ser::SerializeMap;

    use crate::completed_steps::CompletedSteps;
    use crate::error::ReadEventError;
    use crate::fields::TypedFields;
    use crate::wire::{optional, required};

    const COUNT_FIELD: &str = "completedStepCount";

    /// Reads an absent count as the number of names, because versions without a count list all
    /// steps.
    pub(super) fn read(
        fields: &mut TypedFields,
        name: &'static str,
    ) -> Result<CompletedSteps, ReadEventError> {
        let names = required::read(fields, name)?;
        Ok(CompletedSteps::read(
            names,
            optional::read(fields, COUNT_FIELD)?,
        ))
    }

    pub(super) fn write<M: SerializeMap>(
        map: &mut M,
        name: &'static str,
        steps: &CompletedSteps,
    ) -> Result<(), M::Error> {
        map.serialize_entry(name, steps.names())?;
        map.serialize_entry(COUNT_FIELD, &steps.count())
    }
}
