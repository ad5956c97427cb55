//! The service without Python: a tool and its arguments go in, a result comes out.

mod arguments;
mod mcp;
mod result;

pub use arguments::Arguments;
pub use mcp::{CallOptions, McpServer, Tool, ToolCalling, ToolStep};
pub use result::{Content, ContentKind, ToolResult};
