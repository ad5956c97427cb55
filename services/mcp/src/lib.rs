//! The Streamable HTTP client of the Model Context Protocol (MCP), in both generations that are about.
//!
//! A [`Session`] is one endpoint. Which generation its server speaks is found out with the first call and
//! remembered for the endpoint: [`Version::V2026_07_28`] says all in each request; the versions before it begin
//! with `initialize`, may give out a session id and may ask back on the stream of a reply.
//!
//! Parameters are a rope of members ([`Params`]), so a large argument is sent from where it lies; the result of a
//! [`Reply`] is a value of a document that is looked into where it lies.
//!
//! ```no_run
//! use mcpgateway_engine::{Client, Payload};
//! use mcpgateway_mcp::{Call, Session, SessionOptions};
//!
//! # async fn example() -> mcpgateway_engine::Result<()> {
//! let session = Session::new(Client::shared()?.clone(), "http://127.0.0.1:8080/mcp", SessionOptions::default())?;
//! let reply = session.call(Call::tool("echo", Payload::from(r#"{"text":"hello"}"#))).await?;
//! println!("{:?}", reply.result.get("content"));
//! session.close().await
//! # }
//! ```

mod agreement;
mod annotations;
mod call;
mod calling;
mod headers;
mod listener;
mod memory;
mod message;
mod params;
mod round;
mod session;
mod stream;
mod version;

pub use annotations::{HeaderAnnotations, InvalidAnnotation};
pub use call::Call;
pub use calling::{Asked, Calling, Notification, Reply, Step};
pub use headers::header_value;
pub use message::{CODES, HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION};
pub use params::Params;
pub use session::{Agreement, Pages, Session, SessionOptions};
pub use version::{Generation, Version};
