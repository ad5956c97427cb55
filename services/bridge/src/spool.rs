//! `Spool`, its writer, and opening what others share, as Python has them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use mcpgateway_engine::payload::ProcessLimits;
use mcpgateway_engine::{Error, ErrorKind, Payload, Result, TransferPolicy, fault, runtime};
use mcpgateway_shm::{Listing, PayloadRef, Spool, SpoolOptions, SpoolStats, SpoolWriter, SweepReport, Usage};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::awaitable::awaitable;
use crate::buffer::{PyBody, release_dropped};
use crate::error::IntoPyResult;
use crate::interpreter::guard;
use crate::payload::PyPayload;
use crate::reference::{PyPayloadRef, share_options};

/// Buffers are borrowed, whatever their size: they are copied into the spool anyway.
const BORROW: TransferPolicy = TransferPolicy { copy_below: 0, map_above: usize::MAX };

/// Takes bodies of any size within its budgets, and hands them to other processes.
#[pyclass(name = "Spool", module = "mcpgateway_rust.shm", frozen, weakref)]
pub struct PySpool {
    spool: Arc<Spool>,
}

impl PySpool {
    /// The spool itself.
    #[must_use]
    pub fn spool(&self) -> &Spool {
        &self.spool
    }
}

/// The spools that Python holds in this process, which `open_payload` looks into first.
fn known_spools() -> &'static Mutex<Vec<Weak<Spool>>> {
    static KNOWN: Mutex<Vec<Weak<Spool>>> = Mutex::new(Vec::new());
    &KNOWN
}

fn living_spools() -> Vec<Arc<Spool>> {
    let known = known_spools().lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().filter_map(Weak::upgrade).collect()
}

fn remember(spool: &Arc<Spool>) {
    let mut known = known_spools().lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|known| known.strong_count() > 0);
    known.push(Arc::downgrade(spool));
}

#[pymethods]
impl PySpool {
    #[new]
    #[pyo3(signature = (*, memory_budget = None, disk_budget = None, directory = None, tenant = None, tenant_share = None, map_above = None))]
    fn new(
        py: Python<'_>,
        memory_budget: Option<u64>,
        disk_budget: Option<u64>,
        directory: Option<PathBuf>,
        tenant: Option<String>,
        tenant_share: Option<f64>,
        map_above: Option<u64>,
    ) -> PyResult<Self> {
        guard(py, || {
            let usual = SpoolOptions::default();
            let options = SpoolOptions {
                memory_budget,
                disk_budget,
                directory,
                tenant: tenant.unwrap_or(usual.tenant),
                tenant_share: tenant_share.unwrap_or(usual.tenant_share),
                map_above: map_above.unwrap_or(usual.map_above),
            };
            let spool = py.detach(|| Spool::new(options)).map_err(Error::from).into_py_result(py)?;
            let spool = Arc::new(spool);
            remember(&spool);
            Ok(Self { spool })
        })
    }

    /// A payload with the bytes of `obj`, copied without the GIL.
    fn put(&self, py: Python<'_>, obj: &Bound<'_, PyAny>) -> PyResult<PyPayload> {
        guard(py, || {
            let source = PyBody::from_python(obj, &BORROW)?.into_payload(py)?;
            let spooled = py.detach(|| Payload::spool(source, &self.spool));
            release_dropped(py);
            spooled.into_py_result(py).map(PyPayload::new)
        })
    }

