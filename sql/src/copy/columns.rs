//! Columns of files and columns of tables.
//!
//! Invariants: columns are matched by their names; a value becomes one of the table's type without
//! loss, or fails; what a file does not have is left to the rules of the table.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use netabase_store::{Error, TableDef};

use crate::error::{from_arrow, invalid};

/// Which column of a file fills which column of a table.
#[derive(Debug)]
pub(super) struct Matched {
    /// The column of the table, and that of the file, in the order of the table.
    pairs: Vec<(usize, usize)>,
    /// These columns of the table, all of them nullable: NOT NULL is checked with everything else.
    schema: SchemaRef,
}

impl Matched {
    /// Matches by name. With a list of chosen columns, which the table has, the others of the file
    /// are skipped. So are columns that are generated: they are computed again.
    pub(super) fn new(
        path: &Path,
        def: &TableDef,
        names: &[String],
        chosen: &[String],
    ) -> Result<Self, Error> {
        let file = path.display();
        if let Some(name) = chosen.iter().find(|name| !names.contains(name)) {
            return Err(invalid(format!(
                "{file}: there is no column \"{name}\"; it has {}",
                names.join(", ")
            )));
        }
        let wanted = |name: &String| chosen.is_empty() || chosen.contains(name);
        let mut pairs = Vec::new();
        for (index, name) in names.iter().enumerate().filter(|(_, name)| wanted(name)) {
            if names.iter().take(index).any(|other| other == name) {
                return Err(invalid(format!("{file}: column \"{name}\" appears twice")));
            }
            match def.column_named(name) {
                None => return Err(unknown_column(path, def, name)),
                Some(column) if is_generated(def, column) => {}
                Some(column) => pairs.push((column, index)),
            }
        }
        pairs.sort_unstable();
        let given = |column: usize| pairs.iter().any(|(given, _)| *given == column);
        for column in def.visible_columns() {
            let nullable = def.schema.field(column).is_nullable();
            if !nullable && !given(column) && !fills_itself(def, column) {
                return Err(invalid(format!(
                    "{file}: there is no column \"{}\", which table \"{}\" needs (NOT NULL)",
                    def.column_name(column),
                    def.name
                )));
            }
        }
        let field = |(column, _): &(usize, usize)| {
            let data_type = def.schema.field(*column).data_type().clone();
            Field::new(def.column_name(*column), data_type, true)
        };
        let fields: Vec<Field> = pairs.iter().map(field).collect();
        Ok(Self {
            pairs,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The columns of the table that a file fills.
    pub(super) fn given(&self) -> Vec<usize> {
        self.pairs.iter().map(|(column, _)| *column).collect()
    }

    /// For each of so many columns of the file, the column of the table.
    pub(super) fn targets(&self, width: usize) -> Vec<Option<usize>> {
        let mut targets = vec![None; width];
        for (target, source) in &self.pairs {
            if let Some(slot) = targets.get_mut(*source) {
                *slot = Some(*target);
            }
        }
        targets
    }

    /// The same for a reader that gives only the columns that are used, in the file's order.
    pub(super) fn projected(mut self) -> Self {
        let mut used: Vec<usize> = self.pairs.iter().map(|(_, source)| *source).collect();
        used.sort_unstable();
        for (_, source) in &mut self.pairs {
            *source = used.binary_search(source).unwrap_or(*source);
        }
        self
    }

    /// Rows of these columns, of columns of a file that become the right types.
    pub(super) fn rows(
        &self,
        count: usize,
        mut column: impl FnMut(usize, &Field) -> Result<ArrayRef, Error>,
    ) -> Result<RecordBatch, Error> {
        let columns = self.schema.fields().iter().zip(&self.pairs);
        let columns = columns.map(|(field, (_, source))| column(*source, field));
        let columns = columns.collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(from_arrow)
    }
}

/// Whether a column has a value where nobody gives one.
fn fills_itself(def: &TableDef, column: usize) -> bool {
    def.column_rules(column)
        .is_some_and(|rules| rules.default.is_some() || rules.generated.is_some())
}

/// Whether a column holds an expression over others.
pub(super) fn is_generated(def: &TableDef, column: usize) -> bool {
    def.column_rules(column)
        .is_some_and(|rules| rules.generated.is_some())
}

/// Fails unless every name is a column of the table that takes values, once.
pub(super) fn check_chosen(def: &TableDef, chosen: &[String]) -> Result<(), Error> {
    for (index, name) in chosen.iter().enumerate() {
        match def.column_named(name) {
            None => {
                return Err(invalid(format!(
                    "table \"{}\" has no column \"{name}\"; it has {}",
                    def.name,
                    column_list(def)
                )));
            }
            Some(column) if is_generated(def, column) => {
                return Err(invalid(format!(
                    "column \"{name}\" of table \"{}\" is generated: leave it out",
                    def.name
                )));
            }
            Some(_) => {}
        }
        if chosen.iter().take(index).any(|other| other == name) {
            return Err(invalid(format!("column \"{name}\" is listed twice")));
        }
    }
    Ok(())
}

/// A column that a file has and its table has not.
pub(super) fn unknown_column(path: &Path, def: &TableDef, name: &str) -> Error {
    invalid(format!(
        "{}: table \"{}\" has no column \"{name}\"; it has {}; to skip columns of the file, list the \
         others: COPY \"{}\" (columns) FROM",
        path.display(),
        def.name,
        column_list(def),
        def.name
    ))
}

/// The names of a table's columns.
pub(super) fn visible_names(def: &TableDef) -> Vec<String> {
    let columns = def.visible_columns().into_iter();
    columns
        .map(|column| def.column_name(column).to_owned())
        .collect()
}

fn column_list(def: &TableDef) -> String {
    visible_names(def).join(", ")
}

/// Columns of a table as the store has them, all of them nullable.
pub(super) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Vec<Field> = fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Fails unless every column of a file with types becomes one of the table without loss.
pub(super) fn check_types(
    path: &Path,
    def: &TableDef,
    file: &Schema,
    matched: &Matched,
) -> Result<(), Error> {
    for (field, (_, source)) in matched.schema.fields().iter().zip(&matched.pairs) {
        let from = file.field(*source).data_type();
        if !keeps_values(from, field.data_type()) {
            return Err(invalid(format!(
                "{}: column \"{}\" is {from} in the file, but {} in table \"{}\"",
                path.display(),
                field.name(),
                field.data_type(),
                def.name
            )));
        }
    }
    Ok(())
}

/// Rows of a file with types as rows of the table.
pub(super) fn convert(
    path: &Path,
    matched: &Matched,
    batch: &RecordBatch,
) -> Result<RecordBatch, Error> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    matched.rows(batch.num_rows(), |source, field| {
        cast_with_options(batch.column(source), field.data_type(), &options).map_err(|error| {
            invalid(format!(
                "{}: column \"{}\": {}",
                path.display(),
                field.name(),
                from_arrow(error)
            ))
        })
    })
}

/// Whether a checked cast either keeps every value or fails: the types are of one class, and the
/// target is not coarser. (Integers that do not fit fail in the cast.)
fn keeps_values(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Decimal32, Decimal64, Decimal128, Decimal256,
        Dictionary, FixedSizeBinary, Float16, Float32, Float64, LargeBinary, LargeList, LargeUtf8,
        List, Map, Null, Struct, Time32, Time64, Timestamp, Utf8, Utf8View,
    };
    if from == to {
        return true;
    }
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, values), _) => keeps_values(values, to),
        (from, to) if from.is_integer() && to.is_integer() => true,
        (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_),
            Binary | LargeBinary | BinaryView,
        ) => true,
        (Date32, Date64) => true,
        (
            Decimal32(_, from) | Decimal64(_, from) | Decimal128(_, from) | Decimal256(_, from),
            Decimal32(_, to) | Decimal64(_, to) | Decimal128(_, to) | Decimal256(_, to),
        ) => from <= to,
        (Timestamp(from_unit, from_zone), Timestamp(to_unit, to_zone)) => {
            from_unit <= to_unit && same_instant(from_zone.as_deref(), to_zone.as_deref())
        }
        (Time32(from) | Time64(from), Time32(to) | Time64(to)) => finer(*to) >= finer(*from),
        (List(from) | LargeList(from), List(to) | LargeList(to)) => {
            keeps_values(from.data_type(), to.data_type())
        }
        (Map(from, _), Map(to, _)) => keeps_values(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => fields_keep_values(from, to),
        _ => false,
    }
}

/// How fine a unit is.
fn finer(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

fn fields_keep_values(from: &Fields, to: &Fields) -> bool {
    let alike = |(from, to): (&FieldRef, &FieldRef)| {
        let named = from.name() == to.name();
        // Entries of maps are called differently by different writers.
        let entry = ["key", "keys", "value", "values"].contains(&to.name().as_str());
        (named || entry) && keeps_values(from.data_type(), to.data_type())
    };
    from.len() == to.len() && from.iter().zip(to).all(alike)
}

/// Whether a cast between the zones keeps the instant. No zone means UTC.
fn same_instant(from: Option<&str>, to: Option<&str>) -> bool {
    let is_utc = |zone: &str| matches!(zone, "UTC" | "utc" | "Z" | "+00:00" | "+00" | "Etc/UTC");
    match (from, to) {
        (None, None) | (Some(_), Some(_)) => true,
        (Some(zone), None) | (None, Some(zone)) => is_utc(zone),
    }
}
