//! What is asked of a server.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use mcpgateway_engine::http::{HeaderMap, HeaderNames};
use mcpgateway_engine::{Limits, Payload, Progress, Timeouts};

use crate::params::Params;

/// A request to be made within a [`Session`](crate::Session). Cloning shares its payloads.
#[derive(Clone)]
pub struct Call {
    pub(crate) method: Cow<'static, str>,
    pub(crate) params: Params,
    /// What `Mcp-Name` says.
    pub(crate) name: Option<String>,
    /// Names behind `Mcp-Param-`, and values.
    pub(crate) param_headers: Vec<(String, String)>,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) limits: Option<Limits>,
    pub(crate) progress: Option<Arc<Progress>>,
    pub(crate) wants_progress: bool,
}

impl fmt::Debug for Call {
    /// Without its name, which may be a URL, and what its headers say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("params", &self.params)
            .field("headers", &self.headers.as_ref().map(HeaderNames))
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// A call of any method, such as `ping`.
    #[must_use]
    pub fn new(method: impl Into<Cow<'static, str>>, params: Params) -> Self {
        let method = method.into();
        let name = match &*method {
            "tools/call" | "prompts/get" => params.text_of("name"),
            "resources/read" => params.text_of("uri"),
            _ => None,
        };
        Self {
            method,
            params,
            name,
            param_headers: Vec::new(),
            headers: None,
            timeouts: None,
            limits: None,
            progress: None,
            wants_progress: false,
        }
    }

    /// `tools/call` with arguments that are a JSON object, for which the caller vouches.
    #[must_use]
    pub fn tool(name: &str, arguments: Payload) -> Self {
        Self::new("tools/call", Params::new().text("name", name).json("arguments", arguments))
    }

    /// `resources/read`.
    #[must_use]
    pub fn resource(uri: &str) -> Self {
        Self::new("resources/read", Params::new().text("uri", uri))
    }

    /// `prompts/get` with arguments that are a JSON object, for which the caller vouches.
    #[must_use]
    pub fn prompt(name: &str, arguments: Payload) -> Self {
        Self::new("prompts/get", Params::new().text("name", name).json("arguments", arguments))
    }

    /// A page of a list, such as `tools/list`; `cursor` is what the page before it said.
    #[must_use]
    pub fn list(method: impl Into<Cow<'static, str>>, cursor: Option<&str>) -> Self {
        let params = cursor.into_iter().fold(Params::new(), |params, cursor| params.text("cursor", cursor));
        Self::new(method, params)
    }

    /// The same with a member of `_meta` that is JSON, for which the caller vouches.
    #[must_use]
    pub fn meta(mut self, key: impl Into<Cow<'static, str>>, value: Payload) -> Self {
        self.params = self.params.meta(key, value);
        self
    }

    /// The same with a header `Mcp-Param-{name}` for modern servers; `value` is marked where it has to be.
    #[must_use]
    pub fn param_header(mut self, name: &str, value: &str) -> Self {
        self.param_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with headers beside those of the session; names that are there replace the session's.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = Some(headers);
        self
    }

    /// The same with timeouts of its own. `total` holds for one request and the streams that resume it.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Option<Timeouts>) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The same with limits of its own.
    #[must_use]
    pub fn limits(mut self, limits: Option<Limits>) -> Self {
        self.limits = limits;
        self
    }

    /// The same, its bytes counted by `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The same, asking the server for `notifications/progress`.
    #[must_use]
    pub fn with_progress_notifications(mut self) -> Self {
        self.wants_progress = true;
        self
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }
}
