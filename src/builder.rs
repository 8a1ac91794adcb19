//! How a database is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use netabase_distributed::Role;
use netabase_store::{BackendKind, Codec, Durability, Error};

use crate::database::Netabase;
use crate::settings::Settings;

/// Told how far the replay of the log is: bytes done, bytes in all.
pub(crate) type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Opens a database; made by [`Netabase::builder`]. Every option has a default, and nothing is
/// checked or touched before [`open`](Self::open).
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct Builder {
    settings: Settings,
    progress: Option<Progress>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl From<Settings> for Builder {
    fn from(settings: Settings) -> Self {
        Self {
            settings,
            progress: None,
        }
    }
}

impl Builder {
    /// The folder of the data; created if missing. Default: none, everything is in memory.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.data_dir = Some(path.into());
        self
    }

    /// The index that stands beside the log; the one that made the folder's. Default:
    /// [`BackendKind::Sled`].
    pub fn index_backend(mut self, backend: BackendKind) -> Self {
        self.settings.index_backend = backend;
        self
    }

    /// When a write counts as done. Default: [`Durability::Durable`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// Most bytes of rows, keys and indexes held in memory. Default: 8 GiB.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.settings.memory_limit = Some(bytes);
        self
    }

    /// Bytes of rows in memory above which they are moved to segments on disk. Default: 64 MiB.
    pub fn flush_bytes(mut self, bytes: u64) -> Self {
        self.settings.flush_bytes = Some(bytes);
        self
    }

    /// Cache of decoded columns, in bytes; 0 for none. Default: a quarter of the machine's memory.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.settings.cache_bytes = Some(bytes);
        self
    }

    /// How segments are compressed. Default: zstd, level 1.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.settings.codec = Some(codec);
        self
    }

    /// Whether the data folder is only read: nothing in it changes, several may read it at once, and
    /// writes fail. Not together with a network. Default: no.
    pub fn read_only(mut self, on: bool) -> Self {
        self.settings.read_only = on;
        self
    }

    /// Makes this a peer of the named network (1 to 64 of a-z, 0-9 and -). Default: no network.
    pub fn network(mut self, name: impl Into<String>) -> Self {
        self.settings.network = Some(name.into());
        self
    }

    /// What this peer does for its network. Default: [`Role::Server`].
    pub fn role(mut self, role: Role) -> Self {
        self.settings.role = role;
        self
    }

    /// Listens on one more multiaddress; the first call replaces the defaults. Default: any free
    /// TCP and QUIC port of the loopback interface.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.settings.listen.push(address.into());
        self
    }

    /// Joins through one more peer, given as a multiaddress. Default: none.
    pub fn bootstrap(mut self, address: impl Into<String>) -> Self {
        self.settings.bootstrap.push(address.into());
        self
    }

    /// Whether peers of the local network are found by multicast DNS. Default: no.
    pub fn mdns(mut self, on: bool) -> Self {
        self.settings.mdns = on;
        self
    }

    /// Budget of one remote call and of the search for living replicas. Default: 20 s.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.settings.deadline = Some(time);
        self
    }

    /// How long opening waits for the bootstrap peers. Default: 10 s.
    pub fn join_timeout(mut self, time: Duration) -> Self {
        self.settings.join_timeout = Some(time);
        self
    }

    /// Drops every gossip message that arrives: a test switch.
    #[doc(hidden)]
    pub fn drop_gossip(mut self, on: bool) -> Self {
        self.settings.drop_gossip = on;
        self
    }

    /// How many cores one query uses. Default: all of them.
    pub fn target_partitions(mut self, partitions: usize) -> Self {
        self.settings.target_partitions = Some(partitions);
        self
    }

    /// Most bytes that all running queries use together before they spill; in SQL,
    /// `SET netabase.memory_limit = '512MB'`. Default: 2 GiB.
    pub fn query_memory(mut self, bytes: usize) -> Self {
        self.settings.query_memory = Some(bytes);
        self
    }

    /// How long one query, or the reading half of a write, may run. Default: 300 s. Writing itself
    /// ends with the deadlines of its calls.
    pub fn statement_timeout(mut self, time: Duration) -> Self {
        self.settings.statement_timeout = Some(time);
        self
    }

    /// Called with (bytes done, bytes in all) while the log is replayed. Default: nobody is told.
    pub fn progress(mut self, progress: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// The options so far, as data.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Checks the options, opens the data, and joins the network if one is named.
    ///
    /// # Errors
    /// `InvalidInput` naming a wrong option; `Unavailable` when the folder is in use or no bootstrap
    /// peer answers; `Corrupt` when stored bytes are damaged; `Io` when the system refuses.
    pub async fn open(self) -> Result<Netabase, Error> {
        self.settings.validate()?;
        Netabase::start(self.settings, self.progress).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use netabase_store::ErrorKind;

    fn refusal(builder: Builder) -> String {
        let error = builder.settings().validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    }

    #[test]
    fn defaults_are_valid_offline_and_online() {
        assert!(Builder::default().settings().validate().is_ok());
        assert!(
            Builder::default()
                .network("test")
                .settings()
                .validate()
                .is_ok()
        );
    }

    #[test]
    fn wrong_options_are_named() {
        assert!(refusal(Builder::default().network("Not Valid")).contains("Not Valid"));
        assert!(refusal(Builder::default().memory_limit(1)).contains("memory_limit"));
        assert!(refusal(Builder::default().flush_bytes(1)).contains("flush_bytes"));
        let reader = Builder::default().network("n").read_only(true);
        assert!(refusal(reader).contains("read_only"));
        assert!(refusal(Builder::default().target_partitions(0)).contains("target_partitions"));
        assert!(refusal(Builder::default().network("n").bootstrap("nowhere")).contains("nowhere"));
    }

    #[test]
    fn network_options_need_a_network() {
        assert!(
            refusal(Builder::default().bootstrap("/ip4/127.0.0.1/tcp/1")).contains("bootstrap")
        );
        assert!(refusal(Builder::default().mdns(true)).contains("mdns"));
    }

    #[test]
    fn the_first_listen_address_replaces_the_defaults() {
        let address = "/ip4/127.0.0.1/tcp/4001";
        let builder = Builder::default().network("n").listen(address);
        assert_eq!(builder.settings().node().unwrap().listen, [address]);
    }

    #[test]
    fn settings_read_seconds_and_refuse_what_they_do_not_know() {
        let read = |text: &str| serde_json::from_str::<Settings>(text);
        let settings = read(r#"{"network": "n", "role": "client", "deadline": 1.5}"#).unwrap();
        assert_eq!(settings.deadline, Some(Duration::from_millis(1500)));
        assert_eq!(settings.role, Role::Client);
        assert!(read(r#"{"netwrok": "n"}"#).is_err());
        assert!(read(r#"{"deadline": -1}"#).is_err());
    }
}
