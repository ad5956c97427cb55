//! Memory that outlives a call.
//!
//! Touching fresh memory costs more than moving bytes over a socket: receiving 256 MB into pages the
//! kernel has yet to hand out takes four to six times the CPU of receiving into pages that are warm.
//! So a large body is received into a [`Region`] of a [`Pool`], and when its last view is gone the
//! region goes back to be used again.
//!
//! ```
//! use mcpgateway_shm::Pool;
//!
//! let pool = Pool::new(64 << 20);
//! let mut region = pool.allocate(1 << 20)?;
//! region.write(b"a large body")?;
//! let body = bytes::Bytes::from(region.freeze());
//! assert_eq!(&body[..], b"a large body");
//! drop(body);
//! assert_eq!(pool.stats().regions_idle, 1);
//! # Ok::<(), std::io::Error>(())
//! ```

mod fork;
mod pool;
mod region;

pub use fork::{PerProcess, generation};
pub use pool::{Pool, PoolStats};
pub use region::{Region, RegionMut};
