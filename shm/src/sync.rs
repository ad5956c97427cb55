//! The atomics of `per_process.rs`, for which `tests/rust/interleavings.rs` takes those of a model checker.

pub(crate) use std::sync::atomic::{AtomicPtr, Ordering};
