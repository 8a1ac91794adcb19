//! Writing rows that a statement spells out, and changing or removing the row of a key.
//!
//! Invariant: everything that could make the planner say something else is found out before the rows are
//! handed over; from then on the outcome is the statement's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use hashbrown::HashSet;
use netabase_store::{Change, Error};

use super::PointCall;
use super::fit::{assignable, integer, integer_of};
use super::plan::{Delete, Insert, SetTo, Update};
use super::read::Found;
use super::syntax::Operand;
use crate::cluster::WriteReceipt;
use crate::output::{Output, ScanInfo};
use crate::running::Statement;
use crate::write::logical_bytes;

impl PointCall {
    pub(super) async fn insert(
        &self,
        insert: &Insert,
        anywhere: bool,
    ) -> Result<Option<Output>, Error> {
        match self.rows_of(insert) {
            Some(rows) => self.write(Change::Upsert, rows, Vec::new(), anywhere).await,
            None => Ok(None),
        }
    }

    pub(super) async fn update(
        &self,
        update: &Update,
        anywhere: bool,
    ) -> Result<Option<Output>, Error> {
        let Some(key) = self.key(&update.key) else {
            return Ok(None);
        };
        // Values that are not for this path are found out even if there is no row.
        let Some(Found { row, scans }) = self.find(&key, &update.whole)? else {
            return Ok(None);
        };
        let Some(row) = row else {
            return match self.are_assignable(update) {
                true => Output::written(WriteReceipt::default(), scans).map(Some),
                false => Ok(None),
            };
        };
        match self.changed(update, &row) {
            Some(row) => self.write(Change::Upsert, row, scans, anywhere).await,
            None => Ok(None),
        }
    }

