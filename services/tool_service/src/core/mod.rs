//! The service without Python: a tool and its arguments go in, a result comes out.

mod agent;
mod arguments;
mod many;
mod mcp;
mod rest;
mod result;
mod select;

pub use agent::{AgentArgument, call_agent};
pub use arguments::Arguments;
pub use many::call_many;
pub use mcp::{CallOptions, McpServer, Tool, ToolCalling, ToolStep};
pub use rest::{Argument, RestBody, RestTool};
pub use result::{Content, ContentKind, ToolResult};
pub use select::{BOUNDS, Finish, Selector, check_schema};
