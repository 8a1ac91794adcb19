//! `netabase demo`: a network of three peers on this machine, and a year of flights.
//!
//! Purpose: shows in one command what the engine does: peers join, tables are spread over them, a
//! question is planned here and answered where the rows are.
//! Invariant: the peers are processes of their own, and they end with this one, however it ends.

mod load;
mod peers;

use std::path::PathBuf;

use netabase::{Netabase, Role};
use tempfile::TempDir;

use crate::args::{DemoArguments, Format, PeerOptions};
use crate::connect::{finish, note, open};
use crate::demo::load::Source;
use crate::demo::peers::{PEERS, Peers};
use crate::exit::Failure;
use crate::prompt::interruptible;
use crate::{print, prompt};

/// Name of the demonstration's network.
const NETWORK: &str = "demo";
/// The object that is stored, so that the table `objects` exists.
const GREETING: (&[u8], &[u8]) = (b"greeting", b"hello from netabase");
/// The question: both parts, each with its title.
const QUESTION: [(&str, &str); 2] = [
    (
        "Delays by airline and plane manufacturer",
        include_str!("../../sql/delays_by_airline.sql"),
    ),
    (
        "Delays by airport of departure, with the weather of the hour",
        include_str!("../../sql/delays_by_origin.sql"),
    ),
];

pub(crate) async fn run(arguments: DemoArguments) -> Result<(), Failure> {
    let source = Source::find(arguments.data)?;
    let network = arguments
        .peer
        .network
        .clone()
        .unwrap_or_else(|| NETWORK.into());
    // Declared before the peers, so that it is removed after they have ended.
    let home = Home::new(arguments.peer.data_dir.clone())?;
    note(format_args!(
        "starting {PEERS} peers in {}",
        home.path().display()
    ));
    let peers = interruptible(Peers::start(home.path(), &network)).await?;
    for peer in peers.ready() {
        let address = peer.addresses.first().unwrap_or(&peer.peer_id);
        note(format_args!("  {address}"));
    }
    let options = PeerOptions {
        data_dir: Some(home.path().join("client")),
        network: Some(network),
        bootstrap: peers.addresses(),
        ..arguments.peer
    };
    let db = open(options.builder(Role::Client)).await?;
    let prepared = interruptible(show(&db, &source, arguments.replicas)).await;
    let worked = match prepared {
        Ok(()) if !arguments.batch => prompt::run(&db, Format::Table).await,
        other => other,
    };
    finish(&db, worked).await
}

async fn show(db: &Netabase, source: &Source, replicas: u32) -> Result<(), Failure> {
    db.wait_for_peers(PEERS, peers::START_LIMIT).await?;
    source.load(db, replicas).await?;
    let _ = db.put(GREETING.0, GREETING.1).await?;
    for (title, sql) in QUESTION {
        note(format_args!("\n{title}\n\n{}", sql.trim_end()));
        let answer = db.sql(sql).await?;
        let plan = answer.plan_text();
        let coverage = print::answer(answer, Format::Table).await?;
        note(coverage);
        if let Some(plan) = plan {
            note(format_args!(
                "\nThe plan, as it was spread over the peers:\n\n{plan}"
            ));
        }
    }
    Ok(())
}

/// Where the peers keep their data.
enum Home {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Home {
    fn new(folder: Option<PathBuf>) -> Result<Self, Failure> {
        match folder {
            Some(folder) => {
                std::fs::create_dir_all(&folder)
                    .map_err(|e| Failure::io(&format!("folder {}", folder.display()), &e))?;
                Ok(Self::Kept(folder))
            }
            None => tempfile::Builder::new()
                .prefix("netabase-demo-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(|e| Failure::io("a temporary folder", &e)),
        }
    }

    fn path(&self) -> &std::path::Path {
        match self {
            Self::Kept(folder) => folder,
            Self::Temporary(folder) => folder.path(),
        }
    }
}
