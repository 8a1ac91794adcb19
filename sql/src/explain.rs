//! Errors with the text of their statement: the line and a caret, near names, the page to read.
//!
//! Invariant: a caret stands under what is wrong, or there is none. A name that is only known by
//! itself is pointed at when the statement has it once.
//!
//! Non-goal: finding out what is wrong; see [`Blame`].

use std::collections::BTreeSet;

use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::{GenericDialect, dialect_from_str};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use netabase_store::{Error, Store};

use crate::blame::{Blame, Place, What};
use crate::functions::is_internal;
use crate::near::{hint, hints, near};
use crate::statement::ident_of_word;

/// Texts beyond this length are not looked through for names: 1 MiB.
const MAX_SEARCHED: usize = 1 << 20;
/// How many tokens back from where the grammar breaks a misspelt keyword is looked for.
const TOKENS_BACK: usize = 3;
/// The shortest word that may be a misspelt keyword.
const MIN_KEYWORD: usize = 4;

/// The pages about statements, by the words that these begin with; the first that fits counts.
pub(crate) const PAGES: &[(&[&str], &str)] = &[
    (&["INSERT"], "docs/sql/insert.md"),
    (&["UPDATE"], "docs/sql/update.md"),
    (&["DELETE"], "docs/sql/delete.md"),
    (&["MERGE"], "docs/sql/merge.md"),
    (&["TRUNCATE"], "docs/sql/truncate.md"),
    (&["COPY"], "docs/sql/copy.md"),
    (&["SELECT"], "docs/sql/select.md"),
    (&["WITH"], "docs/sql/select.md"),
    (&["VALUES"], "docs/sql/select.md"),
    (&["CREATE", "VIEW"], "docs/sql/create-view.md"),
    (&["REFRESH"], "docs/sql/create-view.md"),
    (&["CREATE", "TABLE"], "docs/sql/create-table.md"),
    (&["CREATE", "INDEX"], "docs/indexes.md"),
    (&["CREATE", "SCHEMA"], "docs/sql/schemas.md"),
    (&["ALTER", "TABLE"], "docs/sql/alter-table.md"),
    (&["DROP", "INDEX"], "docs/indexes.md"),
    (&["DROP", "SCHEMA"], "docs/sql/schemas.md"),
    (&["DROP"], "docs/sql/drop.md"),
    (&["COMMENT"], "docs/sql/comment.md"),
    (&["EXPLAIN"], "docs/sql/explain.md"),
    (&["PREPARE"], "docs/sql/prepare.md"),
    (&["EXECUTE"], "docs/sql/prepare.md"),
    (&["DEALLOCATE"], "docs/sql/prepare.md"),
    (&["SET"], "docs/sql/settings.md"),
    (&["RESET"], "docs/sql/settings.md"),
    (&["SHOW"], "docs/sql/show.md"),
    (&["DESCRIBE"], "docs/sql/show.md"),
    (&["BEGIN"], "docs/sql/transactions.md"),
    (&["START"], "docs/sql/transactions.md"),
    (&["COMMIT"], "docs/sql/transactions.md"),
    (&["ROLLBACK"], "docs/sql/transactions.md"),
    (&["SAVEPOINT"], "docs/sql/transactions.md"),
    (&["RELEASE"], "docs/sql/transactions.md"),
];
/// How many words of a statement tell which it is: CREATE OR REPLACE MATERIALIZED VIEW.
const TELLING_WORDS: usize = 5;
/// The page that lists all statements.
const ALL_PAGE: &str = "docs/sql/README.md";
/// The page about functions and the one about types, where there are any.
pub(crate) const FUNCTIONS_PAGE: Option<&str> = Some("docs/sql/functions.md");
pub(crate) const TYPES_PAGE: Option<&str> = Some("docs/sql/values.md");

/// Names of types.
const TYPES: &[&str] = &[
    "bigint",
    "boolean",
    "bytea",
    "char",
    "date",
    "decimal",
    "double",
    "float",
    "int",
    "integer",
    "interval",
    "numeric",
    "real",
    "smallint",
    "string",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "tinyint",
    "varchar",
];
/// Words that a statement begins with.
const STATEMENTS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CHECKPOINT",
    "COMMIT",
    "COMPACT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DELETE",
    "DESCRIBE",
    "DROP",
    "EXECUTE",
    "EXPLAIN",
    "INSERT",
    "MERGE",
    "PREPARE",
    "RESET",
    "ROLLBACK",
    "SELECT",
    "SET",
    "SHOW",
    "TABLE",
    "TRUNCATE",
    "UPDATE",
    "VALUES",
    "WITH",
];
/// Words within statements that are often misspelt, because the parser takes the result for a name.
const CLAUSES: &[&str] = &[
    "BETWEEN",
    "CREATE",
    "DELETE",
    "DISTINCT",
    "EXCEPT",
    "EXISTS",
    "FROM",
    "GROUP",
    "HAVING",
    "INNER",
    "INTERSECT",
    "INTO",
    "JOIN",
    "LEFT",
    "LIMIT",
    "OFFSET",
    "ORDER",
    "OUTER",
    "PRIMARY",
    "RIGHT",
    "SELECT",
    "TABLE",
    "UNION",
    "UPDATE",
    "USING",
    "VALUES",
    "WHERE",
    "WITH",
];

