//! Everything a database is opened with, as plain data.
//!
//! Purpose: one flat set of options that a program, a file or a foreign language can fill in; it is
//! lowered once into the settings of the layers beneath.
//! Invariant: what [`Settings::validate`] accepts, every layer accepts.

use std::path::PathBuf;
use std::time::Duration;

use netabase_distributed::{NodeSettings, Role};
use netabase_sql::EngineSettings;
use netabase_store::{BackendKind, Codec, Durability, Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// Options of a database. Every field may be left out; `None` means the default of the layer that
/// uses it. Durations are seconds in their serialized form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Folder of the data. Default: none, everything is in memory and gone on close.
    pub data_dir: Option<PathBuf>,
    /// The index beside the log: `sled`, `sqlite`, `redb` or `memory`; the one that made the folder's.
    /// Default: `sled`.
    pub index_backend: BackendKind,
    /// When a write counts as done. Default: `Durable`, on disk.
    pub durability: Durability,
    /// Most bytes of rows, keys and indexes in memory. Default: 8 GiB.
    pub memory_limit: Option<usize>,
    /// Bytes of rows in memory above which they are moved to segments on disk. Default: 64 MiB.
    pub flush_bytes: Option<u64>,
    /// Cache of decoded columns, in bytes; 0 for none. Default: a quarter of the machine's memory.
    pub cache_bytes: Option<u64>,
    /// How segments are compressed: `Lz4`, `{"Zstd": level}` or `None`. Default: zstd, level 1.
    pub codec: Option<Codec>,
    /// Whether the data folder is only read: nothing in it changes, several may read it at once, and
    /// writes fail. Not together with `network`. Default: no.
    pub read_only: bool,
    /// Name of the network to be a peer of. Default: none, no network is used at all.
    pub network: Option<String>,
    /// `server`: holds shards and runs parts of others' queries; `client`: only asks and writes.
    /// Default: `server`.
    pub role: Role,
    /// Multiaddresses to listen on. Default, when empty: any free TCP and QUIC port of the loopback
    /// interface.
    pub listen: Vec<String>,
    /// Multiaddresses of peers to join through. Default: none.
    pub bootstrap: Vec<String>,
    /// Whether peers of the local network are found by multicast DNS. Default: no.
    pub mdns: bool,
    /// Budget of one remote call and of the search for living replicas. Default: 20 s.
    #[serde(with = "seconds")]
    pub deadline: Option<Duration>,
    /// How long opening waits for the bootstrap peers. Default: 10 s.
    #[serde(with = "seconds")]
    pub join_timeout: Option<Duration>,
    /// How many cores one query uses. Default: all of them.
    pub target_partitions: Option<usize>,
    /// Most bytes that all running queries use together, before they spill. Default: 2 GiB.
    pub query_memory: Option<usize>,
    /// How long one statement may run. Default: 300 s.
    #[serde(with = "seconds")]
    pub statement_timeout: Option<Duration>,
    /// Test switch: every received gossip message is dropped.
    #[doc(hidden)]
    pub drop_gossip: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: None,
            index_backend: BackendKind::default(),
            durability: Durability::default(),
            memory_limit: None,
            flush_bytes: None,
            cache_bytes: None,
            codec: None,
            read_only: false,
            network: None,
            role: Role::Server,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: false,
            deadline: None,
            join_timeout: None,
            target_partitions: None,
            query_memory: None,
            statement_timeout: None,
            drop_gossip: false,
        }
    }
}

impl Settings {
    /// Checks every option and the rules between them.
    ///
    /// # Errors
    /// `InvalidInput` naming the option and what it accepts.
    pub fn validate(&self) -> Result<(), Error> {
        self.store().validate()?;
        self.engine().validate()?;
        match self.node() {
            Some(_) if self.read_only => Err(Error::new(
                ErrorKind::InvalidInput,
                "option read_only is given together with network: a peer keeps notes about others; \
                 leave one of them out",
            )),
            Some(node) => node.validate(),
            None => self.refuse_network_options(),
        }
    }

    pub(crate) fn store(&self) -> netabase_store::Settings {
        let mut settings = netabase_store::Settings {
            data_dir: self.data_dir.clone(),
            backend: self.index_backend,
            durability: self.durability,
            cache_bytes: self.cache_bytes,
            read_only: self.read_only,
            ..Default::default()
        };
        if let Some(bytes) = self.memory_limit {
            settings.memory_limit = bytes;
        }
        if let Some(bytes) = self.flush_bytes {
            settings.flush_bytes = bytes;
        }
        if let Some(codec) = self.codec {
            settings.codec = codec;
        }
        settings
    }

    pub(crate) fn engine(&self) -> EngineSettings {
        let mut settings = EngineSettings::default();
        if let Some(partitions) = self.target_partitions {
            settings.target_partitions = partitions;
        }
        if let Some(bytes) = self.query_memory {
            settings.memory_limit = bytes;
        }
        if let Some(time) = self.statement_timeout {
            settings.statement_timeout = time;
        }
        settings
    }

    pub(crate) fn node(&self) -> Option<NodeSettings> {
        let mut settings = NodeSettings {
            network: self.network.clone()?,
            role: self.role,
            bootstrap: self.bootstrap.clone(),
            mdns: self.mdns,
            drop_gossip: self.drop_gossip,
            ..Default::default()
        };
        if !self.listen.is_empty() {
            settings.listen.clone_from(&self.listen);
        }
        if let Some(time) = self.deadline {
            settings.deadline = time;
        }
        if let Some(time) = self.join_timeout {
            settings.join_timeout = time;
        }
        Some(settings)
    }

    fn refuse_network_options(&self) -> Result<(), Error> {
        let given = [
            ("listen", !self.listen.is_empty()),
            ("bootstrap", !self.bootstrap.is_empty()),
            ("mdns", self.mdns),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "option {option} is given, but no network to use it for; name the network with \
                     option network, or leave {option} out"
                ),
            )),
        }
    }
}

/// An optional duration as a number of seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    // The signature is serde's.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|d| d.as_secs_f64()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let Some(seconds) = Option::<f64>::deserialize(deserializer)? else {
            return Ok(None);
        };
        Duration::try_from_secs_f64(seconds)
            .map(Some)
            .map_err(|e| D::Error::custom(format!("{seconds} is not a time in seconds: {e}")))
    }
}
