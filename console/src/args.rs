//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use netabase::BackendKind;

use crate::exit;
use crate::upkeep::{BackupArguments, CompactArguments, DataOptions, RestoreArguments};

/// A SQL database whose tables live on a peer-to-peer network.
#[derive(Debug, Parser)]
#[command(name = "netabase", version, after_help = exit::HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a peer until it is interrupted.
    #[command(after_help = exit::HELP)]
    Node(NodeArguments),
    /// Ask questions, interactively or as a script.
    #[command(after_help = exit::HELP)]
    Sql(SqlArguments),
    /// Store, read and remove values by key.
    #[command(after_help = exit::HELP)]
    Kv(KvArguments),
    /// Print a peer's counters as JSON.
    #[command(after_help = exit::HELP)]
    Counters(CounterArguments),
    /// Start three peers, load a year of flights, ask a question, and open the console.
    #[command(after_help = exit::HELP)]
    Demo(DemoArguments),
    /// Copy a data folder, or only what is new since the last backup.
    #[command(after_help = exit::HELP)]
    Backup(BackupArguments),
    /// Make a data folder of a backup, and verify all of it.
    #[command(after_help = exit::HELP)]
    Restore(RestoreArguments),
    /// Read all of a data folder and look for damage; exit code 8 when there is some.
    #[command(after_help = exit::HELP)]
    Check(DataOptions),
    /// Make the index of a data folder anew, with the same backend or another one.
    #[command(after_help = exit::HELP)]
    Repair(DataOptions),
    /// Merge the segments of tables, without what was replaced or deleted.
    #[command(after_help = exit::HELP)]
    Compact(CompactArguments),
}

/// What every command shares.
#[derive(Debug, Clone, Args)]
pub(crate) struct PeerOptions {
    /// Folder of the data; without it everything is in memory
    #[arg(long, env = "NETABASE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What keeps the index of the data folder: sled, sqlite, redb or memory [default: sled]
    #[arg(long, env = "NETABASE_BACKEND", value_name = "NAME")]
    pub(crate) backend: Option<BackendKind>,
    /// Name of the network: 1 to 64 of a-z, 0-9 and - [default: "default" where a network is used]
    #[arg(long, env = "NETABASE_NETWORK", value_name = "NAME")]
    pub(crate) network: Option<String>,
    /// Multiaddress to listen on, repeatable [default: any free TCP and QUIC port of 127.0.0.1]
    #[arg(
        long,
        env = "NETABASE_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub(crate) listen: Vec<String>,
    /// Multiaddress of a peer to join through, repeatable
    #[arg(
        long,
        env = "NETABASE_BOOTSTRAP",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub(crate) bootstrap: Vec<String>,
    /// Find peers of the local network by multicast DNS
    #[arg(long, env = "NETABASE_MDNS")]
    pub(crate) mdns: bool,
    /// What this peer does [default: server for node, client for the others]
    #[arg(long, env = "NETABASE_ROLE", value_name = "ROLE")]
    pub(crate) role: Option<RoleArgument>,
    /// Budget in seconds of a remote call and of the search for living replicas [default: 20]
    #[arg(long, env = "NETABASE_DEADLINE", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
    /// Drop every gossip message that arrives: a test switch
    #[arg(long, env = "NETABASE_DROP_GOSSIP", hide = true)]
    pub(crate) drop_gossip: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArgument {
    /// Holds shards and runs parts of others' queries
    Server,
    /// Only asks and writes
    Client,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    #[command(flatten)]
    pub(crate) peer: PeerOptions,
    /// End also when standard input ends, so that a child ends with its parent
    #[arg(long, env = "NETABASE_STOP_ON_STDIN_EOF")]
    pub(crate) stop_on_stdin_eof: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArguments {
    #[command(flatten)]
    pub(crate) peer: PeerOptions,
    /// Run these statements and end
    // A statement may begin with a comment, which looks like an option.
    #[arg(
        short = 'c',
        long,
        value_name = "SQL",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    pub(crate) command: Option<String>,
    /// Run the statements of a file (- for standard input) and end
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, env = "NETABASE_FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A text table of the whole result
    Table,
    /// Comma-separated values with a header line
    Csv,
    /// One JSON object for each line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct KvArguments {
    #[command(subcommand)]
    pub(crate) action: KvAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvAction {
    /// Store a value
    #[command(after_help = exit::HELP)]
    Put {
        #[command(flatten)]
        peer: PeerOptions,
        /// The key; its bytes as given
        key: OsString,
        /// The value; its bytes as given. Left out or -: standard input
        value: Option<OsString>,
    },
    /// Print a value, its bytes as stored; exit code 4 when there is none
    #[command(after_help = exit::HELP)]
    Get {
        #[command(flatten)]
        peer: PeerOptions,
        /// The key; its bytes as given
        key: OsString,
    },
    /// Remove a value; exit code 4 when there is none
    #[command(after_help = exit::HELP)]
    Del {
        #[command(flatten)]
        peer: PeerOptions,
        /// The key; its bytes as given
        key: OsString,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CounterArguments {
    #[command(flatten)]
    pub(crate) peer: PeerOptions,
    /// Id of the peer to ask [default: this command's own, short-lived peer]
    #[arg(long = "peer", value_name = "ID")]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    #[command(flatten)]
    pub(crate) peer: PeerOptions,
    /// End after the answers instead of opening the console
    #[arg(long)]
    pub(crate) batch: bool,
    /// Folder of the Parquet files [default: data beside the sources, or ./data]
    #[arg(long, env = "NETABASE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Copies of every shard
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3))]
    pub(crate) replicas: u32,
}

/// A positive number of seconds; fractions are allowed.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("\"{text}\" is not a number of seconds"))?;
    match Duration::try_from_secs_f64(number) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(format!("{text} seconds; give more than 0")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seconds_are_positive() {
        assert_eq!(seconds("1.5").unwrap(), Duration::from_millis(1500));
        assert!(seconds("0").is_err());
        assert!(seconds("-1").is_err());
        assert!(seconds("soon").is_err());
    }
}
