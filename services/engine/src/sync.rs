//! The atomics of `payload/quota.rs`, for which `tests/rust/interleavings.rs` takes those of a model checker.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