    /// Await such a payload; the bytes are copied on another thread.
    fn put_async<'py>(&self, py: Python<'py>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let source = PyBody::from_python(obj, &BORROW)?;
            let spool = Arc::clone(&self.spool);
            off_the_loop(py, move || Payload::spool(source.gather()?, &spool), PyPayload::convert)
        })
    }

    /// A writer for a payload that comes in pieces.
    #[pyo3(signature = (expected = None))]
    fn writer(&self, py: Python<'_>, expected: Option<u64>) -> PyResult<PySpoolWriter> {
        guard(py, || {
            let writer = py.detach(|| self.spool.writer(expected)).map_err(Error::from).into_py_result(py)?;
            let writer = Arc::new(Mutex::new(Some(writer)));
            Ok(PySpoolWriter { spool: Arc::clone(&self.spool), writer })
        })
    }

    /// A reference with which other processes can open `payload`.
    #[pyo3(signature = (payload, *, ttl, durable = false, content_type = None))]
    fn share(
        &self,
        py: Python<'_>,
        payload: &Bound<'_, PyAny>,
        ttl: f64,
        durable: bool,
        content_type: Option<String>,
    ) -> PyResult<PyPayloadRef> {
        guard(py, || {
            let options = share_options(ttl, durable, content_type)?;
            let payload = PyBody::from_python(payload, &BORROW)?.into_payload(py)?;
            let shared = py.detach(|| payload.share(Some(&self.spool), &options));
            py.detach(|| drop(payload));
            release_dropped(py);
            shared.into_py_result(py).map(PyPayloadRef::new)
        })
    }

    /// Await such a reference; what has to be copied is copied on another thread.
    #[pyo3(signature = (payload, *, ttl, durable = false, content_type = None))]
    fn share_async<'py>(
        &self,
        py: Python<'py>,
        payload: &Bound<'py, PyAny>,
        ttl: f64,
        durable: bool,
        content_type: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let options = share_options(ttl, durable, content_type)?;
            let payload = PyBody::from_python(payload, &BORROW)?;
            let spool = Arc::clone(&self.spool);
            let share = move || payload.gather()?.share(Some(&spool), &options);
            off_the_loop(py, share, PyPayloadRef::convert)
        })
    }

    /// The payload that a worker with the same directory shares.
    fn open(&self, py: Python<'_>, reference: &Bound<'_, PyAny>) -> PyResult<PyPayload> {
        guard(py, || {
            let reference = PyPayloadRef::extract(reference)?;
            py.detach(|| Payload::open(&reference, &self.spool)).into_py_result(py).map(PyPayload::new)
        })
    }

    /// Await such a payload.
    fn open_async<'py>(&self, py: Python<'py>, reference: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let reference = PyPayloadRef::extract(reference)?;
            let spool = Arc::clone(&self.spool);
            off_the_loop(py, move || Payload::open(&reference, &spool), PyPayload::convert)
        })
    }

    /// Nobody opens the payload of `reference` any more.
    fn revoke(&self, py: Python<'_>, reference: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(py, || {
            let reference = PyPayloadRef::extract(reference)?;
            py.detach(|| self.spool.revoke(&reference)).map_err(Error::from).into_py_result(py)
        })
    }

    /// Remove what dead workers left and what has expired.
    fn sweep<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard(py, || {
            let swept = py.detach(|| self.spool.sweep()).map_err(Error::from).into_py_result(py)?;
            sweep_report(py, &swept)
        })
    }

    /// What is held where.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard(py, || {
            let stats = py.detach(|| self.spool.stats()).map_err(Error::from).into_py_result(py)?;
            spool_stats(py, &stats)
        })
    }

    /// The directory that its workers have in common.
    #[getter]
    fn directory(&self) -> &Path {
        self.spool.directory()
    }

    /// Whose payloads these are.
    #[getter]
    fn tenant(&self) -> &str {
        self.spool.tenant()
    }

    /// Payloads above this many bytes are spooled where other processes can map them.
    #[getter]
    fn map_above(&self) -> u64 {
        self.spool.map_above()
    }

    fn __repr__(&self) -> String {
        format!("<Spool {} for {}>", self.spool.directory().display(), self.spool.tenant())
    }
}

/// An awaitable for what `work` returns, which runs on a thread that may take its time.
fn off_the_loop<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    convert: fn(Python<'_>, T) -> PyResult<Py<PyAny>>,
) -> PyResult<Bound<'_, PyAny>> {
    awaitable(py, async move { runtime::blocking(work).await? }, convert)
}

/// Takes the bytes of one payload as they come.
#[pyclass(name = "SpoolWriter", module = "mcpgateway_rust.shm", frozen)]
pub struct PySpoolWriter {
    spool: Arc<Spool>,
    writer: SharedWriter,
}

/// `None` once it is finished or discarded.
type SharedWriter = Arc<Mutex<Option<SpoolWriter>>>;

fn over() -> Error {
    Error::new(ErrorKind::Closed, "this writer is finished or discarded: make another one")
}

