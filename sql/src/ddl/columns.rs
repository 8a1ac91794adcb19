//! The columns of CREATE TABLE, and what holds for them.
//!
//! Invariants: an option that would be ignored is refused, with the way out; an expression is kept
//! only if it can be planned. A table that names no primary key gets a hidden one.

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::{
    CheckConstraint, ColumnDef, ColumnOption, ConstraintCharacteristics, CreateTable,
    DeferrableInitial, Expr as SqlExpr, GeneratedExpressionMode, Ident, IndexColumn,
    NullsDistinctOption, TableConstraint, UniqueConstraint,
};
use netabase_store::{CheckDef, ColumnRules, Error, ErrorKind, QualifiedName, TableRules};

use super::unique::Unique;
use crate::blame::{Blame, What};
use crate::dml::{ROW_ID, ROW_ID_BYTES};
use crate::engine::Engine;
use crate::error::{conflict, error_from_datafusion, invalid};
use crate::near::hint;
use crate::provenance;
use crate::statement::ident_of;
use crate::syntax::kept_expr;

/// What CREATE TABLE says about columns.
pub(crate) struct Columns {
    /// All columns; a hidden key is the last one.
    pub(crate) schema: Schema,
    /// The positions of the primary key.
    pub(crate) key: Vec<usize>,
    /// Defaults, generated columns, checks.
    pub(crate) rules: TableRules,
    /// The columns of UNIQUE constraints, with their names.
    pub(crate) unique: Vec<Unique>,
}

/// Reads the columns and constraints of a table of this name.
pub(crate) fn columns_of(
    engine: &Engine,
    table: &str,
    statement: &CreateTable,
) -> Result<Columns, Error> {
    if statement.columns.is_empty() {
        return Err(invalid(format!(
            "table \"{table}\" has no columns: list them"
        )));
    }
    let schema = engine
        .schema_of_columns(plain(&statement.columns))
        .map_err(error_from_datafusion)?;
    let mut read = Constraints::default();
    for column in &statement.columns {
        let rules = read.column(table, column)?;
        read.rules.columns.push(rules);
    }
    for constraint in &statement.constraints {
        read.table(table, constraint)?;
    }
    if let Some(expr) = &statement.primary_key {
        read.keys.push(vec![key_column(expr)?]);
    }
    let fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    refuse_scales(&fields)?;
    read.finish(table, fields)
}

/// The columns of a query's result, for a table that is made from it.
pub(crate) fn columns_of_query(
    table: &str,
    statement: &CreateTable,
    fields: Vec<Field>,
) -> Result<Columns, Error> {
    refuse_scales(&fields)?;
    let mut read = Constraints::default();
    read.rules.columns = vec![ColumnRules::default(); fields.len()];
    for constraint in &statement.constraints {
        read.table(table, constraint)?;
    }
    read.finish(table, fields)
}

/// Column definitions without what the planner of types does not need to know.
pub(crate) fn plain(columns: &[ColumnDef]) -> Vec<ColumnDef> {
    let mut plain = columns.to_vec();
    for column in &mut plain {
        column
            .options
            .retain(|option| matches!(option.option, ColumnOption::Null | ColumnOption::NotNull));
    }
    plain
}

/// Fails if a column has a DECIMAL of a negative scale, which no text of a definition could say again.
pub(crate) fn refuse_scales(fields: &[Field]) -> Result<(), Error> {
    let negative = |field: &&Field| has_negative_scale(field.data_type());
    match fields.iter().find(negative) {
        Some(field) => Err(invalid(format!(
            "column \"{}\": a DECIMAL of a negative scale is not supported: write DECIMAL(p, 0), and round \
             the values",
            field.name()
        ))),
        None => Ok(()),
    }
}