/// Adds to an error what the text of the statement tells, and the names that exist. `statement` is
/// the statement's number in the text, from 0 on; `None` while the text is parsed.
pub(crate) fn explain(
    error: Error,
    (text, statement): (&str, Option<usize>),
    (context, store): (&SessionContext, &Store),
) -> Error {
    let Some(blame) = Blame::of(&error).cloned() else {
        return error;
    };
    let words = Words::of(text, context);
    let place = words.place(&blame, statement);
    let mut said = error.to_string();
    if blame.what == What::Function
        && let Some(known) = misused_function(&blame.name, context)
    {
        said = known;
    } else if !said.contains("did you mean") {
        said.push_str(&match blame.what {
            What::Table => hint(&blame.name, table_names(store)),
            What::Function => hints(&blame.name, function_names(context)),
            What::Setting => setting_hint(&blame.name, context),
            What::Type => hint(&blame.name, TYPES.iter().copied()),
            What::Syntax => words.misspelt(place).unwrap_or_default(),
            _ => String::new(),
        });
    }
    if let Some(place) = place {
        said.push('\n');
        said.push_str(&crate::caret::shown(text, place));
    }
    let page = match blame.what {
        What::Function | What::Call => FUNCTIONS_PAGE,
        What::Type => TYPES_PAGE,
        What::Syntax => words.page(place, statement),
        What::Refused => words.page(place, statement).or(Some(ALL_PAGE)),
        _ => None,
    };
    if let Some(page) = page {
        said.push_str(&format!("\nsee {page}"));
    }
    Error::new(error.kind(), said)
}

/// What is wrong with a function that exists.
fn misused_function(name: &str, context: &SessionContext) -> Option<String> {
    let state = context.state();
    let called = state.scalar_functions().contains_key(name)
        || state.aggregate_functions().contains_key(name);
    if called {
        return Some(format!(
            "functions have no schema: call \"{name}\" by its name alone"
        ));
    }
    let window = state.window_functions().contains_key(name);
    window.then(|| format!("\"{name}\" is a window function: write {name}(…) OVER (…)"))
}

/// The near settings, by their whole names or by the last part of these.
fn setting_hint(name: &str, context: &SessionContext) -> String {
    let entries = context.state().config_options().entries();
    let whole: Vec<String> = entries.into_iter().map(|entry| entry.key).collect();
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let parts = whole.iter().map(|key| last(key));
    match near(&last(name), parts, 1).first() {
        Some(part) => match whole.iter().find(|key| last(key) == *part) {
            Some(key) => format!("; did you mean \"{key}\"?"),
            None => String::new(),
        },
        None => String::new(),
    }
}

fn table_names(store: &Store) -> Vec<String> {
    let tables = store.tables();
    let live = tables.iter().filter(|def| def.dropped.is_none());
    live.map(|def| def.name.clone()).collect()
}

fn function_names(context: &SessionContext) -> BTreeSet<String> {
    let state = context.state();
    let scalar = state.scalar_functions().keys();
    let scalar = scalar.filter(|name| !is_internal(name));
    let aggregate = state.aggregate_functions().keys();
    let window = state.window_functions().keys();
    let table = state.table_functions().keys();
    let all = scalar.chain(aggregate).chain(window).chain(table);
    all.cloned().collect()
}

/// The tokens of a text, statement by statement, without what separates them.
struct Words {
    statements: Vec<Vec<TokenWithSpan>>,
    end: Option<Place>,
}

impl Words {
    fn of(text: &str, context: &SessionContext) -> Self {
        let dialect = context.state().config_options().sql_parser.dialect;
        let dialect = dialect_from_str(dialect).unwrap_or_else(|| Box::new(GenericDialect {}));
        let mut tokens = Vec::new();
        if text.len() <= MAX_SEARCHED {
            // Of a text that cannot be cut into tokens the ones before the error are kept.
            let mut tokenizer = Tokenizer::new(dialect.as_ref(), text);
            let _ = tokenizer.tokenize_with_location_into_buf(&mut tokens);
        }
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        let last = tokens.iter().rev().find(|t| t.token != Token::EOF);
        let end = last.and_then(|token| Place::of(token.span.end));
        let parts = tokens.split(|token| token.token == Token::SemiColon);
        Self {
            statements: parts
                .filter(|part| !part.is_empty())
                .map(<[TokenWithSpan]>::to_vec)
                .collect(),
            end,
        }
    }