fn write_into(writer: &SharedWriter, source: Payload) -> Result<()> {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    let writer = writer.as_mut().ok_or_else(over)?;
    source.into_frames().try_for_each(|frame| {
        fault::point("spool::frame");
        writer.write(&frame).map_err(Error::from)
    })
}

fn finish(writer: &SharedWriter, spool: &Spool) -> Result<Payload> {
    let writer = writer.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(over)?;
    Ok(Payload::spooled(writer.finish()?, spool))
}

#[pymethods]
impl PySpoolWriter {
    /// Append the bytes of `obj`, without the GIL.
    fn write(&self, py: Python<'_>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(py, || {
            let source = PyBody::from_python(obj, &BORROW)?.into_payload(py)?;
            let written = py.detach(|| write_into(&self.writer, source));
            release_dropped(py);
            written.into_py_result(py)
        })
    }

    /// As `write`, on another thread.
    fn write_async<'py>(&self, py: Python<'py>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let source = PyBody::from_python(obj, &BORROW)?;
            let writer = Arc::clone(&self.writer);
            off_the_loop(py, move || write_into(&writer, source.gather()?), |py, ()| Ok(py.None()))
        })
    }

    /// The payload, which never changes from now on.
    fn finish(&self, py: Python<'_>) -> PyResult<PyPayload> {
        guard(py, || py.detach(|| finish(&self.writer, &self.spool)).into_py_result(py).map(PyPayload::new))
    }

    /// As `finish`, on another thread.
    fn finish_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (writer, spool) = (Arc::clone(&self.writer), Arc::clone(&self.spool));
            off_the_loop(py, move || finish(&writer, &spool), PyPayload::convert)
        })
    }

    /// Discard what was written; does nothing once it is finished.
    fn discard(&self, py: Python<'_>) {
        py.detach(|| drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let len = py.detach(|| {
            self.writer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(SpoolWriter::len)
        });
        let len = len.ok_or_else(over).into_py_result(py)?;
        Ok(usize::try_from(len)?)
    }
}

/// The payload of `reference`, from the spools of this process first.
///
/// # Errors
/// `Denied`, `PayloadGone`, `InvalidReference`, or `FileError` for a directory that cannot be used.
#[pyfunction]
#[pyo3(signature = (reference, *, directory = None, tenant = None))]
pub fn open_payload(
    py: Python<'_>,
    reference: &Bound<'_, PyAny>,
    directory: Option<PathBuf>,
    tenant: Option<String>,
) -> PyResult<PyPayload> {
    guard(py, || {
        let reference = PyPayloadRef::extract(reference)?;
        let open = move || open(&reference, directory.as_deref(), tenant.as_deref());
        py.detach(open).into_py_result(py).map(PyPayload::new)
    })
}

/// As `open_payload`, awaited.
///
/// # Errors
/// Those of `open_payload`, and `RuntimeError` when no event loop is running on this thread.
#[pyfunction]
#[pyo3(signature = (reference, *, directory = None, tenant = None))]
pub fn open_payload_async<'py>(
    py: Python<'py>,
    reference: &Bound<'py, PyAny>,
    directory: Option<PathBuf>,
    tenant: Option<String>,
) -> PyResult<Bound<'py, PyAny>> {
    guard(py, || {
        let reference = PyPayloadRef::extract(reference)?;
        let open = move || open(&reference, directory.as_deref(), tenant.as_deref());
        off_the_loop(py, open, PyPayload::convert)
    })
}

fn open(reference: &PayloadRef, directory: Option<&Path>, tenant: Option<&str>) -> Result<Payload> {
    if directory.is_none() && tenant.is_none() {
        for spool in living_spools() {
            match Payload::open(reference, &spool) {
                // Perhaps another spool signed it.
                Err(error) if *error.kind() == ErrorKind::Denied => {}
                opened => return opened,
            }
        }
    }
    Payload::open_in(reference, directory, tenant.unwrap_or("default"))
}

