//! The database as a Python object.

use std::path::PathBuf;
use std::time::Duration;

use netabase::{Error, ErrorKind, Netabase, PeerInfo, Role, WriteReceipt};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::failure::exception;
use crate::result::ResultSet;
use crate::wait::wait;

/// An open database: a peer of a network, or alone.
#[pyclass(frozen, module = "netabase")]
pub(crate) struct Database {
    db: Netabase,
}

/// Opens a database.
#[pyfunction]
#[pyo3(signature = (data_dir=None, network=None, bootstrap=vec![], listen=None, role="client", mdns=false, deadline=None))]
// The arguments are Python's, and named there.
#[allow(clippy::too_many_arguments)]
pub(crate) fn open(
    py: Python<'_>,
    data_dir: Option<PathBuf>,
    network: Option<String>,
    bootstrap: Vec<String>,
    listen: Option<Vec<String>>,
    role: &str,
    mdns: bool,
    deadline: Option<f64>,
) -> PyResult<Database> {
    let mut builder = Netabase::builder().role(role_of(role)?).mdns(mdns);
    if let Some(folder) = data_dir {
        builder = builder.data_dir(folder);
    }
    if let Some(name) = network {
        builder = builder.network(name);
    }
    for address in bootstrap {
        builder = builder.bootstrap(address);
    }
    for address in listen.unwrap_or_default() {
        builder = builder.listen(address);
    }
    if let Some(time) = deadline {
        builder = builder.deadline(seconds("deadline", time)?);
    }
    let db = wait(py, builder.open())?;
    Ok(Database { db })
}

#[pymethods]
impl Database {
    /// This peer's id.
    #[getter]
    fn peer_id(&self) -> &str {
        self.db.peer_id()
    }

    /// The addresses that other peers can join through.
    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.db.addresses()
    }

    /// Runs one statement.
    fn sql(&self, py: Python<'_>, text: &str) -> PyResult<ResultSet> {
        wait(py, self.db.sql(text)).map(ResultSet::new)
    }

    /// Stores a value under a key; says what the write reached.
    fn put<'py>(&self, py: Python<'py>, key: &[u8], value: &[u8]) -> PyResult<Bound<'py, PyDict>> {
        let receipt = wait(py, self.db.put(key, value))?;
        receipt_dict(py, &receipt)
    }

    /// Reads the value of a key; None when there is none.
    fn get<'py>(&self, py: Python<'py>, key: &[u8]) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let value = wait(py, self.db.get(key))?;
        Ok(value.map(|value| PyBytes::new(py, &value)))
    }

    /// Removes a key; says whether it had a value.
    fn delete(&self, py: Python<'_>, key: &[u8]) -> PyResult<bool> {
        wait(py, self.db.delete(key))
    }

    /// The other peers that are ready.
    fn peers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let peers = self.db.peers();
        let dicts: Vec<_> = peers
            .iter()
            .map(|peer| peer_dict(py, peer))
            .collect::<PyResult<_>>()?;
        PyList::new(py, dicts)
    }

    /// Waits until that many other peers are ready.
    #[pyo3(signature = (count, timeout=30.0))]
    fn wait_for_peers(&self, py: Python<'_>, count: usize, timeout: f64) -> PyResult<()> {
        let timeout = seconds("timeout", timeout)?;
        wait(py, self.db.wait_for_peers(count, timeout))
    }

    /// Leaves the network and makes everything durable; closing again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        wait(py, self.db.close())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _exception: &Bound<'_, pyo3::types::PyTuple>,
    ) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        format!("<netabase.Database {}>", self.db.peer_id())
    }
}

fn role_of(name: &str) -> PyResult<Role> {
    match name {
        "client" => Ok(Role::Client),
        "server" => Ok(Role::Server),
        other => Err(invalid(format!(
            "role is {other:?}; give \"client\" or \"server\""
        ))),
    }
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| invalid(format!("{name} is {value}; give seconds, 0 or more")))
}

pub(crate) fn invalid(text: String) -> PyErr {
    exception(&Error::new(ErrorKind::InvalidInput, text))
}

pub(crate) fn receipt_dict<'py>(
    py: Python<'py>,
    receipt: &WriteReceipt,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("rows", receipt.rows)?;
    dict.set_item("shards", receipt.shards)?;
    dict.set_item("peers", &receipt.peers)?;
    dict.set_item("replicas", receipt.replicas)?;
    dict.set_item("bytes", receipt.bytes)?;
    Ok(dict)
}

fn peer_dict<'py>(py: Python<'py>, peer: &PeerInfo) -> PyResult<Bound<'py, PyDict>> {
    let role = match peer.role {
        Role::Server => "server",
        Role::Client => "client",
    };
    let dict = PyDict::new(py);
    dict.set_item("id", &peer.id)?;
    dict.set_item("role", role)?;
    dict.set_item("addresses", &peer.addresses)?;
    dict.set_item("tables", peer.tables)?;
    dict.set_item("rows", peer.rows)?;
    Ok(dict)
}