fn has_negative_scale(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale < 0,
        DataType::List(items)
        | DataType::LargeList(items)
        | DataType::ListView(items)
        | DataType::LargeListView(items)
        | DataType::FixedSizeList(items, _)
        | DataType::Map(items, _) => has_negative_scale(items.data_type()),
        DataType::Struct(fields) => {
            let mut fields = fields.iter();
            fields.any(|field| has_negative_scale(field.data_type()))
        }
        _ => false,
    }
}

/// A table's name without its schema.
fn own_name(table: &str) -> String {
    QualifiedName::parse(table).map_or_else(|| table.to_owned(), |name| name.table)
}

/// Why a column cannot count.
fn sequence(column: &str) -> Error {
    refused(
        column,
        "a sequence",
        "peers that write at the same time cannot count together; use DEFAULT uuid(), or leave PRIMARY KEY \
         out, so that rows have a hidden one",
    )
}

/// Fails if a column has two values that it gets, or may be NULL and may not.
fn refuse_contradictions(name: &str, column: &ColumnDef) -> Result<(), Error> {
    let count = |wanted: fn(&ColumnOption) -> bool| {
        let given = column.options.iter();
        given.filter(|given| wanted(&given.option)).count()
    };
    let twice = |what: &str| {
        invalid(format!(
            "column \"{name}\" has {what} twice: leave one of them out"
        ))
    };
    if count(|option| matches!(option, ColumnOption::Default(_))) > 1 {
        return Err(twice("DEFAULT"));
    }
    if count(|option| matches!(option, ColumnOption::Generated { .. })) > 1 {
        return Err(twice("GENERATED"));
    }
    let nullable = count(|option| matches!(option, ColumnOption::Null)) > 0;
    if nullable && count(|option| matches!(option, ColumnOption::NotNull)) > 0 {
        return Err(invalid(format!(
            "column \"{name}\" is NULL and NOT NULL: leave one of them out"
        )));
    }
    Ok(())
}

/// Whether an option is AUTO_INCREMENT or AUTOINCREMENT.
fn counts(option: &ColumnOption) -> bool {
    let text = option.to_string().to_uppercase().replace('_', "");
    text == "AUTOINCREMENT"
}

/// What was read so far.
#[derive(Default)]
pub(crate) struct Constraints {
    pub(crate) rules: TableRules,
    keys: Vec<Vec<String>>,
    unique: Vec<Unique>,
}

