//! Memory that crosses the boundary.
//!
//! What C must free comes from the C allocator, so that its size need not be remembered.

use std::ffi::{CStr, c_char, c_void};

use netabase::{Error, ErrorKind};

use crate::failure::invalid;

/// Copies bytes into memory of the C allocator. Never null, not even for no bytes.
pub(crate) fn copy_out(bytes: &[u8]) -> Result<*mut u8, Error> {
    // SAFETY: malloc may be called with any size.
    let copy = unsafe { libc::malloc(bytes.len().max(1)) }.cast::<u8>();
    if copy.is_null() {
        let text = format!("there is no memory for {} bytes", bytes.len());
        return Err(Error::new(ErrorKind::Capacity, text));
    }
    // SAFETY: `copy` points to at least `bytes.len()` bytes that were just allocated, so they do not
    // overlap the source.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len()) };
    Ok(copy)
}

/// Copies a text, with the zero byte that ends it.
pub(crate) fn copy_text_out(text: &str) -> Result<*mut c_char, Error> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    copy_out(&bytes).map(<*mut u8>::cast::<c_char>)
}

/// Frees what [`copy_out`] gave.
///
/// # Safety
/// `pointer` is null or came from [`copy_out`] or [`copy_text_out`], and has not been freed.
pub(crate) unsafe fn free(pointer: *mut c_void) {
    // SAFETY: by this function's contract the pointer came from malloc; free accepts null.
    unsafe { libc::free(pointer) };
}

/// Reads a text argument.
///
/// # Safety
/// `text` is null or points to a string that ends with a zero byte and lives for `'a`.
pub(crate) unsafe fn text_in<'a>(name: &str, text: *const c_char) -> Result<&'a str, Error> {
    if text.is_null() {
        return Err(invalid(format!("argument {name} is NULL")));
    }
    // SAFETY: not null, and a string by this function's contract.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map_err(|_| invalid(format!("argument {name} is not UTF-8")))
}

/// Reads an argument of bytes.
///
/// # Safety
/// `bytes` points to `length` bytes that live for `'a`; it may be null when there are none.
pub(crate) unsafe fn bytes_in<'a>(
    name: &str,
    bytes: *const u8,
    length: usize,
) -> Result<&'a [u8], Error> {
    if length == 0 {
        return Ok(&[]);
    }
    if bytes.is_null() {
        return Err(invalid(format!(
            "argument {name} is NULL, but its length is {length}"
        )));
    }
    if length > isize::MAX as usize {
        return Err(invalid(format!(
            "argument {name} cannot have {length} bytes"
        )));
    }
    // SAFETY: not null, within the size limit of a slice, and readable by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(bytes, length) })
}
