//! What a format would encode and not give back.
//!
//! Idea: a value is walked before it is encoded, by a serializer that writes nothing. Invariant: whatever
//! passes is decoded again by the same type: it is no deeper than decoding goes, and its numbers are numbers
//! in the format. Non-goals: types that read themselves in another way than they write themselves; the
//! size, which is counted as bytes come.

use std::fmt::{self, Display};

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::{MAX_DEPTH, ValueCodec};

/// Fails with the reason if a value would not come back.
pub(super) fn check<T: Serialize + ?Sized>(codec: ValueCodec, value: &T) -> Result<(), String> {
    let left = match codec {
        // serde_json stops where one level is left.
        ValueCodec::Json => MAX_DEPTH - 1,
        ValueCodec::Bincode | ValueCodec::Cbor => MAX_DEPTH,
    };
    value.serialize(Walk { codec, left }).map_err(|why| why.0)
}

/// Why a value is refused.
#[derive(Debug)]
pub(super) struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Error for Refused {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

type Checked = Result<(), Refused>;

/// A serializer that may go `left` levels deeper.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    codec: ValueCodec,
    left: usize,
}

impl Walk {
    fn deeper(self, levels: usize) -> Result<Self, Refused> {
        match self.left.checked_sub(levels) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(Refused(format!(
                "it is nested too deep: at most {MAX_DEPTH} levels are decoded again"
            ))),
        }
    }

    /// JSON writes what is inside of these without a level of its own, and CBOR too.
    fn wrapped(self) -> Result<Self, Refused> {
        self.deeper(usize::from(self.codec == ValueCodec::Bincode))
    }

    fn float(self, value: f64) -> Checked {
        if self.codec == ValueCodec::Json && !value.is_finite() {
            return Err(Refused(format!("{value} is no number of JSON")));
        }
        Ok(())
    }
}

macro_rules! plain {
    ($($name:ident: $kind:ty;)*) => {$(
        fn $name(self, _: $kind) -> Checked {
            Ok(())
        }
    )*};
}

impl Serializer for Walk {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    plain! {
        serialize_bool: bool;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_i128: i128;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
        serialize_u128: u128;
        serialize_char: char;
        serialize_str: &str;
        serialize_bytes: &[u8];
        serialize_unit_struct: &'static str;
    }

    fn serialize_f32(self, value: f32) -> Checked {
        self.float(value.into())
    }

    fn serialize_f64(self, value: f64) -> Checked {
        self.float(value)
    }

    fn serialize_none(self) -> Checked {
        Ok(())
    }

    fn serialize_unit(self) -> Checked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Checked {
        value.serialize(self.wrapped()?)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self.wrapped()?)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Checked {
        let levels = usize::from(self.codec != ValueCodec::Json);
        self.deeper(levels).map(|_| ())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self.deeper(1)?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Refused> {
        self.deeper(1)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        self.deeper(1)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.deeper(1)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.deeper(2)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Refused> {
        self.deeper(1)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.deeper(1)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        self.deeper(2)
    }

    fn is_human_readable(&self) -> bool {
        self.codec == ValueCodec::Json
    }
}

macro_rules! items {
    ($($of:ident $name:ident($($key:ty)?);)*) => {$(
        impl $of for Walk {
            type Ok = ();
            type Error = Refused;

            fn $name<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Checked {
                value.serialize(*self)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        }
    )*};
}

items! {
    SerializeSeq serialize_element();
    SerializeTuple serialize_element();
    SerializeTupleStruct serialize_field();
    SerializeTupleVariant serialize_field();
    SerializeStruct serialize_field(&'static str);
    SerializeStructVariant serialize_field(&'static str);
}

impl SerializeMap for Walk {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Checked {
        key.serialize(*self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        value.serialize(*self)
    }

    fn end(self) -> Checked {
        Ok(())
    }
}
