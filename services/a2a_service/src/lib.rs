//! Calls A2A agents with payloads of any size.
//!
//! [`core`] is pure Rust and is what other services call; `python.rs` is a thin binding over it, built
//! with feature `python`. [`serve`] is an agent on loopback to try things on.
//!
//! ```no_run
//! use a2a_service::core::{Request, invoke_agent};
//! use mcpgateway_engine::{Client, Payload};
//!
//! # async fn example() -> mcpgateway_engine::Result<()> {
//! let request = Request::new("POST", "http://127.0.0.1:8080/echo")?.body(Payload::from(vec![7; 1 << 26]));
//! let reply = invoke_agent(Client::shared()?, request).await?;
//! assert_eq!(reply.body.len(), 1 << 26);
//! # Ok(())
//! # }
//! ```

pub mod core;
pub mod serve;

#[cfg(feature = "python")]
pub mod python;
