//! Errors in and out of DataFusion.
//!
//! Purpose: every error that leaves this crate is a [`netabase_store::Error`] whose kind tells the
//! caller what to do and whose text is one readable sentence.
//!
//! Invariant: a netabase error that travelled through DataFusion or Arrow keeps its kind and text.

use std::error::Error as StdError;
use std::fmt;
use std::num::{ParseFloatError, ParseIntError};
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use netabase_store::{Error, ErrorKind};
use tokio::task::JoinError;

use crate::blame::{Blame, Place, What};
use crate::catalog::missing_table;
use crate::panics;
use crate::syntax::shown;
use crate::wording::{Said, said};

/// The longest list of column names that an error repeats.
const MAX_LISTED_FIELDS: usize = 20;

pub(crate) fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

pub(crate) fn conflict(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, text)
}

pub(crate) fn not_found(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::NotFound, text)
}

pub(crate) fn capacity(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Capacity, text)
}

pub(crate) fn unavailable(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, text)
}

/// A background task of this process was stopped or panicked.
pub(crate) fn interrupted(error: &JoinError) -> Error {
    if error.is_panic() {
        return Error::new(
            ErrorKind::Corrupt,
            format!("a background task failed: {error}"),
        );
    }
    unavailable(format!("a background task was stopped: {error}"))
}

/// An error of Arrow's.
pub(crate) fn from_arrow(error: ArrowError) -> Error {
    error_from_datafusion(DataFusionError::from(error))
}

/// Wraps an error so that it travels through DataFusion and comes out of
/// [`error_from_datafusion`] unchanged.
pub fn error_to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Turns a DataFusion error into the workspace's error.
///
/// A netabase error inside is unwrapped with its kind. Of the others, errors of the statement
/// (syntax, schema, types, casts) become `InvalidInput`, exhausted memory or disk quotas `Capacity`,
/// operating system errors `Io`, and interrupted tasks `Unavailable`.
pub fn error_from_datafusion(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(inner) => from_foreign(inner.as_ref()),
        },
        DataFusionError::Context(_, inner) => error_from_datafusion(*inner),
        DataFusionError::Diagnostic(place, inner) => {
            Blame::at(error_from_datafusion(*inner), place.span)
        }
        DataFusionError::Shared(inner) => match Arc::try_unwrap(inner) {
            Ok(inner) => error_from_datafusion(inner),
            Err(shared) => from_shared(&shared),
        },
        DataFusionError::ArrowError(inner, _) => match *inner {
            ArrowError::ExternalError(inner) => from_generic(inner),
            other => in_words(kind_of_arrow(&other), &tidy(&other.to_string())),
        },
        DataFusionError::Collection(errors) => match errors.into_iter().next() {
            Some(first) => error_from_datafusion(first),
            None => unavailable("the query failed without a reason"),
        },
        other => describe(&other),
    }
}

fn from_generic(inner: Box<dyn StdError + Send + Sync>) -> Error {
    match inner.downcast::<DataFusionError>() {
        Ok(inner) => error_from_datafusion(*inner),
        Err(inner) => error_from_datafusion(DataFusionError::External(inner)),
    }
}

/// An error that others hold too: its kind is found by reference.
fn from_shared(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => from_foreign(inner.as_ref()),
        DataFusionError::Context(_, inner) => from_shared(inner),
        DataFusionError::Diagnostic(place, inner) => Blame::at(from_shared(inner), place.span),
        DataFusionError::Shared(inner) => from_shared(inner),
        DataFusionError::Collection(errors) if !errors.is_empty() => from_shared(&errors[0]),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(inner) => from_foreign(inner.as_ref()),
            other => in_words(kind_of_arrow(other), &tidy(&other.to_string())),
        },
        other => describe(other),
    }
}

/// Looks for an error whose kind is known along a chain of sources.
fn from_foreign(error: &(dyn StdError + 'static)) -> Error {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(own) = current.downcast_ref::<Error>() {
            return match Blame::of(own) {
                Some(blame) => Error::because(own.kind(), own.to_string(), blame.clone()),
                None => Error::new(own.kind(), own.to_string()),
            };
        }
        if let Some(inner) = current.downcast_ref::<DataFusionError>() {
            return from_shared(inner);
        }
        if let Some(ArrowError::ExternalError(inner)) = current.downcast_ref::<ArrowError>() {
            return from_foreign(inner.as_ref());
        }
        if let Some(join) = current.downcast_ref::<JoinError>()
            && join.is_panic()
        {
            return panics::failed(&tidy(&join.to_string()));
        }
        if current.is::<ParseIntError>() || current.is::<ParseFloatError>() {
            return in_words(ErrorKind::InvalidInput, &tidy(&current.to_string()));
        }
        if current.is::<std::io::Error>() {
            return Error::new(ErrorKind::Io, tidy(&error.to_string()));
        }
        next = current.source();
    }
    in_words(ErrorKind::Unavailable, &tidy(&error.to_string()))
}

