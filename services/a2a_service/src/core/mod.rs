//! The service without Python: requests go in, replies come out.

mod envelope;
mod invoke;
mod many;

pub use envelope::AgentReply;
pub use invoke::{Reply, Request, invoke_agent, json_reply, request_with_json_headers};
pub use many::{Batch, Order, Stopper, invoke_many};
