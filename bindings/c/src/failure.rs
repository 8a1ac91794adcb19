//! Codes, and the words of the last failure.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use netabase::{Error, ErrorKind};

/// The call did what it says.
pub const NETABASE_OK: i32 = 0;
/// Something that no other code describes, for instance a bug in the library.
pub const NETABASE_OTHER: i32 = 1;
/// An argument or a statement is wrong; the same call fails again.
pub const NETABASE_INVALID_INPUT: i32 = 3;
/// The named thing does not exist.
pub const NETABASE_NOT_FOUND: i32 = 4;
/// The input contradicts itself or what is stored.
pub const NETABASE_CONFLICT: i32 = 5;
/// A limit is reached: free something or raise it, then try again.
pub const NETABASE_CAPACITY: i32 = 6;
/// A peer cannot be reached, the folder is in use, or the database is closed: try again later.
pub const NETABASE_UNAVAILABLE: i32 = 7;
/// Stored bytes are damaged; the words of the failure say which, and the way out.
pub const NETABASE_CORRUPT: i32 = 8;
/// The operating system refused.
pub const NETABASE_IO: i32 = 9;

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

/// Runs the body of a call: no panic leaves it, and a failure is kept in words.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Error>) -> i32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => {
            remember("");
            NETABASE_OK
        }
        Ok(Err(error)) => {
            remember(&error.to_string());
            code_of(error.kind())
        }
        Err(_) => {
            remember("the library failed in a way it should not; details are on standard error");
            NETABASE_OTHER
        }
    }
}

/// As [`guard`], for calls that return a pointer: null is the failure.
pub(crate) fn guard_pointer<T>(body: impl FnOnce() -> Result<*mut T, Error>) -> *mut T {
    let mut pointer = std::ptr::null_mut();
    let fill = || {
        pointer = body()?;
        Ok(())
    };
    // The code is not needed: null says that there are words.
    let _ = guard(fill);
    pointer
}

/// Keeps the words of a failure for this thread.
pub(crate) fn remember(text: &str) {
    let words = CString::new(text.replace('\0', " ")).unwrap_or_default();
    // A thread that is ending has no words any more, and nobody to read them.
    let _ = LAST.try_with(|last| last.replace(words));
}

/// The words of the last call of this thread; empty after a success.
pub(crate) fn last() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

pub(crate) fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

fn code_of(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::InvalidInput => NETABASE_INVALID_INPUT,
        ErrorKind::NotFound => NETABASE_NOT_FOUND,
        ErrorKind::Conflict => NETABASE_CONFLICT,
        ErrorKind::Capacity => NETABASE_CAPACITY,
        ErrorKind::Unavailable => NETABASE_UNAVAILABLE,
        ErrorKind::Corrupt => NETABASE_CORRUPT,
        ErrorKind::Io => NETABASE_IO,
        _ => NETABASE_OTHER,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use std::ffi::CStr;

    fn words() -> String {
        // SAFETY: `last` returns a string that lives until this thread's next call.
        unsafe { CStr::from_ptr(last()) }
            .to_string_lossy()
            .into_owned()
    }

    #[test]
    fn failures_have_codes_and_words() {
        assert_eq!(guard(|| Err(invalid("no\0 good"))), NETABASE_INVALID_INPUT);
        assert_eq!(words(), "no  good");
        assert_eq!(guard(|| Ok(())), NETABASE_OK);
        assert_eq!(words(), "");
        assert_eq!(guard(|| panic!("a bug")), NETABASE_OTHER);
        assert!(words().contains("standard error"));
    }
}