fn kind_of_arrow(error: &ArrowError) -> ErrorKind {
    match error {
        ArrowError::IoError(..) => ErrorKind::Io,
        ArrowError::MemoryError(_)
        | ArrowError::DictionaryKeyOverflowError
        | ArrowError::RunEndIndexOverflowError
        | ArrowError::OffsetOverflowError(_) => ErrorKind::Capacity,
        _ => ErrorKind::InvalidInput,
    }
}

/// Kind and text of an error that wraps no other.
fn describe(error: &DataFusionError) -> Error {
    let kind = match error {
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Capacity,
        DataFusionError::IoError(_) => ErrorKind::Io,
        DataFusionError::ObjectStore(_)
        | DataFusionError::ExecutionJoin(_)
        | DataFusionError::Ffi(_) => ErrorKind::Unavailable,
        _ => ErrorKind::InvalidInput,
    };
    let text = match error {
        DataFusionError::ExecutionJoin(inner) if inner.is_panic() => {
            return panics::failed(&tidy(&inner.to_string()));
        }
        DataFusionError::SchemaError(inner, _) => return schema_error(inner),
        DataFusionError::SQL(inner, _) => return syntax_error(inner),
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::Configuration(text)
        | DataFusionError::ResourcesExhausted(text) => tidy(text),
        DataFusionError::NotImplemented(text) => format!("not supported: {}", tidy(text)),
        DataFusionError::Internal(text) => {
            let text = tidy(text);
            match said(&text) {
                // The engine knows what was wrong after all.
                known if known.what != What::Other => text,
                _ => format!("the query engine failed: {text}"),
            }
        }
        other => tidy(&other.to_string()),
    };
    if let Some(name) = missing_name(&text, "table '", "' not found") {
        return missing_table(&name);
    }
    if let Some(name) = missing_name(&text, "Invalid function '", "'.") {
        let text = format!("function \"{name}\" does not exist");
        return Blame::error(What::Function, name, (ErrorKind::InvalidInput, text));
    }
    in_words(kind, &text)
}

/// An error whose text is that of the engine below.
fn in_words(kind: ErrorKind, text: &str) -> Error {
    // A task of the engine's own that is named in words only.
    if let Some((_, cause)) = text.split_once(" panicked with message ") {
        return panics::failed(cause.trim_matches('"'));
    }
    let Said { text, what, name } = said(text);
    match what {
        What::Other => Error::new(kind, text),
        // Whatever the engine thought of it, the statement is wrong.
        _ => Blame::error(what, name, (ErrorKind::InvalidInput, text)),
    }
}

/// A text that is no SQL.
pub(crate) fn syntax_error(error: &ParserError) -> Error {
    let (ParserError::ParserError(text) | ParserError::TokenizerError(text)) = error else {
        let text = "the statement is nested too deeply; take it apart, with WITH or with a table";
        return Blame::error(What::Refused, "", (ErrorKind::InvalidInput, text));
    };
    let (text, place) = match text.rsplit_once(" at Line: ") {
        Some((text, place)) => (text, place_of(place)),
        None => (text.as_str(), None),
    };
    let text = tidy(text);
    let Some((expected, found)) = text
        .strip_prefix("Expected: ")
        .and_then(|rest| rest.split_once(", found: "))
    else {
        let error = match text.as_str() {
            "Unterminated string literal" => "the text between quotes does not end",
            text if text.starts_with("Expected close delimiter") => {
                "the name in quotes does not end"
            }
            text if text.starts_with("Unexpected EOF while in a multi-line") => {
                "the comment does not end"
            }
            text => text,
        };
        let error = format!("syntax error: {error}");
        return match place {
            Some(_) => Blame::syntax(place, error),
            None => Blame::error(What::Refused, "", (ErrorKind::InvalidInput, error)),
        };
    };
    let expected = match expected {
        "end of statement" => "the end of the statement",
        "identifier" => "a name",
        "option" => "an option",
        "SELECT, VALUES, or a subquery in the query body" => "SELECT, VALUES or a subquery",
        expected if expected.ends_with(" after DROP") => "TABLE or INDEX after DROP",
        expected => expected,
    };
    Blame::syntax(
        place,
        match (expected, found) {
            ("an SQL statement", word) if word != "EOF" => {
                format!("syntax error: no statement begins with \"{word}\"")
            }
            (_, "EOF") => format!("syntax error: expected {expected}, but the text ends here"),
            _ => format!("syntax error: expected {expected}, found \"{found}\""),
        },
    )
}

/// The numbers in "1, Column: 8".
fn place_of(text: &str) -> Option<Place> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Place {
        line: line.trim().parse().ok()?,
        column: column.trim().parse().ok()?,
    })
}

