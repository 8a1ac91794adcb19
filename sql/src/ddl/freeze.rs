//! A table that takes no writes while a statement copies its rows, or looks at all of them.
//!
//! Idea: a table is frozen for a short time, which is made longer for as long as the work goes on, so that
//! a statement that is gone leaves a table that thaws by itself. Invariant: from [`Freeze::begin`] until
//! [`Freeze::replace`] or [`Freeze::change`] nobody wrote to the table, or it stays as it is: each time the
//! freeze is made longer, it must not have ended before.

use std::sync::Arc;
use std::time::Duration;

use netabase_store::{Error, TableDef, TableId};
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::error::unavailable;
use crate::revision::{being_altered, is_frozen};

/// How long a table is frozen at a time.
const LEASE: Duration = Duration::from_secs(60);
/// How often in that time it is frozen anew.
const RENEWALS: u32 = 4;
/// How much sooner than it does a freeze is taken to end: another peer's clock may be ahead.
const MARGIN: Duration = Duration::from_secs(5);

/// A frozen table.
pub(super) struct Freeze {
    engine: Engine,
    def: Arc<TableDef>,
    lease: Duration,
}

impl Freeze {
    /// Lets no more writes come. Fails with `Conflict` if another statement does that already.
    pub(super) async fn begin(engine: &Engine, def: &Arc<TableDef>) -> Result<Self, Error> {
        Self::for_time(engine, def, LEASE).await
    }

    async fn for_time(
        engine: &Engine,
        def: &Arc<TableDef>,
        lease: Duration,
    ) -> Result<Self, Error> {
        if is_frozen(engine.store(), def) {
            return Err(being_altered(def));
        }
        let mut freeze = Self {
            engine: engine.clone(),
            def: Arc::clone(def),
            lease,
        };
        freeze.def = freeze.until(Some(lease)).await?;
        Ok(freeze)
    }

    async fn until(&self, time: Option<Duration>) -> Result<Arc<TableDef>, Error> {
        let now = self.engine.store().clock().now().millis();
        let mut changed = TableDef::clone(&self.def);
        // Another time than before, even if the clock stands still: that is how it is known whose it is.
        let before = changed.options.rules.frozen_until.unwrap_or(0);
        changed.options.rules.frozen_until =
            time.map(|time| now.saturating_add(millis(time)).max(before + 1));
        self.engine.cluster().alter_table(changed).await
    }

    /// Does some work, and keeps the table frozen until it is done; if that fails, so does the work.
    pub(super) async fn during<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let (done, lost) = (CancellationToken::new(), CancellationToken::new());
        let lapsed = self.lapsed();
        let working = async {
            let worked = tokio::select! {
                biased;
                () = lost.cancelled() => Err(lapsed),
                worked = work => worked,
            };
            done.cancel();
            worked
        };
        let keeping = async {
            let kept = self.keep(&done).await;
            if kept.is_err() {
                lost.cancel();
            }
            kept
        };
        // What has begun is brought to its end, so that it is known which definition holds.
        let (worked, kept) = tokio::join!(working, keeping);
        if worked.is_err() && kept.is_ok() {
            // That somebody wrote meanwhile may be why.
            self.renew().await?;
        }
        kept.and(worked)
    }

    async fn keep(&mut self, done: &CancellationToken) -> Result<(), Error> {
        loop {
            tokio::select! {
                () = done.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.lease / RENEWALS) => self.renew().await?,
            }
        }
    }

    /// Fails if the table was not frozen all the time.
    async fn renew(&mut self) -> Result<(), Error> {
        let until = self.def.options.rules.frozen_until.unwrap_or(0);
        self.def = self.until(Some(self.lease)).await?;
        let now = self.engine.store().clock().now().millis();
        match now.saturating_add(millis(MARGIN.min(self.lease / RENEWALS))) < until {
            true => Ok(()),
            false => Err(self.lapsed()),
        }
    }

    fn lapsed(&self) -> Error {
        unavailable(format!(
            "table \"{}\" could not be kept from being written while its rows were copied, and is as it was: \
             run the statement again",
            self.def.name
        ))
    }

    /// Drops the table in favour of another one, which is seen from then on. Fails if the table was
    /// dropped or thawed meanwhile, which leaves both as they are.
    pub(super) async fn replace(&mut self, by: TableId) -> Result<(), Error> {
        self.renew().await?;
        let mut dropped = TableDef::clone(&self.def);
        dropped.options.rules.frozen_until = None;
        dropped.options.rules.replaced_by = Some(by);
        self.engine.cluster().drop_table(Arc::new(dropped)).await
    }

    /// Gives the table another definition, under which writes come again. Fails if it was dropped or
    /// thawed meanwhile, which leaves it as it is.
    pub(super) async fn change(&mut self, to: TableDef) -> Result<(), Error> {
        self.renew().await?;
        let mut changed = to;
        changed.options.rules.frozen_until = None;
        changed.options.revision = self.def.options.revision;
        self.def = self.engine.cluster().alter_table(changed).await?;
        Ok(())
    }

    /// Lets writes come again.
    pub(super) async fn end(self) {
        let known = self.engine.store().table_by_id(self.def.id);
        if known.is_none_or(|known| known.dropped.is_some()) {
            return;
        }
        if let Err(error) = self.until(None).await {
            let table = &self.def.name;
            tracing::warn!(%table, %error, "the table stays frozen until its time is up");
        }
    }
}

