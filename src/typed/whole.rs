//! Whole values by key, in one of the formats of [`ValueCodec`].
//!
//! Purpose: what needs no columns is stored as it is, beside the tables. Invariant: a value says its
//! format, so that one is read whatever format it was written in.

use netabase_sql::WriteReceipt;
use netabase_store::{Error, ValueCodec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::database::Netabase;

impl Netabase {
    /// Stores a value of any type under a key, as [`put`](Self::put) stores bytes.
    ///
    /// # Errors
    /// `InvalidInput` when the format cannot express the value, `Capacity` when it exceeds
    /// [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES); otherwise as `put`.
    pub async fn put_value<T: Serialize + Sync + ?Sized>(
        &self,
        key: &[u8],
        value: &T,
        codec: ValueCodec,
    ) -> Result<WriteReceipt, Error> {
        let bytes = codec.encode(value)?;
        self.put(key, &bytes).await
    }

    /// Reads the value of a key that [`put_value`](Self::put_value) has stored, in whatever format;
    /// `None` when there is none. What the bytes make the type do is bounded: they are at most
    /// `MAX_VALUE_BYTES`, nested at most 128 deep, and used to the last one.
    ///
    /// # Errors
    /// `InvalidInput` when the bytes are not such a value; otherwise as [`get`](Self::get).
    pub async fn get_value<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        let bytes = self.get(key).await?;
        let value = bytes.map(|bytes| ValueCodec::decode_tagged(&bytes));
        value.transpose()
    }
}
