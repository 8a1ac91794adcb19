//! The functions.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

use netabase::arrow::ffi_stream::FFI_ArrowArrayStream;
use netabase::blocking::Netabase;
use netabase::{Builder, CoverageHandle, Error, ErrorKind, Settings};

use crate::failure::{self, guard, guard_pointer, invalid};
use crate::memory;
use crate::rows::GuardedReader;

/// An open database. May be used from several threads at the same time.
#[allow(non_camel_case_types)]
pub struct netabase_t {
    db: Netabase,
    peer_id: CString,
}

thread_local! {
    /// The database and the coverage of this thread's last `netabase_exec`.
    static LAST_COVERAGE: RefCell<Option<(usize, CoverageHandle)>> = const { RefCell::new(None) };
}

/// Opens a database and stores its handle in `out`; on failure that becomes NULL.
///
/// `options` is a JSON object, or NULL for a database in memory without a network. All keys may be
/// left out: "data_dir", "network", "role" ("server" or "client"), "listen" and "bootstrap" (arrays
/// of multiaddresses), "mdns", "deadline", "join_timeout" and "statement_timeout" (seconds),
/// "memory_limit", "flush_bytes", "cache_bytes" and "query_memory" (bytes), "target_partitions",
/// "index_backend" ("sled", "sqlite", "redb" or "memory"), "codec" ("Lz4", {"Zstd": level} or
/// "None"), "read_only", "durability" ("Durable" or "Relaxed").
///
/// # Safety
/// `options` is NULL or a string that ends with a zero byte; `out` points to a writable pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_open(options: *const c_char, out: *mut *mut netabase_t) -> i32 {
    guard(|| {
        if out.is_null() {
            return Err(invalid("argument out is NULL"));
        }
        // SAFETY: not null, and writable by this function's contract.
        unsafe { out.write(std::ptr::null_mut()) };
        let settings = if options.is_null() {
            Settings::default()
        } else {
            // SAFETY: not null, and a string by this function's contract.
            read_settings(unsafe { memory::text_in("options", options) }?)?
        };
        let db = Netabase::open(Builder::from(settings))?;
        let peer_id = CString::new(db.peer_id()).unwrap_or_default();
        let handle = Box::into_raw(Box::new(netabase_t { db, peer_id }));
        // SAFETY: as above.
        unsafe { out.write(handle) };
        Ok(())
    })
}

/// Runs one SQL statement.
///
/// A query's rows are read from `out`, an Arrow C stream that the caller releases; other statements
/// give one row with a count, or none. Where `out` is NULL, the statement runs to its end and its
/// rows are dropped. On failure `out` is left as it was.
///
/// # Safety
/// `db` came from `netabase_open` and is not closed; `sql` is a string that ends with a zero byte;
/// `out` is NULL or points to a writable stream that holds nothing to release.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_exec(
    db: *const netabase_t,
    sql: *const c_char,
    out: *mut FFI_ArrowArrayStream,
) -> i32 {
    guard(|| {
        // SAFETY: by this function's contract.
        let (db, sql) = unsafe { (handle(db)?, memory::text_in("sql", sql)?) };
        set_coverage(None);
        let answer = db.db.sql(sql)?;
        set_coverage(Some((
            std::ptr::from_ref(db) as usize,
            answer.coverage_handle(),
        )));
        let mut reader = answer.reader().expand_views();
        if out.is_null() {
            while reader.next_batch()?.is_some() {}
            return Ok(());
        }
        let stream = FFI_ArrowArrayStream::new(Box::new(GuardedReader::new(reader)));
        // SAFETY: not null, and writable by this function's contract; what it held needs no release.
        unsafe { out.write(stream) };
        Ok(())
    })
}

/// What this thread's last `netabase_exec` on `db` covers, as a JSON object: "shards_total",
/// "shards_answered", "peers", "rows", "bytes", "elapsed_ms", "retries" and "tables". It is complete
/// after the last row has been read. Free it with `netabase_free`. NULL on failure.
///
/// # Safety
/// `db` came from `netabase_open` and is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_coverage(db: *const netabase_t) -> *mut c_char {
    guard_pointer(|| {
        // SAFETY: by this function's contract.
        let db = unsafe { handle(db)? };
        let of = std::ptr::from_ref(db) as usize;
        let last = LAST_COVERAGE.with_borrow(Clone::clone);
        let Some((_, coverage)) = last.filter(|(exec, _)| *exec == of) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                "this thread has run no statement on this database; call netabase_exec first",
            ));
        };
        let json = serde_json::to_string(&coverage.current())
            .map_err(|e| invalid(format!("the coverage cannot be written as JSON: {e}")))?;
        memory::copy_text_out(&json)
    })
}

/// Stores a value under a key.
///
/// # Safety
/// `db` came from `netabase_open` and is not closed; `key` and `value` point to as many bytes as
/// their lengths say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_put(
    db: *const netabase_t,
    key: *const u8,
    key_length: usize,
    value: *const u8,
    value_length: usize,
) -> i32 {
    guard(|| {
        // SAFETY: by this function's contract.
        let (db, key, value) = unsafe {
            (
                handle(db)?,
                memory::bytes_in("key", key, key_length)?,
                memory::bytes_in("value", value, value_length)?,
            )
        };
        db.db.put(key, value).map(|_| ())
    })
}

