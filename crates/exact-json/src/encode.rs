//! Encodes values, and refuses numbers that JSON has no form for.

use std::fmt;

use serde::ser::{self, Serialize, Serializer};
use serde_json::value::RawValue;

/// The error of [`encode`]: the value has no JSON form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The serialization of the value failed, or the value needs a form that JSON does not have.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The value contains a number that is not finite (`NaN` or an infinity). `serde_json` would
    /// write `null` instead.
    #[error("a number is not finite, and JSON has no form for it")]
    NotFinite,
}

/// Encodes `value` as JSON text.
///
/// # Errors
///
/// [`EncodeError`] if the value has no JSON form.
///
/// # Examples
///
/// ```
/// use exact_json::{EncodeError, encode};
///
/// assert_eq!(encode(&Some(1.5))?.get(), "1.5");
/// assert!(matches!(encode(&[1.0, f64::INFINITY]), Err(EncodeError::NotFinite)));
/// # Ok::<(), EncodeError>(())
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, EncodeError> {
    let json = serde_json::value::to_raw_value(value)?;
    // serde_json writes such a number as null, so a text without null needs no check.
    if json.get().contains("null")
        && value
            .serialize(FiniteCheck)
            .is_err_and(|error| error.is_not_finite)
    {
        return Err(EncodeError::NotFinite);
    }
    Ok(json)
}

/// A serializer without output that stops at a number that is not finite.
#[derive(Clone, Copy)]
struct FiniteCheck;

/// The error that stops the check.
#[derive(Debug)]
struct CheckError {
    is_not_finite: bool,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for CheckError {}

impl ser::Error for CheckError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self {
            is_not_finite: false,
        }
    }
}

fn check(is_finite: bool) -> Result<(), CheckError> {
    if is_finite {
        Ok(())
    } else {
        Err(CheckError {
            is_not_finite: true,
        })
    }
}

macro_rules! accept {
    ($($name:ident($type:ty))*) => {
        $(fn $name(self, _: $type) -> Result<(), CheckError> {
            Ok(())
        })*
    };
}

impl Serializer for FiniteCheck {
    type Ok = ();
    type Error = CheckError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    accept! {
        serialize_bool(bool) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
        serialize_unit_struct(&'static str)
    }

    fn serialize_f32(self, number: f32) -> Result<(), CheckError> {
        check(number.is_finite())
    }

    fn serialize_f64(self, number: f64) -> Result<(), CheckError> {
        check(number.is_finite())
    }

    fn serialize_none(self) -> Result<(), CheckError> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CheckError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), CheckError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), CheckError> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), CheckError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), CheckError> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, CheckError> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, CheckError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, CheckError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, CheckError> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, CheckError> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, CheckError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, CheckError> {
        Ok(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), CheckError> {
        Ok(())
    }
}

macro_rules! compound {
    ($($trait:ident::$method:ident($($key:ty)?))*) => {
        $(impl ser::$trait for FiniteCheck {
            type Ok = ();
            type Error = CheckError;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result<(), CheckError> {
                value.serialize(*self)
            }

            fn end(self) -> Result<(), CheckError> {
                Ok(())
            }
        })*
    };
}

compound! {
    SerializeSeq::serialize_element()
    SerializeTuple::serialize_element()
    SerializeTupleStruct::serialize_field()
    SerializeTupleVariant::serialize_field()
    SerializeStruct::serialize_field(&'static str)
    SerializeStructVariant::serialize_field(&'static str)
}

impl ser::SerializeMap for FiniteCheck {
    type Ok = ();
    type Error = CheckError;

    /// Accepts every key, because serde_json itself refuses a key that is not finite.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), CheckError> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CheckError> {
        value.serialize(*self)
    }

    fn end(self) -> Result<(), CheckError> {
        Ok(())
    }
}
