//! What every service runs on: payloads, the HTTP client, errors and the runtime. Pure Rust.
//!
//! A [`Payload`] is a body of any size, as a rope of segments that are borrowed rather than copied;
//! a [`Client`] sends one and receives another into recycled memory; a [`TransferPolicy`] decides
//! what is copied, borrowed or mapped, and says why.
//!
//! ```no_run
//! use mcpgateway_engine::{Client, Payload, Request};
//!
//! # async fn example() -> mcpgateway_engine::Result<()> {
//! let client = Client::new(Default::default())?;
//! let body = Payload::join([Payload::from("{\"data\":\""), Payload::from(vec![0x41; 1 << 26]), Payload::from("\"}")]);
//! let response = client.send(Request::new("POST", "http://127.0.0.1:8080/echo")?.body(body)).await?;
//! assert_eq!(response.status, 200);
//! println!("{} bytes, {}", response.body.len(), response.body.decision());
//! # Ok(())
//! # }
//! ```

pub mod error;
pub mod fault;
pub mod http;
pub mod json;
pub mod jsonrpc;
pub mod payload;
pub mod runtime;
mod sync;

pub use error::{Error, ErrorKind, Phase, Result, Sent};
pub use http::{Client, ClientOptions, Guard, Limits, Progress, Request, Response, Retry, Timeouts};
pub use payload::{Decision, Origin, Payload, Transfer, TransferPolicy};
