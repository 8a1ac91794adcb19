//! The answer to one statement as a Python object.

use std::sync::{Mutex, MutexGuard, PoisonError};

use netabase::arrow::datatypes::SchemaRef;
use netabase::arrow::record_batch::{RecordBatchIterator, RecordBatchReader};
use netabase::arrow::util::pretty::pretty_format_batches_with_schema;
use netabase::blocking::Reader;
use netabase::{Answer, Batches, Coverage, CoverageHandle, TableCoverage, WriteReceipt};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3_arrow::PyRecordBatchReader;

use crate::database::{invalid, receipt_dict};
use crate::failure::exception;
use crate::values::Values;
use crate::wait::wait;

/// Rows that `repr` shows.
const SHOWN_ROWS: usize = 100;

/// The answer to one statement.
#[pyclass(frozen, module = "netabase", name = "Result")]
pub(crate) struct ResultSet {
    // Held for moments only, never during a wait: whoever waits for it holds the interpreter.
    rows: Mutex<Rows>,
    schema: SchemaRef,
    coverage: CoverageHandle,
    receipt: Option<WriteReceipt>,
    plan: Option<String>,
}

enum Rows {
    /// Not read yet.
    Pending(Box<Answer>),
    /// In memory.
    Read(Batches),
    /// Handed over as a stream, being read by another thread, or lost to an error.
    Gone,
}

impl ResultSet {
    pub(crate) fn new(answer: Answer) -> Self {
        Self {
            schema: answer.schema(),
            coverage: answer.coverage_handle(),
            receipt: answer.receipt().cloned(),
            plan: answer.plan_text(),
            rows: Mutex::new(Rows::Pending(Box::new(answer))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Rows {
        std::mem::replace(&mut *self.lock(), Rows::Gone)
    }

    /// Reads every row into memory; they stay there.
    fn read(&self, py: Python<'_>) -> PyResult<Batches> {
        let batches = match self.take() {
            Rows::Pending(answer) => wait(py, answer.collect())?,
            Rows::Read(batches) => batches,
            Rows::Gone => return Err(gone()),
        };
        *self.lock() = Rows::Read(batches.clone());
        Ok(batches)
    }

    /// The rows in plain Arrow layouts: those in memory again and again, others once.
    fn reader(&self) -> PyResult<Box<dyn RecordBatchReader + Send>> {
        match self.take() {
            Rows::Pending(answer) => Ok(Box::new(Reader::new(answer.stream()).expand_views())),
            Rows::Read(batches) => {
                *self.lock() = Rows::Read(batches.clone());
                let plain = batches.expand_views().map_err(|e| exception(&e))?;
                let schema = plain.schema();
                let all = plain.into_batches().into_iter().map(Ok);
                Ok(Box::new(RecordBatchIterator::new(all, schema)))
            }
            Rows::Gone => Err(gone()),
        }
    }
}

#[pymethods]
impl ResultSet {
    /// The names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    }

    /// What the rows cover; complete after the last row has been read.
    #[getter]
    fn coverage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        coverage_dict(py, &self.coverage.current())
    }

    /// What a write reached; None for anything else.
    #[getter]
    fn receipt<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.receipt
            .as_ref()
            .map(|receipt| receipt_dict(py, receipt))
            .transpose()
    }

    /// The plan as text.
    #[getter]
    fn plan(&self) -> Option<&str> {
        self.plan.as_deref()
    }

    /// Every row, as a list of tuples.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let values = Values::new(py)?;
        let rows = PyList::empty(py);
        for batch in self.read(py)?.batches() {
            let columns = batch
                .columns()
                .iter()
                .map(|column| values.column(column))
                .collect::<PyResult<Vec<_>>>()?;
            for row in 0..batch.num_rows() {
                rows.append(PyTuple::new(py, columns.iter().map(|column| &column[row]))?)?;
            }
        }
        Ok(rows)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let reader = Bound::new(py, PyRecordBatchReader::new(self.reader()?))?;
        reader.call_method1("__arrow_c_stream__", (requested_schema,))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        if matches!(*self.lock(), Rows::Gone) {
            return Ok(format!(
                "<netabase.Result, rows handed over: {}>",
                self.coverage.current()
            ));
        }
        let batches = self.read(py)?;
        let mut left = SHOWN_ROWS;
        let mut shown = Vec::new();
        for batch in batches.batches() {
            let rows = left.min(batch.num_rows());
            let texts = netabase::text_batch(&batch.slice(0, rows));
            shown.push(texts.map_err(|error| exception(&error))?);
            left -= rows;
        }
        let schema = netabase::text_schema(&batches.schema());
        let table = pretty_format_batches_with_schema(schema, &shown)
            .map_err(|e| invalid(format!("the rows cannot be shown as text: {e}")))?;
        let hidden = batches.num_rows().saturating_sub(SHOWN_ROWS);
        Ok(match hidden {
            0 => table.to_string(),
            more => format!("{table}\n… and {more} more rows"),
        })
    }
}

fn gone() -> PyErr {
    invalid(
        "the rows of this result are gone: they were handed over as an Arrow stream, are being read \
         by another thread, or were cut short by an error; run the statement again"
            .into(),
    )
}

fn coverage_dict<'py>(py: Python<'py>, coverage: &Coverage) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("shards_total", coverage.shards_total)?;
    dict.set_item("shards_answered", coverage.shards_answered)?;
    dict.set_item("peers", &coverage.peers)?;
    dict.set_item("rows", coverage.rows)?;
    dict.set_item("bytes", coverage.bytes)?;
    dict.set_item("elapsed", coverage.elapsed.as_secs_f64())?;
    dict.set_item("retries", coverage.retries)?;
    let tables: Vec<_> = coverage
        .tables
        .iter()
        .map(|table| table_dict(py, table))
        .collect::<PyResult<_>>()?;
    dict.set_item("tables", tables)?;
    Ok(dict)
}

fn table_dict<'py>(py: Python<'py>, table: &TableCoverage) -> PyResult<Bound<'py, PyDict>> {
    let mut shards = Vec::with_capacity(table.shards.len());
    for shard in &table.shards {
        let dict = PyDict::new(py);
        dict.set_item("shard", shard.shard)?;
        dict.set_item("holder", &shard.holder)?;
        dict.set_item("rows", shard.rows)?;
        dict.set_item("digest", &shard.digest)?;
        shards.push(dict);
    }
    let dict = PyDict::new(py);
    dict.set_item("table", &table.table)?;
    dict.set_item("shards", shards)?;
    Ok(dict)
}
