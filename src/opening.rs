//! Opening the store, with the progress of its replay.

use netabase_store::{Components, Error, Settings, Store};

use crate::builder::Progress;

/// Opens a store and tells `progress` how far the replay of its log is.
pub(crate) fn open_store(settings: Settings, progress: Option<Progress>) -> Result<Store, Error> {
    let tell = |done, total| {
        if let Some(progress) = &progress {
            progress(done, total);
        }
    };
    Store::open_with(settings, Components::default(), tell)
}
