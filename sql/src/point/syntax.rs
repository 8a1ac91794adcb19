//! Statements that may take the point path, by their syntax.
//!
//! Invariant: a statement is recognised only if all of it is known here. That is checked from the other
//! end, too: put together again from the parts that were understood, it must give the same text as the
//! parsed statement, so that a clause this module has never heard of is not passed over.
//! Non-goal: names and types; they are looked up in `plan`.

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, Delete, Expr, FromTable, Insert, LimitClause,
    ObjectName, Query, SelectItem, SetExpr, Statement, TableFactor, TableObject, TableWithJoins,
    UnaryOperator, Update, Value,
};

use super::shape::number;
use crate::statement::{TableName, ident_of, table_name};

/// The most rows of an INSERT.
const MAX_ROWS: usize = 64;

/// A value that a statement names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// The parameter of this number, from 0.
    Param(usize),
    /// The number in this parameter, negated.
    Negative(usize),
    Value(ScalarValue),
}

/// What a column is set to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SetTo {
    Value(Operand),
    /// A column and what is added to it.
    Plus(String, Operand),
    /// A column and what is taken from it.
    Minus(String, Operand),
}

/// `column = value`.
pub(crate) type Equal = (String, Operand);

/// What a statement does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Select {
        /// Columns and what they are called; `None`: all.
        columns: Option<Vec<(String, String)>>,
        equal: Vec<Equal>,
        limit: Option<Operand>,
    },
    Insert {
        /// `None`: all.
        columns: Option<Vec<String>>,
        rows: Vec<Vec<Operand>>,
    },
    Update {
        set: Vec<(String, SetTo)>,
        equal: Vec<Equal>,
    },
    Delete {
        equal: Vec<Equal>,
    },
}

/// The table of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PointTable {
    /// Its name without a schema, if the statement gives none.
    pub(crate) bare: Option<String>,
    /// The name under which the store knows it, if that is in `public`.
    pub(crate) stored: String,
}

/// A statement that may take the point path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PointStatement {
    pub(crate) table: PointTable,
    pub(crate) action: Action,
}

/// Reads statements. `shape`: placeholders stand for literals, so that a minus may be before them.
pub(crate) fn recognise(statement: &Statement, shape: bool) -> Option<PointStatement> {
    let reader = Reader { shape };
    match statement {
        Statement::Query(query) => reader.select(query),
        Statement::Insert(insert) => reader.insert(insert),
        Statement::Update(update) => reader.update(update),
        Statement::Delete(delete) => reader.delete(delete),
        _ => None,
    }
}

/// The table of a statement, and how its columns may be qualified.
struct Table {
    name: PointTable,
    qualifier: String,
}

impl Table {
    fn of(from: &TableWithJoins) -> Option<Self> {
        let TableFactor::Table { name, alias, .. } = &from.relation else {
            return None;
        };
        let mut text = name.to_string();
        let mut qualifier = name.0.last()?.as_ident().map(ident_of)?;
        if let Some(alias) = alias {
            text += &format!(" {alias}");
            if !alias.columns.is_empty() {
                return None;
            }
            qualifier = ident_of(&alias.name);
        }
        if from.to_string() != text {
            return None;
        }
        Some(Self {
            name: PointTable::of(name)?,
            qualifier,
        })
    }

