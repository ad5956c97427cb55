//! The service without Python: a URI goes in, a resource comes out.

mod cache;
mod client;
mod data;
mod download;
mod file;
mod freshness;
mod mcp;
mod part;
mod range;
mod resource;
mod template;
mod validators;

pub use cache::{Cache, CacheOptions};
pub use client::{Fetch, ResourceClient, ResourceOptions, fetch_resource};
pub use mcp::Listed;
pub use resource::{CameFrom, Resource, Scope};
pub use template::{Template, Value};