/// Reads the value of a key into memory that `netabase_free` frees. Without a value it returns
/// NETABASE_NOT_FOUND, and `value` becomes NULL.
///
/// # Safety
/// `db` came from `netabase_open` and is not closed; `key` points to `key_length` bytes; `value` and
/// `value_length` are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_get(
    db: *const netabase_t,
    key: *const u8,
    key_length: usize,
    value: *mut *mut u8,
    value_length: *mut usize,
) -> i32 {
    guard(|| {
        if value.is_null() || value_length.is_null() {
            return Err(invalid("argument value or value_length is NULL"));
        }
        // SAFETY: neither is null, and both are writable by this function's contract.
        unsafe {
            value.write(std::ptr::null_mut());
            value_length.write(0);
        }
        // SAFETY: by this function's contract.
        let (db, key) = unsafe { (handle(db)?, memory::bytes_in("key", key, key_length)?) };
        let found = db.db.get(key)?.ok_or_else(no_value)?;
        let copy = memory::copy_out(&found)?;
        // SAFETY: as above.
        unsafe {
            value.write(copy);
            value_length.write(found.len());
        }
        Ok(())
    })
}

/// Removes a key. Without a value it returns NETABASE_NOT_FOUND.
///
/// # Safety
/// `db` came from `netabase_open` and is not closed; `key` points to `key_length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_delete(
    db: *const netabase_t,
    key: *const u8,
    key_length: usize,
) -> i32 {
    guard(|| {
        // SAFETY: by this function's contract.
        let (db, key) = unsafe { (handle(db)?, memory::bytes_in("key", key, key_length)?) };
        if db.db.delete(key)? {
            return Ok(());
        }
        Err(no_value())
    })
}

/// This peer's id; valid until the database is closed. NULL on failure.
///
/// # Safety
/// `db` came from `netabase_open` and is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_peer_id(db: *const netabase_t) -> *const c_char {
    let id = guard_pointer(|| {
        // SAFETY: by this function's contract.
        let db = unsafe { handle(db)? };
        Ok(db.peer_id.as_ptr().cast_mut())
    });
    id.cast_const()
}

/// Waits until at least `count` other peers of the network are ready, for at most `seconds`; then it
/// returns NETABASE_UNAVAILABLE.
///
/// # Safety
/// `db` came from `netabase_open` and is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_wait_for_peers(
    db: *const netabase_t,
    count: usize,
    seconds: f64,
) -> i32 {
    guard(|| {
        // SAFETY: by this function's contract.
        let db = unsafe { handle(db)? };
        let timeout = Duration::try_from_secs_f64(seconds)
            .map_err(|_| invalid(format!("argument seconds is {seconds}; give 0 or more")))?;
        db.db.wait_for_peers(count, timeout)
    })
}

/// The words of this thread's last call: what failed, and the way out. Empty after a success, never
/// NULL, valid until this thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn netabase_last_error() -> *const c_char {
    failure::last()
}

/// Frees what `netabase_get` or `netabase_coverage` gave. NULL is allowed.
///
/// # Safety
/// `pointer` is NULL or came from one of these calls, and has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_free(pointer: *mut c_void) {
    // SAFETY: by this function's contract.
    unsafe { memory::free(pointer) };
}

/// Leaves the network, makes everything durable, and frees the handle, also when it fails. Streams
/// that are still open end with an error and must still be released. NULL is allowed.
///
/// # Safety
/// `db` is NULL or came from `netabase_open`, is not closed, and is used by no other thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netabase_close(db: *mut netabase_t) -> i32 {
    guard(|| {
        if db.is_null() {
            return Ok(());
        }
        // SAFETY: by this function's contract it came from Box::into_raw and is not used again.
        let owned = unsafe { Box::from_raw(db) };
        if LAST_COVERAGE.with_borrow(|last| last.as_ref().is_some_and(|(of, _)| *of == db as usize))
        {
            set_coverage(None);
        }
        owned.db.close()
    })
}

/// # Safety
/// `db` is null or a live handle.
unsafe fn handle<'a>(db: *const netabase_t) -> Result<&'a netabase_t, Error> {
    // SAFETY: null or live by this function's contract.
    unsafe { db.as_ref() }.ok_or_else(|| invalid("argument db is NULL"))
}

fn set_coverage(last: Option<(usize, CoverageHandle)>) {
    // A thread that is ending keeps nothing.
    let _ = LAST_COVERAGE.try_with(|slot| slot.replace(last));
}

fn read_settings(json: &str) -> Result<Settings, Error> {
    serde_json::from_str(json).map_err(|e| invalid(format!("argument options: {e}")))
}

fn no_value() -> Error {
    Error::new(ErrorKind::NotFound, "there is no value under this key")
}
