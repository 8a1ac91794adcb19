//! Table definitions as signed records.
//!
//! Invariant: a definition from another peer is decoded within limits and its signature is checked
//! before anything else looks at it; the signature covers the network's name, so that a record of
//! one network means nothing in another. The signer of a live definition is its owner, and its id
//! follows from its first name, owner and time, so that nobody can redefine another peer's table. Any member
//! may sign a drop: there are no access rules yet.

use libp2p::identity::{Keypair, PublicKey};
use netabase_sql::table_id;
use netabase_store::{Error, ErrorKind, TableDef};
use serde::{Deserialize, Serialize};

/// Longest signed definition, in bytes: a DHT record must fit Kademlia's 16 KiB packets; larger
/// ones travel by gossip and by call only.
pub(crate) const MAX_DEFINITION: usize = 256 * 1024;
const DOMAIN: &str = "netabase table definition 1";

#[derive(Serialize, Deserialize)]
struct Envelope {
    def: Vec<u8>,
    key: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Attachment {
    key: Vec<u8>,
    signature: Vec<u8>,
}

fn message(network: &str, def: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    hasher.update(&(network.len() as u64).to_be_bytes());
    hasher.update(network.as_bytes());
    hasher.update(def);
    hasher.finalize().as_bytes().to_vec()
}

/// Signs a definition; the signature travels in its attachment.
pub(crate) fn sign(keypair: &Keypair, network: &str, mut def: TableDef) -> Result<TableDef, Error> {
    def.attachment = Vec::new();
    let bytes = def.to_bytes()?;
    let signature = keypair
        .sign(&message(network, &bytes))
        .map_err(|e| Error::new(ErrorKind::Corrupt, format!("cannot sign a definition: {e}")))?;
    def.attachment = encode(&Attachment {
        key: keypair.public().encode_protobuf(),
        signature,
    })?;
    Ok(def)
}

/// The record of a signed definition, as it travels.
pub(crate) fn to_record(def: &TableDef) -> Result<Vec<u8>, Error> {
    let Attachment { key, signature } = postcard::from_bytes(&def.attachment)
        .map_err(|_| refused(&def.name, "carries no signature"))?;
    let mut bare = def.clone();
    bare.attachment = Vec::new();
    encode(&Envelope {
        def: bare.to_bytes()?,
        key,
        signature,
    })
}

/// Decodes and verifies a record.
///
/// # Errors
/// `InvalidInput` when it is too long, malformed, or not signed by whom it names.
pub(crate) fn from_record(network: &str, record: &[u8]) -> Result<TableDef, Error> {
    if record.len() > MAX_DEFINITION {
        return Err(refused("?", "is longer than a definition may be"));
    }
    let envelope: Envelope =
        postcard::from_bytes(record).map_err(|_| refused("?", "is malformed"))?;
    let mut def = TableDef::from_bytes(&envelope.def)?;
    let key = PublicKey::try_decode_protobuf(&envelope.key)
        .map_err(|_| refused(&def.name, "names no valid key"))?;
    if !key.verify(&message(network, &envelope.def), &envelope.signature) {
        return Err(refused(&def.name, "has a wrong signature"));
    }
    if def.dropped.is_none() && key.to_peer_id().to_base58() != *def.owner {
        return Err(refused(&def.name, "is not signed by its owner"));
    }
    let first_name = def.options.first_name.as_ref().unwrap_or(&def.name);
    if def.id != table_id(first_name, &def.owner, def.created) {
        return Err(refused(&def.name, "has the id of another table"));
    }
    if def.local || def.placement.is_empty() || def.placement.iter().any(Vec::is_empty) {
        return Err(refused(&def.name, "names no holders"));
    }
    def.validate()?;
    def.attachment = encode(&Attachment {
        key: envelope.key,
        signature: envelope.signature,
    })?;
    Ok(def)
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(value).map_err(|e| {
        Error::new(
            ErrorKind::Corrupt,
            format!("cannot encode a definition: {e}"),
        )
    })
}

fn refused(table: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("the definition of table \"{table}\" {why}; it was ignored"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use netabase_store::Version;

    use super::*;

    fn def(owner: &Keypair) -> TableDef {
        let id = owner.public().to_peer_id().to_base58();
        TableDef {
            id: table_id("t", &id, Version(9)),
            name: "t".into(),
            schema: Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false)])),
            primary_key: vec![0],
            shard_key: vec![0],
            shards: 1,
            replicas: 1,
            local: false,
            owner: owner.public().to_peer_id().to_base58().into(),
            created: Version(9),
            dropped: None,
            placement: vec![vec![owner.public().to_peer_id().to_base58()]],
            options: Default::default(),
            attachment: Vec::new(),
        }
    }

    #[test]
    fn round_trips_and_refuses_forgeries() {
        let owner = Keypair::generate_ed25519();
        let signed = sign(&owner, "net", def(&owner)).unwrap();
        let record = to_record(&signed).unwrap();
        assert_eq!(from_record("net", &record).unwrap(), signed);

        assert!(from_record("other", &record).is_err(), "another network");
        let mut takeover = def(&owner);
        takeover.created = Version(10);
        let taken = to_record(&sign(&owner, "net", takeover).unwrap()).unwrap();
        let error = from_record("net", &taken).unwrap_err().to_string();
        assert!(error.contains("id of another table"), "{error}");
        let mut nowhere = def(&owner);
        nowhere.placement = vec![vec![]];
        let nowhere = to_record(&sign(&owner, "net", nowhere).unwrap()).unwrap();
        assert!(from_record("net", &nowhere).is_err());
        let thief = Keypair::generate_ed25519();
        let stolen = to_record(&sign(&thief, "net", def(&owner)).unwrap()).unwrap();
        let error = from_record("net", &stolen).unwrap_err().to_string();
        assert!(error.contains("not signed by its owner"), "{error}");
        for i in 0..record.len() {
            let mut bent = record.clone();
            bent[i] ^= 0x40;
            assert!(from_record("net", &bent).is_err(), "byte {i}");
        }
        assert!(from_record("net", &vec![0; MAX_DEFINITION + 1]).is_err());
    }
}