impl Constraints {
    /// Reads the options of a column.
    pub(crate) fn column(&mut self, table: &str, column: &ColumnDef) -> Result<ColumnRules, Error> {
        let name = ident_of(&column.name);
        let mut rules = ColumnRules::default();
        refuse_contradictions(&name, column)?;
        for option in &column.options {
            match &option.option {
                ColumnOption::Null | ColumnOption::NotNull => {}
                ColumnOption::PrimaryKey(key) => {
                    refuse_deferred(key.characteristics.as_ref())?;
                    self.keys.push(vec![name.clone()]);
                }
                ColumnOption::Unique(unique) => {
                    refuse_unique_clauses(unique)?;
                    let given = option.name.as_ref().or(unique.name.as_ref());
                    self.unique.push((given.map(ident_of), vec![name.clone()]));
                }
                ColumnOption::Default(expr) => rules.default = Some(kept_expr(expr)?),
                ColumnOption::Comment(text) => rules.comment = Some(text.clone()),
                ColumnOption::Check(check) => {
                    let given = option.name.as_ref().or(check.name.as_ref());
                    self.check(
                        given,
                        &check.expr,
                        format!("{}_{name}_check", own_name(table)),
                    )?;
                }
                ColumnOption::Generated {
                    generation_expr: Some(expr),
                    generation_expr_mode,
                    ..
                } => {
                    if *generation_expr_mode == Some(GeneratedExpressionMode::Virtual) {
                        return Err(refused(
                            &name,
                            "GENERATED … VIRTUAL",
                            "values are computed when rows are written: write STORED",
                        ));
                    }
                    rules.generated = Some(kept_expr(expr)?);
                }
                ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                    return Err(sequence(&name));
                }
                ColumnOption::DialectSpecific(_) if counts(&option.option) => {
                    return Err(sequence(&name));
                }
                ColumnOption::ForeignKey(_) => {
                    return Err(refused(&name, "REFERENCES", "check references in queries"));
                }
                other => {
                    return Err(refused(&name, &other.to_string(), "leave it out"));
                }
            }
        }
        if rules.generated.is_some() && rules.default.is_some() {
            return Err(invalid(format!(
                "column \"{name}\" is generated and has a DEFAULT: leave one of them out"
            )));
        }
        Ok(rules)
    }

    /// Reads a constraint of the table.
    pub(crate) fn table(&mut self, table: &str, constraint: &TableConstraint) -> Result<(), Error> {
        match constraint {
            TableConstraint::PrimaryKey(key) => {
                refuse_deferred(key.characteristics.as_ref())?;
                self.keys.push(key_columns(&key.columns)?);
            }
            TableConstraint::Unique(unique) => {
                refuse_unique_clauses(unique)?;
                let name = unique.name.as_ref().or(unique.index_name.as_ref());
                self.unique
                    .push((name.map(ident_of), key_columns(&unique.columns)?));
            }
            TableConstraint::Check(CheckConstraint { name, expr, .. }) => {
                self.check(name.as_ref(), expr, format!("{}_check", own_name(table)))?;
            }
            TableConstraint::ForeignKey(_) => {
                return Err(invalid(
                    "FOREIGN KEY is not supported: rows of the other table may be on peers that cannot be \
                     reached; check references in queries",
                ));
            }
            other => {
                return Err(invalid(format!("{other} is not supported: leave it out")));
            }
        }
        Ok(())
    }

    /// Whether a primary or unique key was read.
    pub(crate) fn has_keys(&self) -> bool {
        !self.keys.is_empty() || !self.unique.is_empty()
    }

    /// Adds a check under its name, or one that is free.
    fn check(
        &mut self,
        given: Option<&Ident>,
        condition: &SqlExpr,
        otherwise: String,
    ) -> Result<(), Error> {
        let taken = |checks: &[CheckDef], name: &str| checks.iter().any(|check| check.name == name);
        let name = match given {
            Some(name) => {
                let name = ident_of(name);
                if taken(&self.rules.checks, &name) {
                    return Err(conflict(format!(
                        "constraint \"{name}\" exists already: choose another name"
                    )));
                }
                name
            }
            None => {
                let numbered = (1..).map(|number| format!("{otherwise}{number}"));
                let mut names = std::iter::once(otherwise.clone()).chain(numbered);
                let free = names.find(|name| !taken(&self.rules.checks, name));
                free.unwrap_or(otherwise)
            }
        };
        self.rules.checks.push(CheckDef {
            name,
            condition: kept_expr(condition)?,
        });
        Ok(())
    }

    /// All of it, checked.
    pub(crate) fn finish(mut self, table: &str, fields: Vec<Field>) -> Result<Columns, Error> {
        provenance::refuse_reserved(&fields)?;
        for (index, field) in fields.iter().enumerate() {
            let before = fields.iter().take(index);
            if before.into_iter().any(|other| other.name() == field.name()) {
                return Err(invalid(format!(
                    "column \"{}\" is defined twice",
                    field.name()
                )));
            }
        }
        let names = match self.keys.len() {
            0 => Vec::new(),
            1 => self.keys.swap_remove(0),
            keys => {
                return Err(invalid(format!(
                    "table \"{table}\" has {keys} primary keys: write one PRIMARY KEY (column, …)"
                )));
            }
        };
        let key = key_of(table, &fields, &names)?;
        self.rules
            .columns
            .resize(fields.len(), ColumnRules::default());
        self.columns(table, fields, key)
    }

    /// The columns, with a hidden one if there is no key.
    fn columns(
        mut self,
        table: &str,
        mut fields: Vec<Field>,
        mut key: Vec<usize>,
    ) -> Result<Columns, Error> {
        for column in &key {
            let generated = self.rules.columns.get(*column);
            if generated.is_some_and(|rules| rules.generated.is_some()) {
                return Err(invalid(format!(
                    "a generated column cannot be part of the primary key of table \"{table}\": an \
                     UPDATE would make it another row"
                )));
            }
        }
        for (index, field) in fields.iter_mut().enumerate() {
            let nullable = field.is_nullable() && !key.contains(&index);
            field.set_nullable(nullable);
        }
        if key.is_empty() {
            let data_type = DataType::FixedSizeBinary(ROW_ID_BYTES);
            key.push(fields.len());
            fields.push(Field::new(ROW_ID, data_type, false));
            self.rules.columns.push(ColumnRules {
                hidden: true,
                ..ColumnRules::default()
            });
        }
        if self
            .rules
            .columns
            .iter()
            .all(|rules| *rules == ColumnRules::default())
        {
            self.rules.columns.clear();
        }
        Ok(Columns {
            schema: Schema::new(fields),
            key,
            rules: self.rules,
            unique: self.unique,
        })
    }
}