/// A name that is wrong, with the one that it may have been meant to be.
fn schema_error(error: &SchemaError) -> Error {
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = error
    else {
        return in_words(ErrorKind::InvalidInput, &tidy(&error.to_string()));
    };
    if std::iter::once(field.as_ref())
        .chain(valid_fields)
        .any(is_of_subquery)
    {
        let text = "this use of a subquery that refers to the rows around it is not supported: refer to them in its \
                    own WHERE, not in a query inside of it, in a row or in the ON of a join, or write it as a join";
        return Blame::error(What::Refused, "", (ErrorKind::InvalidInput, text));
    }
    let name = Plain(&field.flat_name()).to_string();
    let is_hidden = |other: &Column| other.name != field.name && shown(&other.name) == field.name;
    if valid_fields.iter().any(is_hidden) {
        let text = format!(
            "column \"{name}\" is ambiguous: the query has several of this name; give them different \
             ones with AS"
        );
        return Blame::error(What::Name, name, (ErrorKind::InvalidInput, text));
    }
    let mut text = format!("column \"{name}\" does not exist");
    // The suggestion is only part of DataFusion's own text.
    let full = error.to_string();
    let suggested = full
        .split_once("Did you mean '")
        .and_then(|(_, rest)| rest.split_once("'?"));
    if let Some((near, _)) = suggested {
        text.push_str(&format!("; did you mean \"{}\"?", Plain(near)));
    } else if !valid_fields.is_empty() {
        let listed = valid_fields.iter().take(MAX_LISTED_FIELDS);
        let names: Vec<String> = listed.map(|f| Plain(&f.flat_name()).to_string()).collect();
        let more = if valid_fields.len() > MAX_LISTED_FIELDS {
            ", …"
        } else {
            ""
        };
        text.push_str(&format!("; there are {}{more}", names.join(", ")));
    }
    Blame::error(What::Name, name, (ErrorKind::InvalidInput, text))
}

/// Whether the planner made a column for a subquery that it makes a join of.
fn is_of_subquery(column: &Column) -> bool {
    let source = column.relation.as_ref().map(|source| source.table());
    column.name == "__always_true"
        || source.is_some_and(|name| {
            name.starts_with("__correlated_sq_") || name.starts_with("__scalar_sq_")
        })
}

/// A name without quotes and without the catalog that every table shares.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.0.replace('"', "");
        let bare = bare.strip_prefix("netabase.").unwrap_or(&bare);
        f.write_str(bare.strip_prefix("public.").unwrap_or(bare))
    }
}

/// The name in texts like DataFusion's "table 'a.b.c' not found".
fn missing_name(text: &str, before: &str, after: &str) -> Option<String> {
    let (name, _) = text.strip_prefix(before)?.split_once(after)?;
    Some(Plain(name).to_string())
}

/// Strips the prefixes that each layer of the engine adds, and what follows the first paragraph.
fn tidy(text: &str) -> String {
    const NOISE: [&str; 14] = [
        "Error during planning: ",
        "Execution error: ",
        "Optimizer rule ",
        "Schema error: ",
        "SQL error: ",
        "Arrow error: ",
        "Parquet error: ",
        "External error: ",
        "External: ",
        "Invalid argument error: ",
        "Cast error: ",
        "Compute error: ",
        "Parser error: ",
        "This feature is not implemented: ",
    ];
    let mut rest = text.trim();
    while let Some(shorter) = NOISE.iter().find_map(|noise| rest.strip_prefix(noise)) {
        // "Optimizer rule 'x' failed" is followed by the cause.
        rest = match shorter.split_once("failed") {
            Some((rule, cause)) if rule.starts_with('\'') => cause.trim_start_matches(['\n', ' ']),
            _ => shorter.trim_start(),
        };
        rest = rest.strip_prefix("caused by").unwrap_or(rest).trim_start();
    }
    let rest = rest.split("\n\nbacktrace").next().unwrap_or(rest);
    let rest = rest
        .split("\nThis issue was likely caused by")
        .next()
        .unwrap_or(rest);
    null_text(rest).unwrap_or_else(|| rest.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Arrow's message for a NULL where none may be.
fn null_text(text: &str) -> Option<String> {
    let rest = text.strip_prefix("Column '")?;
    let (name, rest) = rest.split_once('\'')?;
    let known = rest.contains("declared as non-nullable but contains null");
    known.then(|| format!("column \"{name}\" must not be NULL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_error_keeps_its_kind_and_text() {
        let own = || error_to_datafusion(Error::new(ErrorKind::Conflict, "twice"));
        let shared = Arc::new(own());
        let kept = DataFusionError::Shared(Arc::clone(&shared));
        let wrapped = [
            own(),
            own().context("joining"),
            kept,
            DataFusionError::Shared(Arc::new(own())),
            DataFusionError::from(ArrowError::ExternalError(Box::new(own()))),
            DataFusionError::from(ArrowError::from(own())),
        ];
        for error in wrapped {
            let error = error_from_datafusion(error);
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert_eq!(error.to_string(), "twice");
        }
        drop(shared);
    }

    #[test]
    fn prefixes_of_layers_are_dropped() {
        let error = DataFusionError::Plan("Error during planning: no such thing".to_string());
        assert_eq!(error_from_datafusion(error).to_string(), "no such thing");
        let error = DataFusionError::ResourcesExhausted("too big".to_string());
        assert_eq!(error_from_datafusion(error).kind(), ErrorKind::Capacity);
        let error = DataFusionError::Plan("table 'netabase.public.x' not found".to_string());
        let error = error_from_datafusion(error);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), "table \"x\" does not exist");
    }
}
