//! What is held where, for people and for tests.

use mcpgateway_engine::fault;
use mcpgateway_engine::payload::memory_use;
use mcpgateway_shm::Pool;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::buffer;

/// How many exports of Python buffers are held by Rust now.
#[pyfunction]
#[must_use]
pub fn exports_live() -> usize {
    buffer::exports_live()
}

/// What the warm pool of this process holds, in bytes and regions.
///
/// # Errors
/// `MemoryError` when the answer does not fit.
#[pyfunction]
pub fn pool_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let stats = Pool::global().stats();
    let answer = PyDict::new(py);
    answer.set_item("live_bytes", stats.live_bytes)?;
    answer.set_item("idle_bytes", stats.idle_bytes)?;
    answer.set_item("regions_live", stats.regions_live)?;
    answer.set_item("regions_idle", stats.regions_idle)?;
    answer.set_item("hits", stats.hits)?;
    answer.set_item("misses", stats.misses)?;
    answer.set_item("cap_bytes", stats.cap_bytes)?;
    let replies = memory_use();
    answer.set_item("budget_bytes", replies.limit)?;
    answer.set_item("budget_used_bytes", replies.used)?;
    Ok(answer)
}

/// The points at which a build with feature `failpoints` can be made to panic or wait; else none.
#[pyfunction]
#[must_use]
pub fn fail_points() -> Vec<&'static str> {
    if fault::ARMABLE { fault::POINTS.to_vec() } else { Vec::new() }
}

/// Set such a point to an action of the `fail` crate, such as `pause` or `off`.
///
/// # Errors
/// `ValueError` for a point or an action that there is not, or a build without them.
#[pyfunction]
pub fn set_fail_point(name: &str, action: &str) -> PyResult<()> {
    fault::set(name, action).map_err(PyValueError::new_err)
}
