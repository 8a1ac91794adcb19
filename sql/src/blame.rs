//! What an error is about.
//!
//! Purpose: whoever finds that something is wrong knows its name or its place, but not the text of
//! the statement; whoever has the text can show the place. A [`Blame`] travels from the one to the
//! other as the source of a [`netabase_store::Error`].
//!
//! Non-goal: texts for people.

use std::error::Error as StdError;
use std::fmt;

use datafusion::common::Span;
use datafusion::sql::sqlparser::tokenizer::Location;
use netabase_store::{Error, ErrorKind};

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A table that does not exist.
    Table,
    /// A function that does not exist.
    Function,
    /// A function with wrong arguments.
    Call,
    /// A setting that does not exist.
    Setting,
    /// Any other name: of a column, an index, an option.
    Name,
    /// A value, as its text stands between quotes.
    Value,
    /// A type of columns.
    Type,
    /// The grammar.
    Syntax,
    /// Something that is understood, but not supported.
    Refused,
    /// Something else, known by its place alone.
    Other,
}

/// A place in a text: line and column, both counted in characters from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl Place {
    /// `None` for what the parser made up.
    pub(crate) fn of(location: Location) -> Option<Self> {
        let known = location.line > 0 && location.column > 0;
        known.then_some(Self {
            line: location.line,
            column: location.column,
        })
    }
}

/// What an error is about.
#[derive(Debug, Clone)]
pub(crate) struct Blame {
    pub(crate) what: What,
    /// Empty where there is none.
    pub(crate) name: String,
    pub(crate) place: Option<Place>,
}

impl Blame {
    pub(crate) fn of(error: &Error) -> Option<&Self> {
        error.source().and_then(|source| source.downcast_ref())
    }

    /// An error about something with a name.
    pub(crate) fn error(
        what: What,
        name: impl Into<String>,
        (kind, text): (ErrorKind, impl Into<String>),
    ) -> Error {
        let blame = Self {
            what,
            name: name.into(),
            place: None,
        };
        Error::because(kind, text, blame)
    }

    /// A statement that breaks the grammar.
    pub(crate) fn syntax(place: Option<Place>, text: impl Into<String>) -> Error {
        let blame = Self {
            what: What::Syntax,
            name: String::new(),
            place,
        };
        Error::because(ErrorKind::InvalidInput, text, blame)
    }

    /// The same error at a place, as a mistake of the grammar if nobody is blamed yet.
    pub(crate) fn here(error: Error, place: Option<Place>) -> Error {
        let blame = Self::of(&error).cloned();
        let mut blame = blame.unwrap_or(Self {
            what: What::Syntax,
            name: String::new(),
            place: None,
        });
        blame.place = blame.place.or(place);
        Error::because(error.kind(), error.to_string(), blame)
    }

    /// The same error at a place that DataFusion knows.
    pub(crate) fn at(error: Error, span: Option<Span>) -> Error {
        let place = span.and_then(|span| {
            Place::of(Location {
                line: span.start.line,
                column: span.start.column,
            })
        });
        let blame = Self::of(&error).cloned();
        let mut blame = blame.unwrap_or(Self {
            what: What::Other,
            name: String::new(),
            place: None,
        });
        blame.place = blame.place.or(place);
        Error::because(error.kind(), error.to_string(), blame)
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} \"{}\"", self.what, self.name)?;
        match self.place {
            Some(place) => write!(f, " at line {}, column {}", place.line, place.column),
            None => Ok(()),
        }
    }
}

impl StdError for Blame {}
