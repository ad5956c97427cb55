//! The service without Python: requests go in, replies come out.

mod agent;
mod artifact;
mod card;
mod credentials;
mod invoke;
mod many;
mod message;
mod operation;
mod protocol;
mod push;
mod reply;
mod resumed;
mod rope;
mod stream;
mod translate;
mod view;

pub use agent::{Agent, AgentOptions, Ask, SendOptions};
pub use artifact::Artifact;
pub use card::{Card, Interface};
pub use credentials::{TokenFuture, TokenSource};
pub use invoke::{Reply, Request, invoke_agent, json_reply, request_with_json_headers};
pub use many::{Batch, Order, Stopper, invoke_many};
pub use message::{Draft, MakeText, Message, Part};
pub use operation::{Endpoint, Operation, Params, Value};
pub use protocol::{Binding, ERROR_CODES, Role, Shape, TaskState, Version};
pub use reply::AgentReply;
pub use stream::{AgentEvent, AgentStream, Collected};
pub use translate::{translate, translate_bare};
pub use view::{Item, ItemKind, PartKind, PartView};