/// The positions of the key's columns.
fn key_of(table: &str, fields: &[Field], names: &[String]) -> Result<Vec<usize>, Error> {
    let mut key: Vec<usize> = Vec::with_capacity(names.len());
    for name in names {
        let found = fields.iter().position(|field| field.name() == name);
        let index = found.ok_or_else(|| {
            let text = format!(
                "PRIMARY KEY names column \"{name}\", which table \"{table}\" does not have{}",
                hint(name, fields.iter().map(|field| field.name()))
            );
            Blame::error(What::Name, name, (ErrorKind::InvalidInput, text))
        })?;
        if key.contains(&index) {
            return Err(invalid(format!(
                "PRIMARY KEY names column \"{name}\" twice"
            )));
        }
        key.push(index);
    }
    Ok(key)
}

fn key_columns(columns: &[IndexColumn]) -> Result<Vec<String>, Error> {
    let named = columns.iter().map(|column| {
        let options = &column.column.options;
        if options.asc.is_some() || options.nulls_first.is_some() {
            return Err(invalid(format!(
                "PRIMARY KEY and UNIQUE take columns alone, not {column}: the order of keys is fixed"
            )));
        }
        key_column(&column.column.expr)
    });
    named.collect()
}

fn key_column(expr: &SqlExpr) -> Result<String, Error> {
    match expr {
        SqlExpr::Identifier(ident) => Ok(ident_of(ident)),
        other => Err(invalid(format!(
            "PRIMARY KEY and UNIQUE take column names, not {other}"
        ))),
    }
}

/// Refuses what would change when, and of what, a constraint is checked.
fn refuse_unique_clauses(unique: &UniqueConstraint) -> Result<(), Error> {
    if matches!(unique.nulls_distinct, NullsDistinctOption::NotDistinct) {
        return Err(invalid(
            "UNIQUE NULLS NOT DISTINCT is not supported: declare the columns NOT NULL",
        ));
    }
    refuse_deferred(unique.characteristics.as_ref())
}

fn refuse_deferred(characteristics: Option<&ConstraintCharacteristics>) -> Result<(), Error> {
    let deferred = |given: &ConstraintCharacteristics| {
        given.deferrable == Some(true)
            || given.initially == Some(DeferrableInitial::Deferred)
            || given.enforced == Some(false)
    };
    match characteristics.is_some_and(deferred) {
        true => Err(invalid(
            "DEFERRABLE and NOT ENFORCED are not supported: constraints are checked with each statement",
        )),
        false => Ok(()),
    }
}

fn refused(column: &str, what: &str, way_out: &str) -> Error {
    invalid(format!(
        "column \"{column}\": {what} is not supported: {way_out}"
    ))
}
