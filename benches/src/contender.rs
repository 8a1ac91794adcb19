//! What is measured: netabase alone, netabase as a network, DataFusion without netabase.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
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
/// The longest that one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1800);
/// How long to wait before looking again whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Something that answers SQL.
pub(crate) enum Contender {
    /// DataFusion without netabase, over the Parquet files themselves or over rows in memory.
    DataFusion(SessionContext),
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
        Ok(Self::DataFusion(context))
    }

    /// DataFusion over the same rows in memory, in as many partitions as a query may use.
    pub(crate) async fn memory(tables: &[Table], partitions: usize) -> Result<Self, Failure> {
        let Self::DataFusion(context) = Self::parquet(tables, partitions).await? else {
            return Err("DataFusion is no peer".into());
        };
        for table in tables {
            let batches = context.table(table.name).await?.collect().await?;
            let Some(first) = batches.first() else {
                return Err(format!("{}: no rows", table.name).into());
            };
            let schema = first.schema();
            let mut parts = vec![Vec::new(); partitions];
            for (index, batch) in batches.into_iter().enumerate() {
                parts[index % partitions].push(batch);
            }
            context.deregister_table(table.name)?;
            context.register_table(table.name, Arc::new(MemTable::try_new(schema, parts)?))?;
        }
        Ok(Self::DataFusion(context))
    }

    /// One peer without a network, over a folder that is loaded already.
    pub(crate) async fn loaded(folder: TempDir, partitions: usize) -> Result<Self, Failure> {
        let database = open_peer(folder.path(), partitions).await?;
        Ok(Self::Peers(vec![Peer {
            database,
            _folder: folder,
        }]))
    }

    /// One peer without a network, with the tables loaded.
    pub(crate) async fn one_peer(
        tables: &[Table],
        partitions: usize,
    ) -> Result<(Self, Load), Failure> {
        let folder = TempDir::new()?;
        let database = open_peer(folder.path(), partitions).await?;
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
            Self::DataFusion(context) => {
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

/// A peer without a network. No figure of a large query may end at the default's timeout.
pub(crate) async fn open_peer(folder: &Path, partitions: usize) -> Result<Netabase, Failure> {
    Ok(Netabase::builder()
        .data_dir(folder)
        .target_partitions(partitions)
        .statement_timeout(STATEMENT_TIMEOUT)
        .open()
        .await?)
}

pub(crate) async fn define_tables(database: &Netabase, tables: &[Table]) -> Result<(), Failure> {
    for table in tables {
        database.script(&table.definition).await?;
    }
    Ok(())
}

/// Loads the files of the tables. How many rows each has.
pub(crate) async fn load_files(
    database: &Netabase,
    tables: &[Table],
) -> Result<Vec<(&'static str, u64)>, Failure> {
    let mut counts = Vec::new();
    for table in tables {
        let receipt = database
            .load(table.name, &table.file, |_, _| ())
            .await
            .map_err(|error| format!("{}: {error}", table.name))?;
        counts.push((table.name, receipt.rows));
    }
    Ok(counts)
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
    define_tables(&first.database, tables).await?;
    let started = Instant::now();
    let counts = load_files(&first.database, tables).await?;
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
