//! `netabase kv`: raw bytes in, raw bytes out.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use netabase::{Error, ErrorKind, Netabase};

use crate::args::{KvAction, KvArguments};
use crate::connect::{finish, note};
use crate::exit::Failure;
use crate::print;

/// Longest value that is read from standard input, in bytes.
const MAX_VALUE: u64 = 60 << 20;

pub(crate) async fn run(arguments: KvArguments) -> Result<(), Failure> {
    let (KvAction::Put { peer, .. } | KvAction::Get { peer, .. } | KvAction::Del { peer, .. }) =
        &arguments.action;
    if peer.data_dir.is_none() && !peer.is_networked() {
        return Err(Failure::Usage(
            "kv needs --data-dir, or a network to join: in memory a value would end with this command"
                .into(),
        ));
    }
    match arguments.action {
        KvAction::Put { peer, key, value } => {
            let value = read_value(value)?;
            let db = peer.open_client().await?;
            let worked = put(&db, key.as_bytes(), &value).await;
            finish(&db, worked).await
        }
        KvAction::Get { peer, key } => {
            let db = peer.open_client().await?;
            let worked = get(&db, &key).await;
            finish(&db, worked).await
        }
        KvAction::Del { peer, key } => {
            let db = peer.open_client().await?;
            let worked = delete(&db, &key).await;
            finish(&db, worked).await
        }
    }
}

async fn put(db: &Netabase, key: &[u8], value: &[u8]) -> Result<(), Failure> {
    let receipt = db.put(key, value).await?;
    note(format_args!("stored on {}", receipt.peers.join(", ")));
    Ok(())
}

async fn get(db: &Netabase, key: &OsStr) -> Result<(), Failure> {
    match db.get(key.as_bytes()).await? {
        Some(value) => print::bytes(&value),
        None => Err(missing(key)),
    }
}

async fn delete(db: &Netabase, key: &OsStr) -> Result<(), Failure> {
    if db.delete(key.as_bytes()).await? {
        return Ok(());
    }
    Err(missing(key))
}

fn missing(key: &OsStr) -> Failure {
    let text = format!("no value under the key {}", key.to_string_lossy());
    Error::new(ErrorKind::NotFound, text).into()
}

fn read_value(value: Option<OsString>) -> Result<Vec<u8>, Failure> {
    if let Some(value) = value.filter(|value| value != "-") {
        return Ok(value.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_VALUE + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::io("standard input", &e))?;
    if bytes.len() as u64 > MAX_VALUE {
        let text = format!("the value is longer than {MAX_VALUE} bytes; store it in parts");
        return Err(Error::new(ErrorKind::Capacity, text).into());
    }
    Ok(bytes)
}
