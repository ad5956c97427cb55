//! Memory that outlives a call, and crosses processes by a handle.
//!
//! Touching fresh memory costs more than moving bytes over a socket: receiving 256 MB into pages the
//! kernel has yet to hand out takes four to six times the CPU of receiving into pages that are warm.
//! So a large body is received into a region of a [`Pool`], and when its last view is gone the memory
//! goes back to be used again.
//!
//! ```
//! use mcpgateway_shm::Pool;
//!
//! let pool = Pool::new(64 << 20);
//! let mut region = pool.allocate(1 << 20)?;
//! region.write(&[7; 1 << 20])?;
//! let body = bytes::Bytes::from(region.freeze());
//! assert_eq!(body[..], [7; 1 << 20]);
//! drop(body);
//! assert_eq!(pool.stats().regions_idle, 1);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A body that other processes are to read goes into a [`Spool`]: into a sealed memory file, or, when
//! the memory budget is used up, into a private file. What crosses processes is a [`PayloadRef`], a
//! short text; who opens it maps the same pages.
//!
//! ```
//! use std::time::Duration;
//! use mcpgateway_shm::{PayloadRef, ShareOptions, Spool, SpoolOptions};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("spool");
//! # let options = SpoolOptions { directory: Some(path.clone()), ..SpoolOptions::default() };
//! let spool = Spool::new(options)?;
//! let body = spool.put(&vec![7; 16 << 20])?;
//! let text = spool.share(&body, &ShareOptions::new(Duration::from_secs(300)))?.to_string();
//!
//! // In another process, with the same directory:
//! let reference: PayloadRef = text.parse()?;
//! # let directory = Some(path.as_path());
//! let same = mcpgateway_shm::open(&reference, directory, "default")?;
//! assert_eq!(same[..], body[..]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | part | file |
//! |---|---|
//! | bodies: being written, finished | `region.rs`, `writer.rs` |
//! | where bytes are: warm pool, sealed memory and private files, files of others | `pool.rs`, `storage.rs`, `foreign.rs` |
//! | who may use how much | `budget.rs`, `ledger.rs`, `lease.rs`, `machine.rs`, `sweep.rs` |
//! | handing over | `reference.rs`, `key.rs`, `listener.rs`, `reader.rs`, `wire.rs` |
//! | the system | `directory.rs`, `fork.rs`, `per_process.rs`, `sys/` |

mod budget;
mod confined;
mod directory;
mod error;
mod foreign;
mod fork;
mod id;
mod key;
mod lease;
mod ledger;
mod listener;
mod machine;
mod per_process;
mod pool;
mod reader;
mod reference;
mod region;
mod spool;
mod storage;
mod sweep;
mod sync;
mod sys;
mod wire;
mod writer;

pub use budget::{Budget, Limits, Usage};
pub use confined::{Bounds, Ended, confined};
pub use error::{Error, ErrorKind, Result};
pub use foreign::{FileRules, open_regular};
pub use fork::generation;
pub use id::Id;
pub use machine::default_memory_budget;
pub use per_process::PerProcess;
pub use pool::{Pool, PoolStats};
pub use reader::open;
pub use reference::{Location, PayloadRef};
pub use region::{Region, RegionMut, Tier};
pub use spool::{ShareOptions, Spool, SpoolOptions, SpoolStats};
pub use sweep::{DurablePayload, Listing, SweepReport, Worker, list, sweep};
pub use writer::SpoolWriter;
