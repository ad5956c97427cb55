//! Fetches resources: over HTTP in several ranges at once, from files below an allowed directory, from `data:`
//! URLs; through a cache that workers share.
//!
//! [`core`] is pure Rust and is what other services call; `python.rs` is a thin binding over it, built with
//! feature `python`.
//!
//! ```no_run
//! use mcpgateway_engine::Client;
//! use resource_service::core::{Fetch, ResourceClient, ResourceOptions, fetch_resource};
//!
//! # async fn example() -> mcpgateway_engine::Result<()> {
//! let client = ResourceClient::new(Client::shared()?.clone(), ResourceOptions::default())?;
//! let resource = fetch_resource(&client, Fetch::new("http://127.0.0.1:8080/source/1000")?).await?;
//! println!("{:?}, {} bytes", resource.content_type, resource.body.len());
//! # Ok(())
//! # }
//! ```

pub mod core;

#[cfg(feature = "python")]
pub mod python;
