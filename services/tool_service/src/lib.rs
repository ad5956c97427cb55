//! Calls tools: MCP servers, REST endpoints, agents, with arguments and results of any size.
//!
//! [`core`] is pure Rust and is what other services call; `python.rs` is a thin binding over it, built with feature
//! `python`.
//!
//! ```no_run
//! use mcpgateway_engine::{Client, Payload};
//! use mcpgateway_mcp::{Session, SessionOptions};
//! use tool_service::core::{Arguments, CallOptions, McpServer};
//!
//! # async fn example() -> mcpgateway_engine::Result<()> {
//! let session = Session::new(Client::shared()?.clone(), "http://127.0.0.1:8080/mcp", SessionOptions::default())?;
//! let server = McpServer::new(session);
//! let arguments = Arguments::Unchecked(Payload::from(r#"{"text":"hello"}"#));
//! let result = server.call_tool("echo", arguments, CallOptions::default()).await?;
//! println!("{:?}", result.content());
//! # Ok(())
//! # }
//! ```

pub mod core;

#[cfg(feature = "python")]
pub mod python;
