//! The text of expressions and queries that definitions keep.
//!
//! Idea: what was read is written out again, and read once more. Invariant: the text that is kept means what
//! was written, or it is refused. sqlparser writes a quote that stands beside another one as it is, because
//! it may be doubled already; such literals are written with escapes.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{Expr, Query, Value, ValueWithSpan, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use netabase_store::Error;

use super::NetabaseDialect;
use crate::chain;
use crate::error::{error_from_datafusion, invalid};

/// Reads an expression.
pub(crate) fn read_expr(text: &str) -> Result<Expr, Error> {
    read(text, |parser| parser.parse_expr())
}

/// The text of an expression.
pub(crate) fn kept_expr(expr: &Expr) -> Result<String, Error> {
    kept(expr, read_expr)
}

/// The text of a query.
pub(crate) fn kept_query(query: &Query) -> Result<String, Error> {
    kept(query, |text| {
        read(text, |parser| parser.parse_query().map(|query| *query))
    })
}

fn read<T>(
    text: &str,
    read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, Error> {
    let wrong = |error| error_from_datafusion(DataFusionError::from(error));
    let parser = Parser::new(&NetabaseDialect).try_with_sql(text);
    let tokens = parser.map_err(wrong)?.into_tokens();
    chain::check(text, &tokens)?;
    let mut parser = Parser::new(&NetabaseDialect).with_tokens_with_locations(tokens);
    read(&mut parser).map_err(wrong)
}

fn kept<T: Clone + Display + PartialEq + VisitMut>(
    written: &T,
    read: impl FnOnce(&str) -> Result<T, Error>,
) -> Result<String, Error> {
    let mut written = written.clone();
    // It never breaks off.
    let _ = written.visit(&mut Escape);
    let text = written.to_string();
    match read(&text) {
        Ok(again) if again == written => Ok(text),
        _ => Err(invalid(format!(
            "{text} cannot be kept in a definition, because it would be read as something else: write it \
             in another way, without quotes inside of names"
        ))),
    }
}

/// Lets literals be written with escapes where they would be read as others.
struct Escape;

impl VisitorMut for Escape {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::SingleQuotedString(text) = &value.value
            && value.value.to_string() != format!("'{}'", text.replace('\'', "''"))
        {
            value.value = Value::EscapedStringLiteral(text.clone());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_means_what_was_written() {
        for text in [
            "'a''''b'",
            "''''''",
            r"'a\''b'",
            "'it''s'",
            r#"replace(s, '''''', '"')"#,
            r"E'a\nb' || x",
            "doc ->> 'first' || '!'",
            "a.b[1]['c'] = 1",
            "s LIKE '%''''' ESCAPE '!'",
            "CASE WHEN a > 0 THEN 'x''''' ELSE NULL END",
            "CAST(a AS DECIMAL(9, 2)) IS NOT DISTINCT FROM -1.50",
        ] {
            let expr = read_expr(text).unwrap();
            let kept = kept_expr(&expr).unwrap();
            let again = read_expr(&kept).unwrap();
            let value = |expr: &Expr| match expr {
                Expr::Value(value) => value.value.clone().into_string(),
                _ => None,
            };
            assert_eq!(value(&again), value(&expr), "{text}: {kept}");
        }
        let name = read_expr(r#""a""""b" > 0"#).unwrap();
        assert!(kept_expr(&name).is_err());
        let query = r#"SELECT replace(s, '''''', '"') FROM t WHERE x = 'a''''' ORDER BY 1 LIMIT 3"#;
        let query = read(query, |parser| parser.parse_query()).unwrap();
        let kept = kept_query(&query).unwrap();
        assert!(kept.contains(r"E'\'\''"), "{kept}");
    }
}
