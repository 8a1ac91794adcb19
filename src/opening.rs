//! Opening the store, with the progress of its replay.

use std::path::Path;
use std::sync::Arc;

use netabase_store::{Backend, BackendKind, Error, MemoryBackend, Settings, SledBackend, Store};

use crate::builder::Progress;

/// Folder of the log inside a data folder; only where it exists is there anything to replay.
const LOG: &str = "log";
/// Folder of the index inside a data folder.
const INDEX: &str = "index";

/// Opens a store and tells `progress` how far the replay of its log is.
pub(crate) fn open_store(settings: Settings, progress: Option<Progress>) -> Result<Store, Error> {
    let Some((tell, backend)) = progress.zip(ready_backend(&settings)) else {
        return Store::open(settings);
    };
    Store::open_with(settings, backend, |done, total| tell(done, total))
}

/// The index of an existing folder. `None` when there is nothing to replay, or when the index cannot
/// be opened: the store itself then rebuilds it, or names what is wrong with the folder.
fn ready_backend(settings: &Settings) -> Option<Arc<dyn Backend>> {
    let folder: &Path = settings.data_dir.as_deref()?;
    if !folder.join(LOG).is_dir() {
        return None;
    }
    match settings.backend {
        BackendKind::Memory => Some(Arc::new(MemoryBackend::new())),
        BackendKind::Sled => {
            let index = SledBackend::open(&folder.join(INDEX), settings.index_cache_bytes);
            Some(Arc::new(index.ok()?))
        }
    }
}
