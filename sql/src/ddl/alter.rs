//! `ALTER TABLE`.
//!
//! Idea: all operations of a statement are collected in a [`Draft`] first. What only concerns names,
//! defaults, checks and options changes the definition; what concerns the shape of rows makes
//! another table, which takes the place of this one. Invariants: a statement that fails changes
//! nothing; a column's values are kept where its name changes only.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, ColumnOptionDef,
    DropBehavior, Expr, Ident, ObjectName, RenameTableNameKind, SqlOption, VisitMut, VisitorMut,
};
use netabase_store::{CheckDef, ColumnRules, Error, ErrorKind, QualifiedName, TableDef};

use super::clauses::table_options_of;
use super::columns::{Constraints, plain, refuse_scales};
use super::freeze::Freeze;
use super::{check_rules, new_name, read_only, replace, table_to_write};
use crate::blame::{Blame, What};
use crate::describe::has_key;
use crate::dml;
use crate::engine::Engine;
use crate::error::{conflict, error_from_datafusion, invalid};
use crate::near::hint;
use crate::output::Output;
use crate::provenance;
use crate::statement::{TableName, ident_of, refuse_given, table_name};
use crate::syntax::kept_expr;

/// Options that say where rows are.
const FIXED_OPTIONS: [&str; 4] = ["shards", "shard_by", "replicas", "local"];

/// What becomes of a table.
pub(super) struct Draft {
    /// The definition, changed in all that does not concern the shape of rows.
    pub(super) def: TableDef,
    /// Columns to be added, and what holds for them.
    pub(super) added: Vec<(Field, ColumnRules)>,
    /// Columns of the table, by position, that get another type or may be NULL or not.
    pub(super) recast: BTreeMap<usize, Recast>,
    /// Checks that the rows must meet, which are there.
    new_checks: Vec<CheckDef>,
}

/// A column that gets another type.
pub(super) struct Recast {
    pub(super) data_type: DataType,
    pub(super) nullable: bool,
    /// What kind of values they are, besides their type.
    pub(super) metadata: HashMap<String, String>,
    /// How its values are made, unless they are cast.
    pub(super) using: Option<Expr>,
}

/// `ALTER TABLE`.
pub(crate) async fn alter_table(engine: &Engine, statement: AlterTable) -> Result<Output, Error> {
    let clauses = [
        ("ON CLUSTER", statement.on_cluster.is_some(), "leave it out"),
        (
            "SET LOCATION",
            statement.location.is_some(),
            "leave it out: rows are where the peers are",
        ),
    ];
    refuse_given("ALTER TABLE … ", &clauses)?;
    let old = match table_to_write(engine, &statement.name) {
        Ok(def) => def,
        Err(error) if statement.if_exists && error.kind() == ErrorKind::NotFound => {
            return Ok(Output::empty());
        }
        Err(error) => return Err(error),
    };
    let mut draft = Draft {
        def: TableDef::clone(&old),
        added: Vec::new(),
        recast: BTreeMap::new(),
        new_checks: Vec::new(),
    };
    for operation in statement.operations {
        draft.apply(engine, operation)?;
    }
    draft.def.validate()?;
    if draft.added.is_empty() && draft.recast.is_empty() {
        let def = Arc::new(draft.def);
        check_rules(engine, &def)?;
        if !draft.new_checks.is_empty() {
            return add_checks(engine, (&old, &def), &draft.new_checks).await;
        }
        if *def != *old {
            engine
                .cluster()
                .alter_table(Arc::unwrap_or_clone(def))
                .await?;
        }
        return Ok(Output::empty());
    }
    // New checks are looked at when the rows are written again.
    replace::replace(engine, &old, draft).await
}

