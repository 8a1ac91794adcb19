//! The clause about what is on disk.

use std::sync::Arc;

use super::data::{Outcome, ensure, expect};
use crate::backend::{Backend, Batch};
use crate::error::Result;

type Open<'a> = &'a mut dyn FnMut() -> Result<Arc<dyn Backend>>;

pub(super) fn reopen(open: Open<'_>) -> Outcome {
    let value = vec![7; 100_000];
    {
        let backend = open()?;
        backend.clear()?;
        let mut batch = Batch::new();
        batch.put("a", b"", b"empty key");
        batch.put("a", b"kept", value.clone());
        batch.put("a", b"removed", b"value");
        batch.put("b", [255], b"");
        backend.apply(batch)?;
        backend.flush()?;
        let mut batch = Batch::new();
        batch.delete("a", b"removed");
        batch.put("a", b"replaced", b"by nothing yet");
        backend.apply(batch)?;
        backend.flush()?;
        backend.flush()?;
        // May be there or not, but not in part.
        let mut batch = Batch::new();
        batch.put("a", b"late", b"value");
        batch.put("b", b"late", b"value");
        backend.apply(batch)?;
    }
    {
        let backend = open()?;
        expect(&*backend, "a", b"", Some(b"empty key"))?;
        expect(&*backend, "a", b"kept", Some(&value))?;
        expect(&*backend, "a", b"removed", None)?;
        expect(&*backend, "a", b"replaced", Some(b"by nothing yet"))?;
        expect(&*backend, "b", &[255], Some(b""))?;
        let late = ["a", "b"].map(|map| backend.get(map, b"late"));
        let [first, second] = late;
        ensure(first?.is_some() == second?.is_some(), || {
            "of a batch that was not flushed, a part is there".to_owned()
        })?;
        backend.clear()?;
        backend.flush()?;
    }
    let names = open()?.maps()?;
    ensure(names.is_empty(), || {
        format!("what was cleared and flushed is back: maps {names:?}")
    })
}