/// Lets writes come again, if no statement is left that froze the table.
pub(super) async fn thaw(engine: &Engine, def: Arc<TableDef>) -> Result<(), Error> {
    let mut changed = TableDef::clone(&def);
    changed.options.rules.frozen_until = None;
    engine.cluster().alter_table(changed).await.map(|_| ())
}

/// Lets writes come again to a table that this statement froze.
pub(super) async fn end(engine: &Engine, id: TableId) {
    let known = engine.store().table_by_id(id);
    let Some(def) = known.filter(|def| def.dropped.is_none() && is_frozen(engine.store(), def))
    else {
        return;
    };
    let table = def.name.clone();
    if let Err(error) = thaw(engine, def).await {
        tracing::warn!(%table, %error, "the table stays frozen until its time is up");
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use netabase_store::{Settings, Store, Version};

    use super::*;
    use crate::local::LocalCluster;
    use crate::settings::EngineSettings;

    async fn engine() -> (Engine, Arc<TableDef>) {
        let store = Store::open(Settings::default()).unwrap();
        let cluster = Arc::new(LocalCluster::new(store.clone(), "me"));
        let engine = Engine::new(store, cluster, EngineSettings::default(), Ok).unwrap();
        let text = "CREATE TABLE t (k BIGINT PRIMARY KEY)";
        engine.sql(text).await.unwrap();
        let def = engine.store().table("t").unwrap();
        (engine, def)
    }

    #[tokio::test]
    async fn a_table_stays_frozen_as_long_as_the_work_takes() {
        let (engine, def) = engine().await;
        let lease = Duration::from_secs(2);
        let mut freeze = Freeze::for_time(&engine, &def, lease).await.unwrap();
        let began = Instant::now();
        let work = async {
            while began.elapsed() < lease * 2 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let write = engine.sql("INSERT INTO t VALUES (1)").await;
                assert!(write.is_err(), "after {:?}", began.elapsed());
            }
            Ok(())
        };
        freeze.during(work).await.unwrap();
        freeze.end().await;
        engine.sql("INSERT INTO t VALUES (1)").await.unwrap();
    }

    #[tokio::test]
    async fn a_table_that_thawed_meanwhile_is_not_replaced() {
        let (engine, def) = engine().await;
        let mut freeze = Freeze::begin(&engine, &def).await.unwrap();
        let later = engine.store().clock().now().millis() + 120_000;
        assert!(engine.store().clock().observe(Version(later << 16)));
        engine.sql("INSERT INTO t VALUES (1)").await.unwrap();
        let refused = freeze.replace(TableId([7; 16])).await.unwrap_err();
        assert!(refused.to_string().contains("run the statement again"));
        freeze.end().await;
        engine.sql("INSERT INTO t VALUES (2)").await.unwrap();
    }
}
