//! The HTTP client: hyper and reqwest for the protocol, our regions for the memory, our rules for what is
//! sent twice, how long is waited, and how much is accepted.

mod address;
mod attempt;
mod body;
mod client;
mod connect;
mod decode;
mod direct;
mod failure;
mod guard;
mod idle;
mod options;
mod progress;
mod receive;
mod redact;
mod request;
mod resolve;
mod socket;
mod sse;
mod transport;

pub use body::BodySender;
pub use client::{Client, Response, StreamingResponse};
pub use guard::Guard;
pub use http::{HeaderMap, HeaderName, HeaderValue, Version};
pub use options::{ClientOptions, Coding, Http2, Limits, Retry, Timeouts, Trust};
pub use progress::Progress;
pub use receive::{Collector, Destination, WritableMemory};
pub use redact::{HeaderNames, redacted_url};
pub use request::{Body, Mutation, Prepare, Request, Template, parse_headers};
pub use resolve::{Resolution, Resolve};
pub use sse::{Event, EventStream};
