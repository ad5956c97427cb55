//! The service without Python: requests go in, replies come out.

mod invoke;
mod many;

pub use invoke::{Reply, Request, invoke_agent, json_reply};
pub use many::{Batch, Order, Stopper, invoke_many};
