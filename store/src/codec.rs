//! Typed values as bytes, in one of three formats.
//!
//! Purpose: what applications put under a key. Invariant: the first byte of an encoded value names
//! its format; neither encoding nor decoding holds more than [`MAX_VALUE_BYTES`] of it; a value is
//! decoded whole or not at all, and nothing may follow it.
//!
//! Non-goals: no schema, and no limit on what a type does while it decodes itself. bincode spends no
//! byte on the elements of a list of empty values: do not decode lists of `()` from strangers.

mod check;
mod depth;

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::depth::Limited;
use crate::error::{Error, Result};

/// Longest encoded value, in bytes, the byte that names its format included.
pub const MAX_VALUE_BYTES: usize = 16 << 20;
/// Deepest nesting of a value that is decoded. That of JSON is one less, and fixed by serde_json.
const MAX_DEPTH: usize = 128;
/// Room that a value begins with.
const FIRST_BYTES: usize = 256;

/// A format of typed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ValueCodec {
    /// Compact and fast, not self-describing: the reader's type must have the same fields, in the
    /// same order. Types that ask what comes next (such as `serde_json::Value`) do not decode.
    #[default]
    Bincode,
    /// Readable everywhere. Keys of maps must be text or numbers; numbers that are not finite are
    /// refused.
    Json,
    /// Self-describing and binary.
    Cbor,
}

impl ValueCodec {
    const ALL: [Self; 3] = [Self::Bincode, Self::Json, Self::Cbor];

    /// Its name, such as `json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
            Self::Json => "json",
            Self::Cbor => "cbor",
        }
    }

    /// The format of an encoded value, by its first byte. Fails with `InvalidInput` if there is
    /// none such.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let tag = bytes.first();
        let found = Self::ALL
            .into_iter()
            .find(|codec| tag == Some(&codec.tag()));
        found.ok_or_else(|| match tag {
            Some(tag) => Error::invalid(format!(
                "a value begins with byte {tag}, which names no format: was it stored as a value \
                 of a type?"
            )),
            None => Error::invalid("an empty value has no format: was it stored as one of a type?"),
        })
    }

    /// The value as bytes. Fails with `InvalidInput` if the format cannot express it, or it is nested
    /// deeper than is decoded again, which is about a hundred levels; with `Capacity` if it exceeds
    /// [`MAX_VALUE_BYTES`].
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>> {
        let refused =
            |why: String| Error::invalid(format!("a value cannot be encoded as {self}: {why}"));
        check::check(*self, value).map_err(refused)?;
        let mut out = Bounded::new(self.tag());
        let encoded = match self {
            Self::Bincode => {
                let config = bincode::config::standard();
                bincode::serde::encode_into_std_write(value, &mut out, config)
                    .map(|_| ())
                    .map_err(|error| error.to_string())
            }
            Self::Json => serde_json::to_writer(&mut out, value).map_err(|error| error.to_string()),
            Self::Cbor => ciborium::into_writer(value, &mut out).map_err(|error| error.to_string()),
        };
        match encoded {
            _ if out.full => Err(Error::capacity(format!(
                "a value exceeds {MAX_VALUE_BYTES} bytes as {self}: divide it"
            ))),
            Ok(()) => Ok(out.bytes),
            Err(reason) => Err(refused(reason)),
        }
    }

    /// The value in bytes that this format has encoded. Fails with `InvalidInput` if they are of
    /// another format or not such a value, with `Capacity` if they exceed [`MAX_VALUE_BYTES`].
    pub fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        if bytes.len() > MAX_VALUE_BYTES {
            return Err(Error::capacity(format!(
                "a value of {} bytes exceeds {MAX_VALUE_BYTES}",
                bytes.len()
            )));
        }
        let found = Self::of(bytes)?;
        if found != *self {
            return Err(Error::invalid(format!(
                "a value is encoded as {found}, not as {self}"
            )));
        }
        self.decode_body(bytes.get(1..).unwrap_or_default())
            .map_err(|reason| {
                Error::invalid(format!("a value cannot be decoded as {self}: {reason}"))
            })
    }

    /// The value in bytes of any format. Fails like [`decode`](Self::decode).
    pub fn decode_tagged<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
        Self::of(bytes)?.decode(bytes)
    }

    /// Printable letters, so that a stored value tells its format to whoever looks at it.
    fn tag(self) -> u8 {
        match self {
            Self::Bincode => b'B',
            Self::Json => b'J',
            Self::Cbor => b'C',
        }
    }

    fn decode_body<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, String> {
        let (value, left) = match self {
            Self::Bincode => {
                let config = bincode::config::standard().with_limit::<MAX_VALUE_BYTES>();
                let seed = Limited {
                    inner: PhantomData,
                    left: MAX_DEPTH,
                };
                let (value, used) = bincode::serde::seed_decode_from_slice(seed, body, config)
                    .map_err(|error| error.to_string())?;
                (value, body.len() - used)
            }
            // Refuses trailing bytes and deep nesting by itself.
            Self::Json => {
                let value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
                (value, 0)
            }
            Self::Cbor => {
                let mut rest = body;
                let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)
                    .map_err(|error| error.to_string())?;
                (value, rest.len())
            }
        };
        match left {
            0 => Ok(value),
            left => Err(format!("{left} bytes follow it")),
        }
    }
}

impl fmt::Display for ValueCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes up to [`MAX_VALUE_BYTES`]; more are refused as they come.
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl Bounded {
    fn new(tag: u8) -> Self {
        let mut bytes = Vec::with_capacity(FIRST_BYTES);
        bytes.push(tag);
        Self { bytes, full: false }
    }
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let wanted = self.bytes.len().saturating_add(more.len());
        if wanted > MAX_VALUE_BYTES {
            self.full = true;
            return Err(io::Error::other("the value is too large"));
        }
        if wanted > self.bytes.capacity() {
            // Doubled as a vector does, but not beyond the limit.
            let room = wanted.max(2 * self.bytes.capacity()).min(MAX_VALUE_BYTES);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
