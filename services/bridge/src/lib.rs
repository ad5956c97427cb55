//! The only crate that is about Python: buffers in and out, awaitables, errors.
//!
//! What belongs to no service is here: payloads, the client, replies. A service's own `python.rs`
//! converts, calls its core, and converts back, with [`awaitable`] or [`Pending`] in between.

mod awaitable;
mod buffer;
mod client;
mod content;
mod document;
mod error;
mod interpreter;
mod json_text;
mod maker;
mod memory;
mod ndarray;
mod objects;
mod payload;
mod reference;
mod request;
mod response;
mod spool;
mod text;
mod unicode;
mod wide;

pub use awaitable::{Convert, Pending, awaitable, run};
pub use buffer::PyBody;
pub use client::{NativeClient, PendingResponse, PendingStream, shared_client};
pub use content::{TextContent, is_json, json_from, open_file, payload_from, text_from};
pub use document::{PyDocument, PyNode, insert_from, loads, loads_async};
pub use error::{IntoPyResult, to_py_err};
pub use interpreter::{guard, prepare_interpreter};
pub use json_text::{JsonText, json_text};
pub use memory::{exports_live, fail_points, pool_stats, set_fail_point};
pub use payload::{PyPayload, PyTransfer, PyTransferPolicy};
pub use reference::PyPayloadRef;
pub use request::{
    BodyStream, BodyWriter, CallSettings, PyProgress, RequestOptions, attribute, body_stream, guard_from,
    headers_from, limits_from, timeouts_from,
};
pub use response::{Delivery, PyResponse, PyStreamingResponse};
pub use spool::{
    PySpool, PySpoolWriter, limit_process, list_spool, open_payload, open_payload_async, sweep_spool,
};