    /// The column that an expression names.
    fn column(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Identifier(ident) => Some(ident_of(ident)),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] if ident_of(table) == self.qualifier => Some(ident_of(column)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl PointTable {
    fn of(name: &ObjectName) -> Option<Self> {
        match table_name(name) {
            Ok(TableName::Table(stored)) => Some(Self {
                bare: match name.0.as_slice() {
                    [part] => part.as_ident().map(ident_of),
                    _ => None,
                },
                stored,
            }),
            Ok(TableName::Described) | Err(_) => None,
        }
    }
}

fn only<T>(items: &[T]) -> Option<&T> {
    match items {
        [only] => Some(only),
        _ => None,
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

struct Reader {
    shape: bool,
}

impl Reader {
    fn select(&self, query: &Query) -> Option<PointStatement> {
        let SetExpr::Select(select) = query.body.as_ref() else {
            return None;
        };
        let from = only(&select.from)?;
        let condition = select.selection.as_ref()?;
        let mut text = format!("SELECT {} FROM {from}", list(&select.projection));
        text += &format!(" WHERE {condition}");
        let mut limit = None;
        if let Some(LimitClause::LimitOffset {
            limit: Some(of), ..
        }) = &query.limit_clause
        {
            text += &format!(" LIMIT {of}");
            limit = Some(self.operand(of)?);
        }
        if query.to_string() != text {
            return None;
        }
        let table = Table::of(from)?;
        let columns = match only(&select.projection) {
            Some(SelectItem::Wildcard(_)) if list(&select.projection) == "*" => None,
            _ => Some(outputs(&table, &select.projection)?),
        };
        let equal = self.equal(&table, condition)?;
        Some(PointStatement {
            table: table.name,
            action: Action::Select {
                columns,
                equal,
                limit,
            },
        })
    }

    fn insert(&self, insert: &Insert) -> Option<PointStatement> {
        let TableObject::TableName(name) = &insert.table else {
            return None;
        };
        let source = insert.source.as_ref()?;
        let SetExpr::Values(values) = source.body.as_ref() else {
            return None;
        };
        let mut text = format!("INSERT INTO {name} ");
        if !insert.columns.is_empty() {
            text += &format!("({}) ", list(&insert.columns));
        }
        let row_text = |row: &Vec<Expr>| format!("({})", list(row));
        let rows: &Vec<_> = &values.rows;
        let row_texts: Vec<String> = rows.iter().map(|row| row_text(&row.content)).collect();
        text += &format!("VALUES {}", row_texts.join(", "));
        if rows.is_empty() || rows.len() > MAX_ROWS || insert.to_string() != text {
            return None;
        }
        let column = |name: &ObjectName| only(&name.0)?.as_ident().map(ident_of);
        let columns = match insert.columns.is_empty() {
            true => None,
            false => Some(insert.columns.iter().map(column).collect::<Option<_>>()?),
        };
        let row = |row: &Vec<Expr>| row.iter().map(|value| self.operand(value)).collect();
        let rows = rows
            .iter()
            .map(|of| row(&of.content))
            .collect::<Option<_>>()?;
        Some(PointStatement {
            table: PointTable::of(name)?,
            action: Action::Insert { columns, rows },
        })
    }

    fn update(&self, update: &Update) -> Option<PointStatement> {
        let condition = update.selection.as_ref()?;
        let text = format!(
            "UPDATE {} SET {} WHERE {condition}",
            update.table,
            list(&update.assignments)
        );
        if update.to_string() != text {
            return None;
        }
        let table = Table::of(&update.table)?;
        let set = update.assignments.iter();
        let set = set.map(|one| self.assignment(&table, one));
        let set = set.collect::<Option<Vec<_>>>()?;
        let equal = self.equal(&table, condition)?;
        Some(PointStatement {
            table: table.name,
            action: Action::Update { set, equal },
        })
    }

    fn delete(&self, delete: &Delete) -> Option<PointStatement> {
        let condition = delete.selection.as_ref()?;
        let FromTable::WithFromKeyword(from) = &delete.from else {
            return None;
        };
        let from = only(from)?;
        if delete.to_string() != format!("DELETE FROM {from} WHERE {condition}") {
            return None;
        }
        let table = Table::of(from)?;
        let equal = self.equal(&table, condition)?;
        Some(PointStatement {
            table: table.name,
            action: Action::Delete { equal },
        })
    }

    fn assignment(&self, table: &Table, one: &Assignment) -> Option<(String, SetTo)> {
        let AssignmentTarget::ColumnName(name) = &one.target else {
            return None;
        };
        let column = only(&name.0)?.as_ident().map(ident_of)?;
        let value = match &one.value {
            Expr::BinaryOp { left, op, right } => {
                let (of, operand) = (table.column(left)?, self.operand(right)?);
                match op {
                    BinaryOperator::Plus => SetTo::Plus(of, operand),
                    BinaryOperator::Minus => SetTo::Minus(of, operand),
                    _ => return None,
                }
            }
            value => SetTo::Value(self.operand(value)?),
        };
        Some((column, value))
    }

    /// The comparisons of a condition, each of another column.
    fn equal(&self, table: &Table, condition: &Expr) -> Option<Vec<Equal>> {
        let mut found: Vec<Equal> = Vec::new();
        let mut waiting = vec![condition];
        while let Some(next) = waiting.pop() {
            let Expr::BinaryOp { left, op, right } = next else {
                return None;
            };
            match op {
                BinaryOperator::And => waiting.extend([right.as_ref(), left.as_ref()]),
                BinaryOperator::Eq => {
                    let (column, value) = match table.column(left) {
                        Some(column) => (column, self.operand(right)?),
                        None => (table.column(right)?, self.operand(left)?),
                    };
                    if found.iter().any(|(other, _)| *other == column) {
                        return None;
                    }
                    found.push((column, value));
                }
                _ => return None,
            }
        }
        Some(found)
    }

    fn operand(&self, expr: &Expr) -> Option<Operand> {
        match expr {
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => Some(Operand::Param(place(name)?)),
                Value::Number(digits, false) => Some(Operand::Value(number(digits)?)),
                Value::SingleQuotedString(text) => {
                    Some(Operand::Value(ScalarValue::Utf8(Some(text.clone()))))
                }
                Value::Boolean(value) => Some(Operand::Value(ScalarValue::Boolean(Some(*value)))),
                Value::Null => Some(Operand::Value(ScalarValue::Null)),
                _ => None,
            },
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => match self.operand(expr)? {
                Operand::Param(place) if self.shape => Some(Operand::Negative(place)),
                Operand::Value(value) => Some(Operand::Value(negated(&value)?)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A number with a minus before it, which was none yet.
pub(crate) fn negated(value: &ScalarValue) -> Option<ScalarValue> {
    match value {
        ScalarValue::Int64(Some(value)) if *value >= 0 => Some(ScalarValue::Int64(Some(-value))),
        ScalarValue::Float64(Some(value)) => Some(ScalarValue::Float64(Some(-value))),
        ScalarValue::Decimal128(Some(value), precision, scale) if *value >= 0 => {
            Some(ScalarValue::Decimal128(Some(-value), *precision, *scale))
        }
        _ => None,
    }
}

/// The number of `$1`, from 0.
pub(crate) fn place(name: &str) -> Option<usize> {
    let digits = name.strip_prefix('$')?;
    digits.parse::<usize>().ok()?.checked_sub(1)
}

/// The columns of a projection and what they are called, each something else.
fn outputs(table: &Table, items: &[SelectItem]) -> Option<Vec<(String, String)>> {
    let mut outputs: Vec<(String, String)> = Vec::with_capacity(items.len());
    for item in items {
        let (column, name) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let column = table.column(expr)?;
                (column.clone(), column)
            }
            SelectItem::ExprWithAlias { expr, alias } => (table.column(expr)?, ident_of(alias)),
            _ => return None,
        };
        if outputs.iter().any(|(_, other)| *other == name) {
            return None;
        }
        outputs.push((column, name));
    }
    Some(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn read(text: &str) -> Option<PointStatement> {
        let statements = Parser::parse_sql(&GenericDialect {}, text);
        let statements = statements.unwrap_or_else(|error| panic!("{text}: {error}"));
        recognise(only(&statements).expect("one statement"), true)
    }

    #[test]
    fn point_statements_are_recognised() {
        for text in [
            "SELECT a, b FROM t WHERE id = 1",
            "SELECT * FROM public.t WHERE 1 = id AND k = 'x' LIMIT 3",
            "SELECT x.a AS b FROM t AS x WHERE x.id = $1",
            "SELECT t.a FROM netabase.public.t WHERE id = -$1",
            "INSERT INTO t VALUES (1, 'a', NULL, true, -2.5)",
            "INSERT INTO t (a, \"B\") VALUES (1, 2), ($1, $2)",
            "UPDATE t SET a = 1, b = b + 1, c = d - $1 WHERE id = 5",
            "UPDATE t AS x SET a = NULL WHERE x.id = 5 AND k = 'a'",
            "DELETE FROM t WHERE id = 7",
            "DELETE FROM other.t WHERE id = 7",
        ] {
            assert!(read(text).is_some(), "{text}");
        }
    }

    #[test]
    fn names_are_folded_and_values_read() {
        let found = read("SELECT Name AS N FROM T WHERE \"Id\" = -5").unwrap();
        assert_eq!(found.table.stored, "t");
        let expected = Action::Select {
            columns: Some(vec![("name".to_owned(), "n".to_owned())]),
            equal: vec![(
                "Id".to_owned(),
                Operand::Value(ScalarValue::Int64(Some(-5))),
            )],
            limit: None,
        };
        assert_eq!(found.action, expected);
    }

    #[test]
    fn whatever_else_is_said_is_left_to_the_planner() {
        for text in [
            "SELECT a FROM t",
            "SELECT a + 1 FROM t WHERE id = 1",
            "SELECT DISTINCT a FROM t WHERE id = 1",
            "SELECT count(*) FROM t WHERE id = 1",
            "SELECT a, a FROM t WHERE id = 1",
            "SELECT *, a FROM t WHERE id = 1",
            "SELECT t.* FROM t WHERE id = 1",
            "SELECT * EXCLUDE (a) FROM t WHERE id = 1",
            "SELECT y.a FROM t AS x WHERE x.id = 1",
            "SELECT a FROM t AS x (b) WHERE id = 1",
            "SELECT a FROM t TABLESAMPLE (5) WHERE id = 1",
            "SELECT a FROM t, u WHERE id = 1",
            "SELECT a FROM t JOIN u ON true WHERE id = 1",
            "SELECT a FROM (SELECT * FROM t) WHERE id = 1",
            "SELECT a FROM information_schema.tables WHERE id = 1",
            "SELECT a FROM t WHERE id = 1 OR id = 2",
            "SELECT a FROM t WHERE id = 1 AND id = 2",
            "SELECT a FROM t WHERE NOT id = 1",
            "SELECT a FROM t WHERE id > 1",
            "SELECT a FROM t WHERE id = id",
            "SELECT a FROM t WHERE id = 1 + 1",
            "SELECT a FROM t WHERE id IN (1)",
            "SELECT a FROM t WHERE id = CAST(1 AS INT)",
            "SELECT a FROM t WHERE id = 1 GROUP BY a",
            "SELECT a FROM t WHERE id = 1 HAVING true",
            "SELECT a FROM t WHERE id = 1 ORDER BY a",
            "SELECT a FROM t WHERE id = 1 LIMIT 1 OFFSET 1",
            "SELECT a FROM t WHERE id = 1 OFFSET 1",
            "SELECT a FROM t WHERE id = 1 FETCH FIRST 1 ROW ONLY",
            "SELECT a FROM t WHERE id = 1 FOR UPDATE",
            "SELECT a FROM t WHERE id = 1 UNION SELECT a FROM t",
            "SELECT a INTO u FROM t WHERE id = 1",
            "SELECT TOP 1 a FROM t WHERE id = 1",
            "SELECT a FROM t WHERE id = 1 QUALIFY true",
            "WITH t AS (SELECT 1) SELECT a FROM t WHERE id = 1",
            "INSERT INTO t SELECT 1",
            "INSERT INTO t VALUES (1 + 1)",
            "INSERT INTO t VALUES (DEFAULT)",
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES (1) RETURNING a",
            "INSERT OVERWRITE t VALUES (1)",
            "INSERT OR REPLACE INTO t VALUES (1)",
            "INSERT INTO t VALUES (1) LIMIT 1",
            "REPLACE INTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "UPDATE t SET a = 1 FROM u WHERE id = 1",
            "UPDATE t SET a = b * 2 WHERE id = 1",
            "UPDATE t SET (a, b) = (1, 2) WHERE id = 1",
            "UPDATE t SET t.a = 1 WHERE id = 1",
            "UPDATE t SET a = 1 WHERE id = 1 RETURNING a",
            "UPDATE t SET a = 1 WHERE id = 1 LIMIT 1",
            "DELETE FROM t",
            "DELETE FROM t USING u WHERE id = 1",
            "DELETE FROM t WHERE id = 1 RETURNING a",
            "DELETE FROM t WHERE id = 1 LIMIT 1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_minus_before_a_real_parameter_is_left_to_the_planner() {
        let text = "SELECT a FROM t WHERE id = -$1";
        let statements = Parser::parse_sql(&GenericDialect {}, text).unwrap();
        assert_eq!(recognise(&statements[0], false), None);
    }
}