    /// Where the error is.
    fn place(&self, blame: &Blame, statement: Option<usize>) -> Option<Place> {
        if let Some(place) = blame.place {
            if blame.name.is_empty() || self.holds(place, &blame.name) {
                return Some(place);
            }
            // It is one in a text that the statement holds, and that is planned by itself.
            return self.only(blame, self.definition(statement?)?);
        }
        match blame.what {
            // The text ends too early.
            What::Syntax => self.end,
            What::Refused | What::Other => None,
            _ => self.only(blame, self.statements.get(statement?)?),
        }
    }

    /// A statement that makes something of texts in it.
    fn definition(&self, statement: usize) -> Option<&[TokenWithSpan]> {
        let tokens = self.statements.get(statement)?;
        let first = &tokens.first()?.token;
        let defines = is_keyword(first, Keyword::CREATE) || is_keyword(first, Keyword::ALTER);
        defines.then_some(tokens)
    }

    /// Whether what stands at a place is one of the parts of a name.
    fn holds(&self, place: Place, name: &str) -> bool {
        let mut tokens = self.statements.iter().flatten();
        let token = tokens.find(|token| Place::of(token.span.start) == Some(place));
        let word = token.and_then(|token| ident_of_word(&token.token));
        word.is_some_and(|word| name == word || name.split('.').any(|part| part == word))
    }

    /// The only place in a statement of what is blamed by its name.
    fn only(&self, blame: &Blame, tokens: &[TokenWithSpan]) -> Option<Place> {
        let last = blame.name.rsplit('.').next().unwrap_or_default();
        let reads = |token: &TokenWithSpan| is_keyword(&token.token, Keyword::FROM);
        if blame.what == What::Value && tokens.iter().any(reads) {
            // The same value may be one of the rows.
            return None;
        }
        let is_it = |token: &&TokenWithSpan| match (&token.token, blame.what) {
            (Token::SingleQuotedString(text), What::Value) => *text == blame.name,
            (Token::Number(text, _), What::Value) => *text == blame.name,
            (_, What::Value) => false,
            (token, _) => {
                ident_of_word(token).is_some_and(|word| word == blame.name || word == last)
            }
        };
        let mut found = tokens.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(token), None) => Place::of(token.span.start),
            _ => None,
        }
    }

    /// The page about the statement that is at a place, or has a number.
    fn page(&self, place: Option<Place>, statement: Option<usize>) -> Option<&'static str> {
        let before = |token: &&TokenWithSpan| {
            let start = token.span.start;
            place.is_some_and(|place| (start.line, start.column) <= (place.line, place.column))
        };
        let tokens = match statement {
            Some(number) => self.statements.get(number)?,
            None => {
                let begun = |part: &&Vec<TokenWithSpan>| part.first().is_some_and(|t| before(&t));
                self.statements.iter().rev().find(begun)?
            }
        };
        let first: Vec<String> = tokens
            .iter()
            .take(TELLING_WORDS)
            .map(|token| token.token.to_string().to_uppercase())
            .collect();
        let fits = |words: &&(&[&str], &str)| match words.0 {
            [] => false,
            [one, others @ ..] => {
                first.first().is_some_and(|word| word == one)
                    && others
                        .iter()
                        .all(|other| first.iter().any(|word| word == other))
            }
        };
        PAGES.iter().find(fits).map(|(_, page)| *page)
    }

    /// A word before the place, or there, that looks like another.
    fn misspelt(&self, place: Option<Place>) -> Option<String> {
        let place = place?;
        let tokens = self.statements.iter().find_map(|tokens| {
            let at = tokens
                .iter()
                .position(|token| Place::of(token.span.start) == Some(place))
                .or_else(|| (Some(place) == self.end).then(|| tokens.len().saturating_sub(1)))?;
            Some((tokens, at))
        });
        let (tokens, at) = tokens?;
        for back in 0..=TOKENS_BACK.min(at) {
            let Token::Word(word) = &tokens.get(at - back)?.token else {
                continue;
            };
            let starts = at == back;
            let known = if starts { STATEMENTS } else { CLAUSES };
            let upper = word.value.to_uppercase();
            let quoted = word.quote_style.is_some();
            if quoted || upper.len() < MIN_KEYWORD || known.contains(&upper.as_str()) {
                continue;
            }
            if let Some(keyword) = near(&upper, known.iter().copied(), 1).first()
                && (starts || is_one_slip(&upper, keyword))
            {
                return Some(match back {
                    0 => format!("; did you mean {keyword}?"),
                    _ => format!("; did you mean {keyword} instead of \"{}\"?", word.value),
                });
            }
        }
        None
    }
}

/// Within statements, where names may be anything, a keyword is one slip away.
fn is_one_slip(word: &str, keyword: &str) -> bool {
    // A plural is a name, as in FROM orders.
    strsim::damerau_levenshtein(word, keyword) == 1 && !word.starts_with(keyword)
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword && word.quote_style.is_none())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_page_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let pages = PAGES.iter().map(|(_, page)| *page);
        for page in pages.chain(FUNCTIONS_PAGE).chain(TYPES_PAGE) {
            assert!(root.join(page).is_file(), "{page} does not exist");
        }
    }
}
