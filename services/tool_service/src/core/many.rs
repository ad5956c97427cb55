//! Many calls at once, each with a result of its own.

use std::num::NonZeroUsize;

use futures_util::stream::{self, StreamExt};
use mcpgateway_engine::{Result, runtime};

use super::arguments::Arguments;
use super::mcp::{CallOptions, McpServer};
use super::result::ToolResult;

/// Call tools of `server`, at most `concurrency` at a time; the results are in the order of the calls.
///
/// A failed call is a result like any other: it does not end the others. Dropping the future cancels those that are
/// not done.
pub async fn call_many(
    server: &McpServer,
    calls: Vec<(String, Arguments)>,
    concurrency: NonZeroUsize,
    options: &CallOptions,
) -> Vec<Result<ToolResult>> {
    let begin = |(name, arguments): (String, Arguments)| {
        let (server, options) = (server.clone(), options.clone());
        runtime::catch_panic(async move { server.call_tool(&name, arguments, options).await })
    };
    let calls: Vec<_> = calls.into_iter().map(begin).collect();
    stream::iter(calls).buffered(concurrency.get()).collect().await
}