/// What the directory of a spool holds.
///
/// # Errors
/// `Denied` or `FileError` for a directory that cannot be used.
#[pyfunction]
#[pyo3(signature = (directory = None))]
pub fn list_spool(py: Python<'_>, directory: Option<PathBuf>) -> PyResult<Bound<'_, PyDict>> {
    guard(py, || {
        let listed = py.detach(move || mcpgateway_shm::list(directory.as_deref()));
        listing(py, &listed.map_err(Error::from).into_py_result(py)?)
    })
}

/// Remove from the directory of a spool what dead workers left and what has expired.
///
/// # Errors
/// `Denied` or `FileError` for a directory that cannot be used.
#[pyfunction]
#[pyo3(signature = (directory = None))]
pub fn sweep_spool(py: Python<'_>, directory: Option<PathBuf>) -> PyResult<Bound<'_, PyDict>> {
    guard(py, || {
        let swept = py.detach(move || mcpgateway_shm::sweep(directory.as_deref()));
        sweep_report(py, &swept.map_err(Error::from).into_py_result(py)?)
    })
}

/// Set what all replies of this process may use together, where no spool was given for them.
#[pyfunction]
#[pyo3(signature = (*, memory_budget = None, disk_budget = None, directory = None))]
pub fn limit_process(
    py: Python<'_>,
    memory_budget: Option<u64>,
    disk_budget: Option<u64>,
    directory: Option<PathBuf>,
) {
    let limits = ProcessLimits { memory_budget, disk_budget, directory };
    py.detach(|| mcpgateway_engine::payload::limit_process(limits));
}

fn usage(py: Python<'_>, used: Usage) -> PyResult<Bound<'_, PyDict>> {
    let answer = PyDict::new(py);
    answer.set_item("memory", used.memory)?;
    answer.set_item("disk", used.disk)?;
    Ok(answer)
}

fn spool_stats<'py>(py: Python<'py>, stats: &SpoolStats) -> PyResult<Bound<'py, PyDict>> {
    let answer = PyDict::new(py);
    answer.set_item("directory", &stats.directory)?;
    answer.set_item("directory_in_memory", stats.directory_in_memory)?;
    answer.set_item("memory_budget", stats.limits.memory)?;
    answer.set_item("disk_budget", stats.limits.disk)?;
    answer.set_item("tenant_memory", stats.limits.tenant_memory)?;
    answer.set_item("tenant_disk", stats.limits.tenant_disk)?;
    answer.set_item("used", usage(py, stats.used)?)?;
    answer.set_item("used_here", usage(py, stats.used_here)?)?;
    answer.set_item("shares", stats.shares)?;
    Ok(answer)
}

fn sweep_report<'py>(py: Python<'py>, swept: &SweepReport) -> PyResult<Bound<'py, PyDict>> {
    let answer = PyDict::new(py);
    answer.set_item("workers", swept.workers)?;
    answer.set_item("returned", usage(py, swept.returned)?)?;
    answer.set_item("payloads", swept.payloads)?;
    answer.set_item("payload_bytes", swept.payload_bytes)?;
    answer.set_item("files", swept.files)?;
    Ok(answer)
}

fn listing<'py>(py: Python<'py>, listing: &Listing) -> PyResult<Bound<'py, PyDict>> {
    let workers = listing.workers.iter().map(|worker| {
        let answer = PyDict::new(py);
        answer.set_item("id", worker.id.to_string())?;
        answer.set_item("pid", worker.pid)?;
        answer.set_item("tenant", &worker.tenant)?;
        answer.set_item("alive", worker.alive)?;
        answer.set_item("used", usage(py, worker.used)?)?;
        PyResult::Ok(answer)
    });
    let payloads = listing.payloads.iter().map(|payload| {
        let answer = PyDict::new(py);
        answer.set_item("id", payload.id.to_string())?;
        answer.set_item("bytes", payload.bytes)?;
        answer.set_item("expires", seconds(payload.expires))?;
        PyResult::Ok(answer)
    });
    let answer = PyDict::new(py);
    answer.set_item("workers", PyList::new(py, workers.collect::<PyResult<Vec<_>>>()?)?)?;
    answer.set_item("payloads", PyList::new(py, payloads.collect::<PyResult<Vec<_>>>()?)?)?;
    answer.set_item("partial_files", listing.partial_files)?;
    answer.set_item("foreign_files", listing.foreign_files)?;
    Ok(answer)
}

/// Seconds since 1970.
fn seconds(moment: SystemTime) -> f64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
