//! Windows whose rows wait for later ones.
//!
//! A window that cannot give a row yet asks for more input by calling itself: so many batches that wait, so many
//! calls deep. A large partition, or small batches, overflow the stack, which ends the process. An input that lets other
//! tasks run after some batches ends the calls, too.
//!
//! A window also joins the batches that wait, and gives parts of the whole. A part of a column of text (`Utf8View`)
//! keeps the buffers of the whole column alive, however few of its rows it has; so each batch that a window
//! gives names the buffers of all batches that waited, the window above joins those lists, and with each
//! level their number is multiplied by that of the batches: a minute for four levels over some hundred batches of three
//! rows. A sort counts each of those buffers for each batch, and finds that gigabytes are needed for some kilobytes of
//! text; of one batch with all rows, as some windows give, it makes many that share all of its text, and counts that
//! for each. [`CompactExec`] stands below each window, and each sort of what a window gave, and copies text that lies in
//! many buffers, or in buffers that are mostly of other rows, into one.
//!
//! And a window gives a row as soon as its frame is known to be whole. Of `RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING` that
//! is said of every row, since what precedes has been seen; but the frame of a NULL is all NULLs, the later ones, too,
//! and so it is with an infinite or undefined float. Those frames are left to the window that reads all of its input first.
//!
//! Invariant: rows and their order are those of the plan before, or, for such frames, what SQL says. Non-goal: text
//! within lists and structs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray};
use arrow::datatypes::{ByteViewType, DataType};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};
use futures::{TryStreamExt, stream};

use super::forget::{ForgetExec, is_window};
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

/// Lets the inputs of windows yield, and keeps their text together. See the module.
#[derive(Debug)]
pub(super) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        plan.transform_up(|node| {
            let node = match node.downcast_ref::<BoundedWindowAggExec>() {
                Some(window) if hurries(window)? => Transformed::yes(whole(window)?),
                _ => Transformed::no(node),
            };
            node.transform_data(yielding)?.transform_data(gathering)
        })
        .data()
    }

    fn name(&self) -> &str {
        "Yielding"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A window whose input yields and keeps its text together.
fn yielding(node: Plan) -> Result<Transformed<Plan>> {
    let [input] = node.children()[..] else {
        return Ok(Transformed::no(node));
    };
    if !is_window(&node) || input.is::<CooperativeExec>() {
        return Ok(Transformed::no(node));
    }
    let input: Plan = Arc::new(CooperativeExec::new(compacted(Arc::clone(input))));
    replace_children_if_necessary(node, vec![input]).map(Transformed::yes)
}

/// A sort of what a window gave, whose text is kept together.
fn gathering(node: Plan) -> Result<Transformed<Plan>> {
    match node.downcast_ref::<SortExec>() {
        Some(sort) if gives_windows(sort.input()) => {
            let input = compacted(Arc::clone(sort.input()));
            replace_children_if_necessary(node, vec![input]).map(Transformed::yes)
        }
        _ => Ok(Transformed::no(node)),
    }
}

/// Whether its batches are those of a window, or parts of them.
fn gives_windows(plan: &Plan) -> bool {
    let handed_on = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<ForgetExec>()
        || plan.is::<CooperativeExec>();
    match plan.children()[..] {
        [input] => is_window(plan) || (handed_on && gives_windows(input)),
        _ => false,
    }
}

/// The rows of a plan, with text in few buffers if there is any.
fn compacted(plan: Plan) -> Plan {
    let fields = plan.schema();
    let mut fields = fields.fields().iter();
    match fields.any(|field| is_view(field.data_type())) && !plan.is::<CompactExec>() {
        true => CompactExec::above(plan),
        false => plan,
    }
}

/// Whether it may give rows of NULL before it has seen all that are in their frame.
fn hurries(window: &BoundedWindowAggExec) -> Result<bool> {
    if window.input_order_mode != InputOrderMode::Sorted {
        return Ok(false);
    }
    let schema = window.input().schema();
    for expr in window.window_expr() {
        let frame = expr.get_window_frame();
        let precedes = frame.units == WindowFrameUnits::Range
            && matches!(frame.end_bound, WindowFrameBound::Preceding(_));
        if let (true, Some(order)) = (precedes, expr.order_by().first())
            && (order.expr.nullable(&schema)? || order.expr.data_type(&schema)?.is_floating())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same window, which gives nothing before it has read everything.
fn whole(window: &BoundedWindowAggExec) -> Result<Plan> {
    let divides = !window.partition_keys().is_empty();
    let input = Arc::clone(window.input());
    let window = WindowAggExec::try_new(window.window_expr().to_vec(), input, divides)?;
    Ok(Arc::new(window))
}

/// Its input's rows, with text in few buffers.
pub type CompactExec = PassThrough<Compact>;

/// See [`CompactExec`].
#[derive(Debug, Clone)]
pub struct Compact;

impl CompactExec {
    /// The rows of a plan, with text in few buffers.
    pub fn above(input: Plan) -> Plan {
        Arc::new(Self::new(input, Compact))
    }
}

impl Manner for Compact {
    const NAME: &'static str = "CompactExec";

    fn execute(
        &self,
        input: &Plan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let most = context.session_config().batch_size().max(MIN_PART);
        let rows = input.execute(partition, context)?;
        let rows = rows
            .map_ok(move |batch| stream::iter(parts(batch, most)))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            input.schema(),
            rows,
        )))
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

fn is_view(kind: &DataType) -> bool {
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
    use arrow::array::StringViewArray;
    use arrow::compute::concat;
    use arrow::datatypes::{Field, Schema};

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
}
