//! Looking after the data: checkpoints, compaction, backups, checks, repairs.
//!
//! Invariant: none of it runs on the caller's executor, because it waits for disks. What works on a
//! closed folder needs no open database.

use std::path::Path;

use futures::executor::block_on;
use netabase_store::{
    BackupReport, BackupTarget, CheckReport, Error, ErrorKind, PruneReport, RepairReport,
    RestoreReport, Store, TableId,
};

use crate::blocking;
use crate::database::Netabase;
use crate::settings::Settings;

impl Netabase {
    /// Makes a checkpoint of this peer's data, so that the next open is fast. Nobody waits for it.
    /// The SQL statement `CHECKPOINT` is the same.
    ///
    /// # Errors
    /// `Io` when the system refuses, `Unavailable` when the database is closed or only read.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.blocking(|store| store.checkpoint()).await
    }

    /// Merges what this peer holds of a table on disk, without what was replaced or deleted. The SQL
    /// statement `COMPACT TABLE` is the same.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint); `NotFound` when there is no such table.
    pub async fn compact(&self, table: &str) -> Result<(), Error> {
        let table = table.to_owned();
        self.blocking(move |store| store.compact(table_id(&store, &table)?))
            .await
    }

    /// Copies what this peer holds of some tables (or of all, when none is named) at this moment,
    /// while everything goes on, and tells `progress` the bytes done, and in all.
    ///
    /// # Errors
    /// `InvalidInput` when the target is something else or everything is in memory, `NotFound` when
    /// there is no such table, `Unavailable` when the database is closed, only read, or another
    /// backup into the folder is running, `Corrupt` when a file is damaged, `Io` when the system
    /// refuses. Earlier backups in the folder stay as they were.
    pub async fn backup(
        &self,
        to: BackupTarget,
        tables: &[&str],
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<BackupReport, Error> {
        let tables: Vec<String> = tables.iter().map(|name| (*name).to_owned()).collect();
        self.blocking(move |store| {
            let ids = tables.iter().map(|name| table_id(&store, name));
            let ids = ids.collect::<Result<Vec<_>, _>>()?;
            store.backup(to, (!ids.is_empty()).then_some(&ids), progress)
        })
        .await
    }

    /// Makes a data folder, which is new or empty, of a backup: a folder (its last backup is taken),
    /// one of its manifests, or an archive. Only the tables of these names, or all when none is
    /// named. Everything is verified.
    ///
    /// # Errors
    /// `NotFound` when there is no such backup or table, `InvalidInput` when something else is in
    /// either place, `Corrupt` naming the file when the backup is damaged, `Io` when the system
    /// refuses.
    pub async fn restore(
        from: impl AsRef<Path>,
        data_dir: impl AsRef<Path>,
        tables: &[&str],
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<RestoreReport, Error> {
        let (from, to) = (from.as_ref().to_owned(), data_dir.as_ref().to_owned());
        let tables: Vec<String> = tables.iter().map(|name| (*name).to_owned()).collect();
        on_a_thread(move || {
            let ids = match tables.is_empty() {
                true => None,
                false => Some(ids_in_backup(&from, &tables)?),
            };
            Store::restore(&from, &to, ids.as_deref(), progress)
        })
        .await
    }

    /// Reads every file of a data folder that nobody has open, compares every checksum, and computes
    /// every digest from the rows. Changes nothing; damage is in the report.
    ///
    /// # Errors
    /// `InvalidInput` when the settings name no folder, `NotFound` when it is none, `Unavailable`
    /// when it is in use, `Io` when the system refuses.
    pub async fn check(
        settings: &Settings,
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<CheckReport, Error> {
        let settings = settings.store();
        on_a_thread(move || Store::check(settings, progress)).await
    }

    /// Removes all but the newest `keep` backups of a folder, and the files that no other needs.
    ///
    /// # Errors
    /// `InvalidInput` when it is no folder of backups, `Unavailable` when a backup into it is
    /// running, `Corrupt` when a manifest that is to stay is damaged, `Io` when the system refuses.
    pub async fn prune_backups(
        folder: impl AsRef<Path>,
        keep: usize,
    ) -> Result<PruneReport, Error> {
        let folder = folder.as_ref().to_owned();
        on_a_thread(move || Store::prune_backups(&folder, keep)).await
    }

    /// Makes the index of a data folder that nobody has open anew, with the backend of the settings.
    ///
    /// # Errors
    /// As [`check`](Self::check), and `Corrupt` when what the index is made of is damaged.
    pub async fn repair(
        settings: &Settings,
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<RepairReport, Error> {
        let settings = settings.store();
        on_a_thread(move || Store::repair(settings, progress)).await
    }

    /// The names of the tables that this peer knows.
    #[must_use]
    pub fn table_names(&self) -> Vec<String> {
        let tables = self.inner().store().tables();
        tables.iter().map(|def| def.name.clone()).collect()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(move |inner| async move {
            let store = inner.store().clone();
            inner.runtime().blocking(move || work(store)).await
        })
        .await
    }
}

/// The same for callers that wait.
impl blocking::Netabase {
    /// Makes a checkpoint. See [`Netabase::checkpoint`].
    ///
    /// # Errors
    /// As there.
    pub fn checkpoint(&self) -> Result<(), Error> {
        block_on(self.handle().checkpoint())
    }

    /// Compacts a table. See [`Netabase::compact`].
    ///
    /// # Errors
    /// As there.
    pub fn compact(&self, table: &str) -> Result<(), Error> {
        block_on(self.handle().compact(table))
    }

    /// Makes a backup. See [`Netabase::backup`].
    ///
    /// # Errors
    /// As there.
    pub fn backup(
        &self,
        to: BackupTarget,
        tables: &[&str],
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<BackupReport, Error> {
        block_on(self.handle().backup(to, tables, progress))
    }

    /// Makes a data folder of a backup. See [`Netabase::restore`].
    ///
    /// # Errors
    /// As there.
    pub fn restore(
        from: impl AsRef<Path>,
        data_dir: impl AsRef<Path>,
        tables: &[&str],
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<RestoreReport, Error> {
        block_on(Netabase::restore(from, data_dir, tables, progress))
    }

    /// Looks for damage. See [`Netabase::check`].
    ///
    /// # Errors
    /// As there.
    pub fn check(
        settings: &Settings,
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<CheckReport, Error> {
        block_on(Netabase::check(settings, progress))
    }

    /// Makes the index anew. See [`Netabase::repair`].
    ///
    /// # Errors
    /// As there.
    pub fn repair(
        settings: &Settings,
        progress: impl FnMut(u64, u64) + Send + 'static,
    ) -> Result<RepairReport, Error> {
        block_on(Netabase::repair(settings, progress))
    }
}

fn table_id(store: &Store, name: &str) -> Result<TableId, Error> {
    let table = store.table(&netabase_sql::stored_name(name));
    let table = table.map(|def| def.id);
    table.ok_or_else(|| no_table(name))
}

/// The ids of tables in a backup.
fn ids_in_backup(from: &Path, names: &[String]) -> Result<Vec<TableId>, Error> {
    let info = Store::inspect_backup(from)?;
    let mut ids = Vec::new();
    for name in names {
        let before = ids.len();
        let stored = netabase_sql::stored_name(name);
        let named = info.tables.iter().filter(|table| table.name == stored);
        // Two may share a name; which one is seen is decided when they are opened.
        ids.extend(named.map(|table| table.id));
        if ids.len() == before {
            return Err(no_table(name));
        }
    }
    Ok(ids)
}

fn no_table(name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("table \"{name}\" does not exist"),
    )
}

/// Runs work that has no database on a thread of its own, which ends with it.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (done, wait) = tokio::sync::oneshot::channel();
    let failed = |text: String| Error::new(ErrorKind::Io, text);
    std::thread::Builder::new()
        .name("netabase-upkeep".into())
        .spawn(move || {
            // The caller may have given up waiting.
            let _ = done.send(work());
        })
        .map_err(|error| failed(format!("cannot start a thread: {error}")))?;
    wait.await
        .map_err(|_| failed("the work's thread panicked".to_owned()))?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::builder::Builder;

    #[test]
    fn from_backup_to_check() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let db = blocking::Netabase::open(Builder::default().data_dir(&data)).unwrap();
        for table in ["one", "two"] {
            let _ = db
                .sql(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY)"))
                .unwrap();
            let _ = db
                .sql(&format!("INSERT INTO {table} VALUES (1), (2)"))
                .unwrap();
        }
        db.checkpoint().unwrap();
        db.compact("one").unwrap();
        assert_eq!(db.compact("none").unwrap_err().kind(), ErrorKind::NotFound);
        let to = dir.path().join("backups");
        let target = BackupTarget::Folder(to.clone());
        let report = db.backup(target.clone(), &[], |_, _| {}).unwrap();
        assert_eq!((report.tables, report.rows), (2, 4));
        let none = db.backup(target, &["none"], |_, _| {}).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::NotFound);
        let me = db.peer_id().to_owned();
        db.close().unwrap();

        let part = dir.path().join("part");
        let report = blocking::Netabase::restore(&to, &part, &["two"], |_, _| {}).unwrap();
        assert_eq!((report.tables, report.rows), (1, 2));
        let builder = Builder::default().data_dir(&part);
        let report = blocking::Netabase::repair(builder.settings(), |_, _| {}).unwrap();
        assert_eq!(report.opened.tables, 1);
        let report = blocking::Netabase::check(builder.settings(), |_, _| {}).unwrap();
        assert_eq!((report.problems.len(), report.rows), (0, 2));
        let reader = blocking::Netabase::open(builder.read_only(true)).unwrap();
        assert_ne!(reader.peer_id(), me);
        let rows = reader.sql("SELECT id FROM two").unwrap().collect().unwrap();
        assert_eq!(rows.num_rows(), 2);
        let refused = reader.sql("INSERT INTO two VALUES (3)").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        reader.close().unwrap();
        assert!(!part.join("identity").exists());
    }
}