    pub(super) async fn delete(
        &self,
        delete: &Delete,
        anywhere: bool,
    ) -> Result<Option<Output>, Error> {
        let Some(key) = self.key(&delete.key) else {
            return Ok(None);
        };
        match self.find(&key, &delete.columns)? {
            Some(Found {
                row: Some(row),
                scans,
            }) => self.write(Change::Delete, row, scans, anywhere).await,
            Some(Found { row: None, scans }) => {
                Output::written(WriteReceipt::default(), scans).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Hands rows over, and waits until they are where they should be.
    async fn write(
        &self,
        change: Change,
        rows: RecordBatch,
        scans: Vec<ScanInfo>,
        anywhere: bool,
    ) -> Result<Option<Output>, Error> {
        if logical_bytes(&rows) > self.engine.settings().max_insert_bytes {
            return Ok(None);
        }
        let def = &self.plan.def;
        let parts = self.plan.reader.encoder().split(&rows)?;
        let cluster = self.engine.cluster();
        let Some(_entered) = self.engine.unique().try_enter(&self.engine, def) else {
            return Ok(None);
        };
        let receipt = match cluster.begin_write(def, change, &parts)? {
            Some(started) => started.finish().await?,
            None if anywhere => return Ok(None),
            None => self.write_away(change, parts).await?,
        };
        Output::written(receipt, scans).map(Some)
    }

    /// Writes rows to other peers, which may take its time: so it is among the statements that run.
    async fn write_away(
        &self,
        change: Change,
        parts: Vec<(u32, RecordBatch)>,
    ) -> Result<WriteReceipt, Error> {
        let work = async {
            Statement::current().begin_writing()?;
            let def = Arc::clone(&self.plan.def);
            self.engine.cluster().write(def, change, parts).await
        };
        if self.inside {
            return work.await;
        }
        self.tracked.store(true, Ordering::Relaxed);
        let text = self.text.as_deref().unwrap_or_default();
        self.engine.running().track(text, work).await
    }

    /// The rows of an INSERT, if all values fit, none is NULL where it may not be, and no key comes
    /// twice.
    fn rows_of(&self, insert: &Insert) -> Option<RecordBatch> {
        let columns = insert.places.iter().enumerate();
        let columns = columns.map(|(column, place)| {
            let values = insert.rows.iter().map(|row| match place {
                Some(place) => self.assigned(column, row.get(*place)?),
                None => ScalarValue::try_from(self.type_of(column)?).ok(),
            });
            array(values.collect::<Option<Vec<_>>>()?)
        });
        let rows = self.batch(columns.collect::<Option<_>>()?)?;
        let encoder = self.plan.reader.encoder();
        if rows.num_rows() > 1 {
            let keys = encoder.encode(&rows).ok()?;
            let mut seen = HashSet::with_capacity(rows.num_rows());
            if !keys.iter().all(|key| seen.insert(key)) {
                return None;
            }
        }
        Some(rows)
    }

    /// A batch with the table's columns; `None` if a NULL is where it may not be.
    fn batch(&self, columns: Vec<ArrayRef>) -> Option<RecordBatch> {
        let schema: &SchemaRef = &self.plan.def.schema;
        let key = &self.plan.def.primary_key;
        if key
            .iter()
            .any(|index| columns.get(*index).is_none_or(|of| of.null_count() > 0))
        {
            return None;
        }
        // Arrow checks the other columns.
        RecordBatch::try_new(Arc::clone(schema), columns).ok()
    }

    /// A value as a column holds it.
    fn assigned(&self, column: usize, operand: &Operand) -> Option<ScalarValue> {
        assignable(&self.value(operand)?, self.type_of(column)?)
    }

    /// Whether the values of an UPDATE fit, whatever row they are for.
    fn are_assignable(&self, update: &Update) -> bool {
        update.set.iter().all(|(column, to)| match to {
            SetTo::Value(value) => {
                let needed = self.plan.def.schema.fields().get(*column);
                let needed = needed.is_none_or(|field| !field.is_nullable());
                let value = self.assigned(*column, value);
                value.is_some_and(|value| !(needed && value.is_null()))
            }
            // What a sum is depends on the row.
            SetTo::Plus(..) | SetTo::Minus(..) => false,
        })
    }

    /// A row with other values in some columns.
    fn changed(&self, update: &Update, row: &RecordBatch) -> Option<RecordBatch> {
        let mut columns = row.columns().to_vec();
        for (column, to) in &update.set {
            let value = match to {
                SetTo::Value(value) => self.assigned(*column, value)?,
                SetTo::Plus(of, value) => self.sum(*column, (row.column(*of), value), 1)?,
                SetTo::Minus(of, value) => self.sum(*column, (row.column(*of), value), -1)?,
            };
            *columns.get_mut(*column)? = value.to_array().ok()?;
        }
        self.batch(columns)
    }

    /// What is in a row and a number times `sign`, as a column holds it: for integers that nothing
    /// happens to on the way.
    fn sum(
        &self,
        column: usize,
        (left, right): (&ArrayRef, &Operand),
        sign: i128,
    ) -> Option<ScalarValue> {
        let target = self.type_of(column)?;
        if *target == DataType::UInt64 || *left.data_type() == DataType::UInt64 {
            return None;
        }
        let (number, left) = (
            self.value(right)?,
            ScalarValue::try_from_array(left, 0).ok()?,
        );
        let right = integer(&number)?;
        if !left.data_type().is_integer() || !target.is_integer() {
            return None;
        }
        if left.is_null() {
            return ScalarValue::try_from(target).ok();
        }
        let sum = integer(&left)? + sign * right;
        // Where the planner computes in 64 bits, it may wrap.
        i64::try_from(sum).ok()?;
        i64::try_from(right).ok()?;
        // It computes in one type of both sides, and fails where that ends.
        let (left, number) = (left.data_type(), number.data_type());
        let within = BinaryTypeCoercer::new(&left, &Operator::Plus, &number);
        integer_of(sum, &within.get_result_type().ok()?)?;
        integer_of(sum, target)
    }
}

fn array(mut values: Vec<ScalarValue>) -> Option<ArrayRef> {
    match values.len() {
        1 => values.pop()?.to_array().ok(),
        _ => ScalarValue::iter_to_array(values).ok(),
    }
}
