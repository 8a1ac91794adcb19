//! Exceptions.

use netabase::{Error, ErrorKind};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(netabase, BaseError, PyException);
create_exception!(netabase, InvalidInputError, BaseError);
create_exception!(netabase, NotFoundError, BaseError);
create_exception!(netabase, ConflictError, BaseError);
create_exception!(netabase, CapacityError, BaseError);
create_exception!(netabase, UnavailableError, BaseError);
create_exception!(netabase, CorruptError, BaseError);
create_exception!(netabase, IoError, BaseError);

/// Puts the exceptions into the module, each with its kind.
pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    let kinds = [
        ("Error", py.get_type::<BaseError>(), "other"),
        (
            "InvalidInputError",
            py.get_type::<InvalidInputError>(),
            "invalid_input",
        ),
        ("NotFoundError", py.get_type::<NotFoundError>(), "not_found"),
        ("ConflictError", py.get_type::<ConflictError>(), "conflict"),
        ("CapacityError", py.get_type::<CapacityError>(), "capacity"),
        (
            "UnavailableError",
            py.get_type::<UnavailableError>(),
            "unavailable",
        ),
        ("CorruptError", py.get_type::<CorruptError>(), "corrupt"),
        ("IoError", py.get_type::<IoError>(), "io"),
    ];
    for (name, class, kind) in kinds {
        class.setattr("kind", kind)?;
        class.setattr("__name__", name)?;
        class.setattr("__qualname__", name)?;
        m.add(name, class)?;
    }
    Ok(())
}

/// The exception of an error.
pub(crate) fn exception(error: &Error) -> PyErr {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::InvalidInput => InvalidInputError::new_err(text),
        ErrorKind::NotFound => NotFoundError::new_err(text),
        ErrorKind::Conflict => ConflictError::new_err(text),
        ErrorKind::Capacity => CapacityError::new_err(text),
        ErrorKind::Unavailable => UnavailableError::new_err(text),
        ErrorKind::Corrupt => CorruptError::new_err(text),
        ErrorKind::Io => IoError::new_err(text),
        _ => BaseError::new_err(text),
    }
}