/// Changes a table that gets checks, if all rows meet them; meanwhile none is written.
async fn add_checks(
    engine: &Engine,
    (old, def): (&Arc<TableDef>, &Arc<TableDef>),
    checks: &[CheckDef],
) -> Result<Output, Error> {
    let _working = engine.in_work().on(old.id);
    let mut frozen = Freeze::begin(engine, old).await?;
    let looking = async {
        for check in checks {
            check_rows(engine, (old, def), check).await?;
        }
        Ok(())
    };
    let changed = match frozen.during(looking).await {
        Ok(()) => frozen.change(TableDef::clone(def)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = changed {
        frozen.end().await;
        return Err(error);
    }
    Ok(Output::empty())
}

/// Fails if a row does not meet a check, which has the names that columns get.
async fn check_rows(
    engine: &Engine,
    (def, altered): (&TableDef, &TableDef),
    check: &CheckDef,
) -> Result<(), Error> {
    let mut condition = dml::parse_expr(&check.condition)?;
    let columns = altered.visible_columns().into_iter();
    let names = columns.map(|column| (altered.column_name(column), def.column_name(column)));
    rename(&mut condition, &names.collect::<Vec<_>>());
    if dml::any_row(engine, def, Expr::Nested(Box::new(condition))).await? {
        return Err(invalid(format!(
            "rows of table \"{}\" violate check \"{}\": {}; change them first",
            def.name, check.name, check.condition
        )));
    }
    Ok(())
}

impl Draft {
    fn apply(&mut self, engine: &Engine, operation: AlterTableOperation) -> Result<(), Error> {
        match operation {
            AlterTableOperation::AddColumn {
                if_not_exists,
                column_def,
                column_position: None,
                ..
            } => self.add_column(engine, if_not_exists, column_def),
            AlterTableOperation::DropColumn {
                column_names,
                if_exists,
                drop_behavior,
                ..
            } => {
                let cascades = drop_behavior == Some(DropBehavior::Cascade);
                let way_out = "drop first what needs the column";
                refuse_given("DROP COLUMN … ", &[("CASCADE", cascades, way_out)])?;
                column_names
                    .iter()
                    .try_for_each(|name| self.drop_column(&ident_of(name), if_exists))
            }
            AlterTableOperation::RenameColumn {
                old_column_name,
                new_column_name,
            } => self.rename_column(&old_column_name, &new_column_name),
            AlterTableOperation::RenameTable { table_name } => {
                let (RenameTableNameKind::To(name) | RenameTableNameKind::As(name)) = table_name;
                self.rename_table(engine, &name)
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.alter_column(engine, &column_name, op)
            }
            AlterTableOperation::AddConstraint {
                constraint,
                not_valid,
            } => {
                let way_out = "change the rows first that do not meet it";
                refuse_given("ADD CHECK … ", &[("NOT VALID", not_valid, way_out)])?;
                self.add_constraint(constraint)
            }
            AlterTableOperation::DropConstraint {
                if_exists, name, ..
            } => self.drop_constraint(&ident_of(&name), if_exists),
            AlterTableOperation::SetOptionsParens { options }
            | AlterTableOperation::SetTblProperties {
                table_properties: options,
            } => self.set_options(&options),
            other => Err(invalid(format!(
                "ALTER TABLE … {other} is not supported: there are ADD, DROP, RENAME and ALTER COLUMN, ADD \
                 and DROP CONSTRAINT, RENAME TO and SET (option = value)"
            ))),
        }
    }

    fn column(&self, name: &str) -> Result<usize, Error> {
        dml::column_of(&self.def, name)
    }

    fn is_taken(&self, name: &str) -> bool {
        let mut key = self.def.primary_key.iter();
        let is_hidden_key = key.any(|column| self.def.column_name(*column) == name);
        self.def.column_named(name).is_some()
            || is_hidden_key
            || self.added.iter().any(|(field, _)| field.name() == name)
    }

    fn refuse_taken(&self, name: &str) -> Result<(), Error> {
        match self.is_taken(name) {
            true => Err(conflict(format!(
                "column \"{name}\" exists already in table \"{}\"",
                self.def.name
            ))),
            false => Ok(()),
        }
    }

    fn add_column(
        &mut self,
        engine: &Engine,
        if_not_exists: bool,
        column: ColumnDef,
    ) -> Result<(), Error> {
        let name = ident_of(&column.name);
        if if_not_exists && self.is_taken(&name) {
            return Ok(());
        }
        self.refuse_taken(&name)?;
        let schema = engine
            .schema_of_columns(plain(std::slice::from_ref(&column)))
            .map_err(error_from_datafusion)?;
        let added: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        provenance::refuse_reserved(&added)?;
        refuse_scales(&added)?;
        let mut read = self.constraints();
        let known = read.rules.checks.len();
        let rules = read.column(&self.def.name, &column)?;
        if read.has_keys() {
            return Err(invalid(format!(
                "column \"{name}\" cannot be added as a key: create another table with it, and INSERT \
                 INTO … SELECT"
            )));
        }
        for check in read.rules.checks.into_iter().skip(known) {
            self.add_check(check)?;
        }
        if let Some(field) = added.into_iter().next() {
            self.added.push((field, rules));
        }
        Ok(())
    }

    fn drop_column(&mut self, name: &str, if_exists: bool) -> Result<(), Error> {
        let column = match self.column(name) {
            Ok(column) => column,
            Err(_) if if_exists => return Ok(()),
            Err(error) => return Err(error),
        };
        let in_use = |what: String, way_out: &str| {
            invalid(format!("column \"{name}\" is part of {what}: {way_out}"))
        };
        if self.def.primary_key.contains(&column) {
            let what = format!("the primary key of table \"{}\"", self.def.name);
            return Err(in_use(what, "create another table with another key"));
        }
        let mut indexes = self.def.options.indexes.iter();
        if let Some(index) = indexes.find(|index| index.columns.contains(&(column as u32))) {
            return Err(in_use(
                format!("index \"{}\"", index.name),
                "DROP INDEX it first",
            ));
        }
        let rules = &self.def.options.rules;
        if let Some(check) = rules
            .checks
            .iter()
            .find(|check| names(&check.condition, name))
        {
            let what = format!("check \"{}\"", check.name);
            return Err(in_use(what, "ALTER TABLE … DROP CONSTRAINT it first"));
        }
        for (other, rules) in rules.columns.iter().enumerate() {
            if rules
                .generated
                .as_ref()
                .is_some_and(|text| names(text, name))
            {
                let what = format!("the generated column \"{}\"", self.def.column_name(other));
                return Err(in_use(what, "drop that first"));
            }
        }
        if let Some(rules) = self.def.column_rules_mut(column) {
            *rules = ColumnRules {
                hidden: true,
                ..ColumnRules::default()
            };
        }
        if self.def.visible_columns().is_empty() && self.added.is_empty() {
            return Err(invalid(format!(
                "column \"{name}\" is the last one of table \"{}\": DROP TABLE it",
                self.def.name
            )));
        }
        Ok(())
    }

    fn rename_column(&mut self, old: &Ident, new: &Ident) -> Result<(), Error> {
        let (old, new) = (ident_of(old), ident_of(new));
        let column = self.column(&old)?;
        if old == new {
            return Ok(());
        }
        self.refuse_taken(&new)?;
        let field = self.def.schema.field(column).clone();
        provenance::refuse_reserved(&[field.with_name(&new)])?;
        let physical = self.def.schema.field(column).name() == &new;
        if let Some(rules) = self.def.column_rules_mut(column) {
            rules.name = (!physical).then(|| new.clone());
        }
        let rules = &mut self.def.options.rules;
        for check in &mut rules.checks {
            check.condition = renamed(&check.condition, &old, &new)?;
        }
        for rules in &mut rules.columns {
            if let Some(text) = &mut rules.generated {
                *text = renamed(text, &old, &new)?;
            }
        }
        Ok(())
    }

    fn rename_table(&mut self, engine: &Engine, name: &ObjectName) -> Result<(), Error> {
        let name = match name.0.as_slice() {
            // It stays in its schema.
            [_] => {
                let TableName::Table(new) = table_name(name)? else {
                    return Err(read_only());
                };
                let new = QualifiedName::parse(&new).map(|new| new.table);
                QualifiedName {
                    table: new.unwrap_or_default(),
                    ..self.def.qualified_name()
                }
                .to_string()
            }
            _ => new_name(engine, name)?,
        };
        if crate::catalog::live_table(engine.store(), &name).is_some() {
            return Err(conflict(format!(
                "table \"{name}\" exists already: choose another name, or drop it first"
            )));
        }
        let first = std::mem::replace(&mut self.def.name, name);
        self.def.options.first_name.get_or_insert(first);
        Ok(())
    }

    fn alter_column(
        &mut self,
        engine: &Engine,
        name: &Ident,
        operation: AlterColumnOperation,
    ) -> Result<(), Error> {
        let name = ident_of(name);
        let column = self.column(&name)?;
        let field = self.def.schema.field(column).clone();
        match operation {
            AlterColumnOperation::SetDefault { value } => {
                let rules = self.def.column_rules_mut(column);
                match rules {
                    Some(rules) if rules.generated.is_none() => {
                        rules.default = Some(kept_expr(&value)?);
                        Ok(())
                    }
                    _ => Err(invalid(format!(
                        "column \"{name}\" is generated, so that it has no DEFAULT"
                    ))),
                }
            }
            AlterColumnOperation::DropDefault => {
                if let Some(rules) = self.def.column_rules_mut(column) {
                    rules.default = None;
                }
                Ok(())
            }
            AlterColumnOperation::SetNotNull if !field.is_nullable() => Ok(()),
            AlterColumnOperation::DropNotNull if field.is_nullable() => Ok(()),
            AlterColumnOperation::DropNotNull if self.def.primary_key.contains(&column) => {
                Err(invalid(format!(
                    "column \"{name}\" is part of the primary key, whose columns are NOT NULL"
                )))
            }
            AlterColumnOperation::SetNotNull | AlterColumnOperation::DropNotNull => {
                let recast = self.recast(column, &field);
                recast.nullable = !field.is_nullable();
                Ok(())
            }
            AlterColumnOperation::SetDataType {
                data_type, using, ..
            } => {
                let def = ColumnDef {
                    name: Ident::with_quote('"', name),
                    data_type,
                    options: Vec::<ColumnOptionDef>::new(),
                };
                let schema = engine
                    .schema_of_columns(vec![def])
                    .map_err(error_from_datafusion)?;
                let wanted = schema.field(0);
                refuse_scales(std::slice::from_ref(wanted))?;
                let recast = self.recast(column, &field);
                recast.data_type = wanted.data_type().clone();
                recast.metadata = wanted.metadata().clone();
                recast.using = using;
                Ok(())
            }
            AlterColumnOperation::AddGenerated { .. } => Err(invalid(
                "a sequence is not supported: peers that write at the same time cannot count together; \
                 use DEFAULT uuid()",
            )),
        }
    }

    fn recast(&mut self, column: usize, field: &Field) -> &mut Recast {
        self.recast.entry(column).or_insert_with(|| Recast {
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            metadata: field.metadata().clone(),
            using: None,
        })
    }

    fn add_constraint(
        &mut self,
        constraint: datafusion::sql::sqlparser::ast::TableConstraint,
    ) -> Result<(), Error> {
        let mut read = self.constraints();
        let known = read.rules.checks.len();
        read.table(&self.def.name, &constraint)?;
        if read.has_keys() {
            return Err(invalid(
                "a key cannot be added to a table that exists: create another one with it, and INSERT \
                 INTO … SELECT; a unique index of a LOCAL table is made by CREATE UNIQUE INDEX",
            ));
        }
        let added = read.rules.checks.into_iter().skip(known);
        added
            .into_iter()
            .try_for_each(|check| self.add_check(check))
    }

    /// What is known, so that checks that are added get names of their own.
    fn constraints(&self) -> Constraints {
        let mut known = Constraints::default();
        known.rules.checks = self.def.options.rules.checks.clone();
        known
    }

    fn add_check(&mut self, check: CheckDef) -> Result<(), Error> {
        let mut known = self.def.options.rules.checks.iter();
        if known.any(|known| known.name == check.name) {
            return Err(conflict(format!(
                "constraint \"{}\" exists already: choose another name",
                check.name
            )));
        }
        self.def.options.rules.checks.push(check.clone());
        self.new_checks.push(check);
        Ok(())
    }

    fn drop_constraint(&mut self, name: &str, if_exists: bool) -> Result<(), Error> {
        self.refuse_key(name)?;
        let options = &mut self.def.options;
        let rules = &mut options.rules;
        let before = rules.checks.len() + rules.unique.len();
        if rules.unique.iter().any(|unique| unique == name) {
            options.indexes.retain(|index| index.name != name);
            rules.unique.retain(|unique| unique != name);
        }
        rules.checks.retain(|check| check.name != name);
        if rules.checks.len() + rules.unique.len() == before && !if_exists {
            let checks = rules.checks.iter().map(|check| &check.name);
            let names = checks.chain(&rules.unique);
            let text = format!(
                "constraint \"{name}\" of table \"{}\" does not exist{}",
                self.def.name,
                hint(name, names)
            );
            return Err(Blame::error(What::Name, name, (ErrorKind::NotFound, text)));
        }
        Ok(())
    }

    /// Fails if a constraint is the primary key, by the name that information_schema gives it.
    fn refuse_key(&self, name: &str) -> Result<(), Error> {
        let def = &self.def;
        let rules = &def.options.rules;
        let is_other = rules.checks.iter().any(|check| check.name == name)
            || rules.unique.iter().any(|unique| unique == name);
        let is_key = name == format!("{}_pkey", def.table_name()) && has_key(def);
        match is_key && !is_other {
            true => Err(invalid(format!(
                "constraint \"{name}\" is the primary key of table \"{}\", which cannot be dropped: rows \
                 are where their keys say; create another table, and INSERT INTO … SELECT",
                def.name
            ))),
            false => Ok(()),
        }
    }

    fn set_options(&mut self, options: &[SqlOption]) -> Result<(), Error> {
        for option in options {
            if let SqlOption::KeyValue { key, .. } = option
                && FIXED_OPTIONS.contains(&key.value.to_lowercase().as_str())
            {
                return Err(invalid(format!(
                    "option \"{}\" cannot be changed: rows are where it says; create another table, and \
                     INSERT INTO … SELECT",
                    key.value.to_lowercase()
                )));
            }
        }
        let (set, names) = table_options_of(options)?;
        for name in names {
            match name.as_str() {
                "ttl" => self.def.options.ttl_millis = set.storage.ttl_millis,
                "compression" => self.def.options.codec = set.storage.codec,
                // Those that are fixed have been refused.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether an expression names a column; also if it cannot be read.
fn names(text: &str, column: &str) -> bool {
    let Ok(mut expr) = dml::parse_expr(text) else {
        return true;
    };
    rename(&mut expr, &[(column, column)])
}

/// An expression in which a column has another name.
fn renamed(text: &str, old: &str, new: &str) -> Result<String, Error> {
    let mut expr = dml::parse_expr(text)?;
    match rename(&mut expr, &[(old, new)]) {
        true => kept_expr(&expr),
        false => Ok(text.to_owned()),
    }
}

/// Gives columns other names, all at once; says whether one was there.
fn rename(expr: &mut Expr, names: &[(&str, &str)]) -> bool {
    let mut renamer = Renamer {
        names,
        found: false,
    };
    // It never breaks off.
    let _ = expr.visit(&mut renamer);
    renamer.found
}

/// What follows a column's name are fields of its value.
struct Renamer<'a> {
    names: &'a [(&'a str, &'a str)],
    found: bool,
}

impl VisitorMut for Renamer<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let first = match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.first_mut(),
            _ => None,
        };
        let Some(ident) = first else {
            return ControlFlow::Continue(());
        };
        let name = ident_of(ident);
        if let Some((_, new)) = self.names.iter().find(|(old, _)| *old == name) {
            *ident = Ident::with_quote('"', *new);
            self.found = true;
        }
        ControlFlow::Continue(())
    }
}
