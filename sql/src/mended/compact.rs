//! Rows in batches of another size, with their text together.
//!
//! See [`super::windows`] for what needs them.
//!
//! Bound: at most as many rows wait as were handed on since the last that differs in its keys, or as a batch has.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{ByteViewType, DataType};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{TryStreamExt, stream};

use crate::pass_through::{Manner, PassThrough};

type Plan = Arc<dyn ExecutionPlan>;

/// Buffers of one column of one batch that are handed on. Scans, sorts and joins give a few.
const MOST_BUFFERS: usize = 16;
/// Bytes of buffers that are handed on whatever is used of them.
const LEAST_HELD: usize = 4096;
/// Times that the bytes of its buffers may be those that a column uses.
const MOST_HELD: usize = 4;
/// Rows of the batches that one is cut into where a query has smaller ones: a sort merges all that it is given at
/// once, and is slow with thousands.
const MIN_PART: usize = 8192;

/// Its input's rows with text in few buffers, and where that is wanted in larger batches.
pub type CompactExec = PassThrough<Compact>;

/// See [`CompactExec`].
#[derive(Debug, Clone)]
pub struct Compact {
    /// Where many rows in a row have the same, batches double.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Whether tiny batches are put together.
    gathers: bool,
}

impl CompactExec {
    /// The rows of a plan, with text in few buffers, in batches that double where the keys stay the same, and in none
    /// that are tiny if they are gathered.
    pub fn above(input: Plan, keys: Vec<Arc<dyn PhysicalExpr>>, gathers: bool) -> Plan {
        Arc::new(Self::new(input, Compact { keys, gathers }))
    }

    /// What rows have the same of where batches double; nothing where they do not.
    pub fn keys(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.manner().keys
    }

    /// Whether tiny batches are put together.
    pub fn gathers(&self) -> bool {
        self.manner().gathers
    }
}

impl Manner for Compact {
    const NAME: &'static str = "CompactExec";

    fn expressions(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.keys
    }

    fn execute(
        &self,
        input: &Plan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let size = context.session_config().batch_size();
        let waiting = Waiting {
            rows: input.execute(partition, context)?,
            keys: self.keys.clone(),
            size: if self.gathers { size } else { 0 },
            batches: Vec::new(),
            count: 0,
            given: 0,
            last: Vec::new(),
            peers: 0,
        };
        let most = match self.keys.is_empty() {
            true => size.max(MIN_PART),
            false => usize::MAX,
        };
        let rows = stream::try_unfold(waiting, Waiting::next)
            .map_ok(move |batch| stream::iter(parts(batch, most)))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            input.schema(),
            rows,
        )))
    }
}

/// Batches that wait for more.
struct Waiting {
    rows: SendableRecordBatchStream,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Rows of a batch that is not tiny.
    size: usize,
    batches: Vec<RecordBatch>,
    /// Rows that wait.
    count: usize,
    /// Rows that were handed on: the first ones at once, as no more may be wanted.
    given: usize,
    /// The keys of the last row.
    last: Vec<ScalarValue>,
    /// Rows of the batches that have ended with these keys without another between.
    peers: usize,
}

impl Waiting {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        while let Some(batch) = self.rows.try_next().await? {
            let rows = batch.num_rows();
            if rows == 0 {
                continue;
            }
            let last = self.keys_of_last(&batch)?;
            let goes_on = !last.is_empty() && last == self.last;
            self.peers = if goes_on { self.peers + rows } else { rows };
            self.last = last;
            self.count += rows;
            self.batches.push(batch);
            let least = self.size.min(self.given).max(self.peers / 2);
            if self.count >= least {
                return self.give();
            }
        }
        self.give()
    }

    fn keys_of_last(&self, batch: &RecordBatch) -> Result<Vec<ScalarValue>> {
        let last = batch.slice(batch.num_rows() - 1, 1);
        let value = |key: &Arc<dyn PhysicalExpr>| {
            let value = key.evaluate(&last)?.into_array(1)?;
            ScalarValue::try_from_array(&value, 0)
        };
        self.keys.iter().map(value).collect()
    }

    /// All that wait, as one batch.
    fn give(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let batches = std::mem::take(&mut self.batches);
        self.given += std::mem::take(&mut self.count);
        let batch = match &batches[..] {
            [] => return Ok(None),
            [batch] => batch.clone(),
            batches => concat_batches(&self.rows.schema(), batches)?,
        };
        Ok(Some((batch, self)))
    }
}

/// The same rows in batches of some at most, each with its own text.
fn parts(batch: RecordBatch, most: usize) -> impl Iterator<Item = Result<RecordBatch>> {
    let rows = batch.num_rows();
    (0..rows)
        .step_by(most)
        .map(move |first| compact(batch.slice(first, most.min(rows - first))))
}

