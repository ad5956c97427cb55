//! The native module of the Python package: a list of what the bridge and the services offer.
#![cfg(feature = "python")]

use pyo3::prelude::*;

/// `mcpgateway_rust._native`: wrapped by the Python package, which owns signatures and docstrings.
// No free-threaded interpreter has run the tests yet.
#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    use mcpgateway_bridge::{
        BodyStream, BodyWriter, Delivery, NativeClient, PendingResponse, PendingStream, PyDocument, PyNode,
        PyPayload, PyProgress, PyResponse, PyStreamingResponse, PyTransfer, PyTransferPolicy, body_stream,
        exports_live, fail_points, loads, loads_async, pool_stats,
    };
    #[pymodule_export]
    use mcpgateway_bridge::{
        PyPayloadRef, PySpool, PySpoolWriter, limit_process, list_spool, open_payload, open_payload_async,
        set_fail_point, sweep_spool,
    };

    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        mcpgateway_bridge::prepare_interpreter(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        a2a_service::python::register(module)?;
        resource_service::python::register(module)?;
        tool_service::python::register(module)
    }
}
