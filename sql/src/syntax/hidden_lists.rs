//! Long lists of literals, which the walks over a statement pass by.
//!
//! Idea: thousands of numbers or texts in an IN name no table, no column and no query, and still each walk visits each of
//! them. So they are taken out while what else the statement says is looked at and written out, and put back before it is
//! planned. Invariant: only lists in the conditions of the outermost SELECTs are taken, which no walk copies, plans by itself
//! or names a column by; where one was stands a literal that no text has.

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Statement as SqlStatement, UnaryOperator, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::selects_of;
use crate::provenance::sql_of;

/// The most literals of a list that stay where they are.
const SHORT: usize = 64;
/// The line where literals stand that are in a list's place; their column is the list's number.
const NOWHERE: u64 = u64::MAX;

/// The lists that were taken out of a statement.
#[derive(Debug, Clone, Default)]
pub(crate) struct HiddenLists(Vec<Vec<Expr>>);

impl HiddenLists {
    /// Takes them out of a statement, or of the one that is explained.
    pub(crate) fn taken_from(statement: &mut Statement) -> Self {
        let mut taken = Vec::new();
        for list in lists_of(statement) {
            if list.len() > SHORT && list.iter().all(is_literal) {
                let mark = mark(taken.len());
                taken.push(std::mem::replace(list, vec![mark]));
            }
        }
        Self(taken)
    }

    /// Puts them back into the statement, or into a copy of it. Fails if the place of one is gone, or is there twice.
    pub(crate) fn put_back(self, statement: &mut Statement) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut lists: Vec<Option<Vec<Expr>>> = self.0.into_iter().map(Some).collect();
        let mut fit = true;
        for list in lists_of(statement) {
            let Some(number) = number_of(list) else {
                continue;
            };
            match lists.get_mut(number).and_then(Option::take) {
                Some(taken) => *list = taken,
                None => fit = false,
            }
        }
        match fit && lists.iter().all(Option::is_none) {
            true => Ok(()),
            false => plan_err!(
                "a long list of values in IN has no place any more: put the values into VALUES, and write IN \
                 (SELECT …)"
            ),
        }
    }
}

/// The lists of IN that the conditions of a query's own SELECTs consist of.
fn lists_of(statement: &mut Statement) -> Vec<&mut Vec<Expr>> {
    let Some(SqlStatement::Query(query)) = sql_of(statement) else {
        return Vec::new();
    };
    let selects = selects_of(&mut query.body).into_iter();
    let conditions = selects.filter_map(|select| select.selection.as_mut());
    let mut open: Vec<&mut Expr> = conditions.collect();
    let mut lists = Vec::new();
    while let Some(expr) = open.pop() {
        match expr {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And | BinaryOperator::Or,
                right,
            } => open.extend([left.as_mut(), right.as_mut()]),
            Expr::Nested(expr)
            | Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            } => open.push(expr),
            Expr::InList { list, .. } => lists.push(list),
            _ => {}
        }
    }
    lists
}

/// Whether it is a number or a text as it was written.
fn is_literal(expr: &Expr) -> bool {
    let value = match expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => expr.as_ref(),
        expr => expr,
    };
    let Expr::Value(value) = value else {
        return false;
    };
    matches!(
        value.value,
        Value::Number(..) | Value::SingleQuotedString(_)
    )
}

/// What stands in the place of a list.
fn mark(number: usize) -> Expr {
    let place = Location::new(NOWHERE, number as u64);
    Expr::Value(ValueWithSpan {
        value: Value::Null,
        span: Span::new(place, place),
    })
}

fn number_of(list: &[Expr]) -> Option<usize> {
    match list {
        [Expr::Value(value)] if value.span.start.line == NOWHERE => {
            usize::try_from(value.span.start.column).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use datafusion::sql::parser::DFParser;

    use super::*;

    fn parsed(text: &str) -> Statement {
        let mut parsed: VecDeque<Statement> = DFParser::parse_sql(text).unwrap();
        parsed.pop_front().unwrap()
    }

    fn long(first: i64) -> String {
        let values = (0..100).map(|value| (first - value).to_string());
        values.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn lists_come_back_to_their_places() {
        let text = format!(
            "SELECT * FROM t WHERE NOT (a IN ({}) OR c = 1) AND b NOT IN ({}) UNION SELECT * FROM u WHERE a IN ({})",
            long(500),
            long(7),
            long(-3).replace(", ", "', '").replace("-3'", "'-3'") + "'"
        );
        let written = parsed(&text);
        for prefix in ["", "EXPLAIN "] {
            let written = parsed(&format!("{prefix}{text}"));
            let mut statement = written.clone();
            let lists = HiddenLists::taken_from(&mut statement);
            assert_eq!(lists.0.len(), 3);
            assert!(statement.to_string().len() < 200, "{statement}");
            let mut copy = statement.clone();
            lists.clone().put_back(&mut copy).unwrap();
            assert_eq!(copy.to_string(), written.to_string());
            lists.put_back(&mut statement).unwrap();
            assert_eq!(statement, written);
        }
        assert!(written.to_string().len() > 1000);
    }

    #[test]
    fn what_may_say_more_stays() {
        let list = long(500);
        for text in [
            format!("SELECT * FROM t WHERE a IN ({list}, b)"),
            format!("SELECT * FROM t WHERE a IN ({list}, $1)"),
            format!("SELECT * FROM t WHERE a IN ({list}, (SELECT 1))"),
            format!("SELECT * FROM t WHERE a IN ({list}, NULL)"),
            format!("SELECT a IN ({list}) FROM t"),
            format!("SELECT * FROM (SELECT * FROM t WHERE a IN ({list})) AS s"),
            format!("SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE a IN ({list}))"),
            format!("SELECT * FROM t LIMIT (SELECT count(*) FROM u WHERE a IN ({list}))"),
            format!("DELETE FROM t WHERE a IN ({list})"),
            "SELECT * FROM t WHERE a IN (1, 2, 3)".to_owned(),
            "SELECT * FROM t WHERE a IN (NULL)".to_owned(),
        ] {
            let written = parsed(&text);
            let mut statement = written.clone();
            let lists = HiddenLists::taken_from(&mut statement);
            assert!(lists.0.is_empty(), "{text}");
            assert_eq!(statement, written);
            lists.put_back(&mut statement).unwrap();
            assert_eq!(statement, written);
        }
    }

    #[test]
    fn a_place_that_is_gone_or_doubled_is_told() {
        let text = format!("SELECT * FROM t WHERE a IN ({})", long(500));
        let mut statement = parsed(&text);
        let lists = HiddenLists::taken_from(&mut statement);
        let gone = lists.clone().put_back(&mut parsed("SELECT * FROM t"));
        assert!(gone.unwrap_err().to_string().contains("no place"));
        let Some(SqlStatement::Query(query)) = sql_of(&mut statement) else {
            panic!("a query");
        };
        for select in selects_of(&mut query.body) {
            let condition = select.selection.clone().unwrap();
            select.selection = Some(Expr::BinaryOp {
                left: Box::new(condition.clone()),
                op: BinaryOperator::Or,
                right: Box::new(condition),
            });
        }
        let doubled = lists.put_back(&mut statement);
        assert!(doubled.unwrap_err().to_string().contains("no place"));
    }
}