/// The same rows, with text in few buffers that hold little else.
fn compact(batch: RecordBatch) -> Result<RecordBatch> {
    if !batch.columns().iter().any(is_scattered) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(gathered).collect();
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

pub(super) fn is_view(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8View | DataType::BinaryView)
}

/// Whether its text lies in many buffers, or in some that are mostly of other rows.
fn is_scattered(column: &ArrayRef) -> bool {
    fn is<T: ByteViewType>(column: &GenericByteViewArray<T>) -> bool {
        let buffers = column.data_buffers();
        let held: usize = buffers.iter().map(|buffer| buffer.capacity()).sum();
        buffers.len() > MOST_BUFFERS
            || (held > LEAST_HELD && held / MOST_HELD > column.total_buffer_bytes_used())
    }
    match column.data_type() {
        DataType::Utf8View => is(column.as_string_view()),
        DataType::BinaryView => is(column.as_binary_view()),
        _ => false,
    }
}

fn gathered(column: &ArrayRef) -> ArrayRef {
    if !is_scattered(column) {
        return Arc::clone(column);
    }
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringViewArray};
    use arrow::compute::concat;
    use arrow::datatypes::{Field, Schema};
    use datafusion::physical_expr::expressions::col;
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn text_in_many_buffers_is_copied_into_one() {
        let texts: Vec<String> = (0..100)
            .map(|i| format!("a text with number {i}"))
            .collect();
        let parts: Vec<ArrayRef> = texts
            .iter()
            .map(|text| Arc::new(StringViewArray::from_iter_values([text])) as ArrayRef)
            .collect();
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let whole = concat(&parts).unwrap();
        let part = whole.slice(40, 3);
        assert_eq!(part.as_string_view().data_buffers().len(), 100);
        let schema = Schema::new(vec![Field::new("a", DataType::Utf8View, true)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![part]).unwrap();
        let compacted = compact(batch.clone()).unwrap();
        assert_eq!(compacted, batch);
        let column = compacted.column(0).as_string_view();
        assert_eq!(column.data_buffers().len(), 1);
    }

    #[test]
    fn a_few_rows_of_a_large_buffer_are_copied_out_of_it() {
        let texts = (0..1000).map(|i| format!("a text with number {i}"));
        let whole: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts).gc());
        assert!(!is_scattered(&whole));
        let part = whole.slice(40, 3);
        assert!(is_scattered(&part));
        let gathered = gathered(&part);
        assert_eq!(&gathered, &part);
        let column = gathered.as_string_view();
        let held: usize = column.data_buffers().iter().map(|b| b.capacity()).sum();
        assert!(held < 1000, "{held}");
    }

    /// The sizes of the batches that are made of such with these values, each as often as the number says.
    fn sizes(batches: &[(i32, usize)], size: usize, has_keys: bool) -> Vec<usize> {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, false)]));
        let rows: Vec<_> = batches
            .iter()
            .map(|(value, rows)| {
                let values: ArrayRef = Arc::new(Int32Array::from(vec![*value; *rows]));
                Ok(RecordBatch::try_new(Arc::clone(&schema), vec![values])?)
            })
            .collect();
        let keys = has_keys.then(|| col("a", &schema).unwrap());
        let waiting = Waiting {
            rows: Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(rows))),
            keys: keys.into_iter().collect(),
            size,
            batches: Vec::new(),
            count: 0,
            given: 0,
            last: Vec::new(),
            peers: 0,
        };
        let given = stream::try_unfold(waiting, Waiting::next);
        let given = given.map_ok(|batch| batch.num_rows());
        block_on(given.try_collect()).unwrap()
    }

    #[test]
    fn batches_of_equal_rows_double() {
        let equal = sizes(&[(7, 10); 40], 10, true);
        assert_eq!(equal, [10, 10, 20, 40, 80, 160, 80]);
        let unequal: Vec<_> = (0..5).map(|value| (value, 10)).collect();
        assert_eq!(sizes(&unequal, 10, true), [10; 5]);
        let others: Vec<_> = [(7, 10); 4].into_iter().chain([(8, 10); 4]).collect();
        assert_eq!(sizes(&others, 10, true), [10, 10, 20, 10, 10, 20]);
    }

    #[test]
    fn tiny_batches_are_put_together() {
        assert_eq!(sizes(&[(7, 3); 14], 10, false), [3, 3, 6, 12, 12, 6]);
        assert_eq!(sizes(&[(7, 3); 3], 0, false), [3; 3]);
        assert_eq!(sizes(&[(7, 0), (7, 30), (7, 0)], 10, false), [30]);
        assert!(sizes(&[(7, 0)], 10, false).is_empty());
    }
}
