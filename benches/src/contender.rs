//! What is measured: netabase alone, netabase as a network, DataFusion without netabase.

use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::future::try_join_all;
use netabase::Netabase;
use tempfile::TempDir;

use crate::Failure;
use crate::data::Table;

/// The network of the peers that are measured.
const NETWORK: &str = "bench";
/// How long peers may take to find each other and to learn of each other's tables.
const SETTLE: Duration = Duration::from_secs(30);
/// How long to wait before looking again whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Something that answers SQL.
pub(crate) enum Contender {
    /// DataFusion over the Parquet files themselves.
    Parquet(SessionContext),
    /// netabase; the last peer is asked, and the first one loaded.
    Peers(Vec<Peer>),
}

/// A running peer and the folder of its data.
pub(crate) struct Peer {
    database: Netabase,
    _folder: TempDir,
}

/// How fast the tables were loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rows: u64,
    pub(crate) time: Duration,
}

impl Contender {
    pub(crate) async fn parquet(tables: &[Table], partitions: usize) -> Result<Self, Failure> {
        let config = SessionConfig::new().with_target_partitions(partitions);
        let context = SessionContext::new_with_config(config);
        for table in tables {
            let file = table.file.to_string_lossy();
            context
                .register_parquet(table.name, file, ParquetReadOptions::default())
                .await?;
        }
        Ok(Self::Parquet(context))
    }

    /// One peer without a network, with the tables loaded.
    pub(crate) async fn one_peer(
        tables: &[Table],
        partitions: usize,
    ) -> Result<(Self, Load), Failure> {
        let folder = TempDir::new()?;
        let database = Netabase::builder()
            .data_dir(folder.path())
            .target_partitions(partitions)
            .open()
            .await?;
        let peers = vec![Peer {
            database,
            _folder: folder,
        }];
        let load = load(&peers, tables).await?;
        Ok((Self::Peers(peers), load))
    }

    /// A network of peers on the loopback interface, with the tables loaded.
    pub(crate) async fn network(
        count: usize,
        tables: &[Table],
        partitions: usize,
    ) -> Result<(Self, Load), Failure> {
        let mut peers: Vec<Peer> = Vec::new();
        while peers.len() < count {
            let folder = TempDir::new()?;
            let mut builder = Netabase::builder()
                .data_dir(folder.path())
                .target_partitions(partitions)
                .network(NETWORK);
            for address in peers
                .first()
                .iter()
                .flat_map(|peer| peer.database.addresses())
            {
                builder = builder.bootstrap(address);
            }
            peers.push(Peer {
                database: builder.open().await?,
                _folder: folder,
            });
        }
        // Placement is computed when a table is made: everybody must be there.
        try_join_all(
            peers
                .iter()
                .map(|peer| peer.database.wait_for_peers(count - 1, SETTLE)),
        )
        .await?;
        let load = load(&peers, tables).await?;
        Ok((Self::Peers(peers), load))
    }

    /// The whole answer to one statement.
    pub(crate) async fn answer(&self, statement: &str) -> Result<Vec<RecordBatch>, Failure> {
        match self {
            Self::Parquet(context) => {
                // On a worker thread, as netabase does with its own.
                let (context, statement) = (context.clone(), statement.to_owned());
                let query = async move { context.sql(&statement).await?.collect().await };
                Ok(tokio::spawn(query).await??)
            }
            Self::Peers(peers) => match peers.last() {
                Some(peer) => query(&peer.database, statement).await,
                None => Err("a network without peers".into()),
            },
        }
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        if let Self::Peers(peers) = self {
            for peer in peers {
                peer.database.close().await?;
            }
        }
        Ok(())
    }
}

async fn query(database: &Netabase, statement: &str) -> Result<Vec<RecordBatch>, Failure> {
    Ok(database
        .sql(statement)
        .await?
        .collect()
        .await?
        .into_batches())
}

/// Loads through the first peer and waits until the last one sees every row.
async fn load(peers: &[Peer], tables: &[Table]) -> Result<Load, Failure> {
    let (Some(first), Some(last)) = (peers.first(), peers.last()) else {
        return Err("a network without peers".into());
    };
    for table in tables {
        first.database.script(table.definition).await?;
    }
    let started = Instant::now();
    let mut counts = Vec::new();
    for table in tables {
        let receipt = first
            .database
            .load(table.name, &table.file, |_, _| ())
            .await?;
        counts.push((table.name, receipt.rows));
    }
    let time = started.elapsed();
    for (table, rows) in &counts {
        wait_for_rows(&last.database, table, *rows).await?;
    }
    Ok(Load {
        rows: counts.iter().map(|(_, rows)| rows).sum(),
        time,
    })
}

async fn wait_for_rows(database: &Netabase, table: &str, rows: u64) -> Result<(), Failure> {
    // As a column of values, so that the text does not depend on how a count is shown.
    let statement = format!("SELECT 1 FROM {table} HAVING count(*) = {rows}");
    let started = Instant::now();
    loop {
        let seen = query(database, &statement).await;
        if seen.as_ref().is_ok_and(|batches| !batches.is_empty()) {
            return Ok(());
        }
        if started.elapsed() > SETTLE {
            let last = seen
                .err()
                .map(|failure| format!(": {failure}"))
                .unwrap_or_default();
            return Err(format!("{table}: {rows} rows do not appear on another peer{last}").into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
