//! Tools of MCP servers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use mcpgateway_engine::http::{HeaderMap, HeaderNames};
use mcpgateway_engine::json::{Kind, Node, Outline};
use mcpgateway_engine::{Error, ErrorKind, Limits, Payload, Progress, Result, Timeouts, runtime};
use mcpgateway_mcp::{
    Asked, Call, Calling, Generation, HEADER_MISMATCH, HeaderAnnotations, Notification, Session, Step,
};
use mcpgateway_shm::PerProcess;

use super::arguments::Arguments;
use super::result::ToolResult;

/// JSON-RPC code: nobody here answers such a request.
const METHOD_NOT_FOUND: i64 = -32601;

/// What may be set for one call.
#[derive(Clone, Default)]
pub struct CallOptions {
    /// Beside those of the session; names that are there replace the session's.
    pub headers: Option<HeaderMap>,
    /// Instead of the session's.
    pub timeouts: Option<Timeouts>,
    /// Instead of the session's.
    pub limits: Option<Limits>,
    /// Counts the bytes while the call runs.
    pub progress: Option<Arc<Progress>>,
    /// Members of `_meta`, each JSON for which the caller vouches.
    pub meta: Vec<(String, Payload)>,
    /// Whether the server is asked for `notifications/progress`.
    pub wants_progress: bool,
}

impl fmt::Debug for CallOptions {
    /// Without what the headers say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("headers", &self.headers.as_ref().map(HeaderNames))
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl CallOptions {
    /// `call` with these options.
    #[must_use]
    pub fn apply(self, call: Call) -> Call {
        let call = call.timeouts(self.timeouts).limits(self.limits);
        let call = self.meta.into_iter().fold(call, |call, (key, value)| call.meta(key, value));
        let call = match self.headers {
            Some(headers) => call.headers(headers),
            None => call,
        };
        let call = match self.progress {
            Some(progress) => call.progress(progress),
            None => call,
        };
        if self.wants_progress { call.with_progress_notifications() } else { call }
    }
}

/// An MCP server, as one that has tools. Clones share what is known of them.
#[derive(Clone, Debug)]
pub struct McpServer {
    session: Session,
    known: Arc<PerProcess<Mutex<HashMap<String, Known>>>>,
}

/// What the list of tools said of one.
#[derive(Clone, Debug)]
enum Known {
    /// Which of its arguments go into headers.
    Tool(HeaderAnnotations),
    /// It is not to be offered or called, for this reason.
    Refused(String),
}

/// A tool as its server describes it.
#[derive(Clone, Debug)]
pub struct Tool {
    /// What it is called by.
    pub name: String,
    /// All that the server says of it.
    pub node: Node,
}

impl McpServer {
    /// The server that `session` is with.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self { session, known: Arc::new(PerProcess::new()) }
    }

    /// The session with it.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// All tools that the server offers, from all pages. Tools whose annotations cannot hold (see
    /// [`HeaderAnnotations`]) are left out, as the protocol has it.
    ///
    /// # Errors
    /// As for [`Session::call`].
    pub async fn list_tools(&self, options: CallOptions) -> Result<Vec<Tool>> {
        let mut pages = self.session.pages(options.apply(Call::list("tools/list", None)));
        let (mut tools, mut known) = (Vec::new(), HashMap::new());
        while let Some(page) = pages.next().await? {
            let Some(list) = page.result.get("tools") else {
                return Err(Error::invalid_reply("the server answered tools/list without tools"));
            };
            for node in list.elements() {
                let Some(name) = node.get("name").and_then(|name| name.text().map(Cow::into_owned)) else {
                    return Err(Error::invalid_reply("the server lists a tool without a name"));
                };
                let annotations = match node.get("inputSchema") {
                    Some(schema) if page.version.generation() == Generation::Modern => {
                        HeaderAnnotations::of(&schema)
                    }
                    _ => Ok(HeaderAnnotations::default()),
                };
                match annotations {
                    Ok(annotations) => {
                        known.insert(name.clone(), Known::Tool(annotations));
                        tools.push(Tool { name, node });
                    }
                    Err(why) => _ = known.insert(name, Known::Refused(why.to_string())),
                }
            }
        }
        *self.known().lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(tools)
    }

    /// Call the tool `name` and wait for its result. What the server asks back is refused.
    ///
    /// # Errors
    /// As for [`Session::call`], and [`ErrorKind::InvalidRequest`] when the arguments are no JSON object or the tool
    /// is one that is not to be called. That a tool failed is a result: [`ToolResult::is_error`].
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: Arguments,
        options: CallOptions,
    ) -> Result<ToolResult> {
        let mut calling = self.begin_tool(name, arguments, options).await?;
        loop {
            match calling.next().await? {
                ToolStep::Result(result) => return Ok(result),
                ToolStep::Notification(_) => {}
                ToolStep::Asked(asked) => {
                    calling.refuse(&asked, METHOD_NOT_FOUND, "this client answers no such request").await?;
                }
            }
        }
    }

    /// Call the tool `name` step by step.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`], as for [`call_tool`](Self::call_tool).
    pub async fn begin_tool(
        &self,
        name: &str,
        arguments: Arguments,
        options: CallOptions,
    ) -> Result<ToolCalling> {
        let arguments = arguments.into_json().await?;
        let listing = CallOptions {
            headers: options.headers.clone(),
            timeouts: options.timeouts,
            limits: options.limits,
            ..CallOptions::default()
        };
        let call = options.apply(Call::tool(name, arguments.clone()));
        let mut calling = ToolCalling {
            server: self.clone(),
            name: name.to_owned(),
            arguments,
            calling: self.session.begin(call.clone()),
            call,
            listing,
            is_corrected: false,
        };
        calling.add_headers().await?;
        Ok(calling)
    }

    fn known(&self) -> &Mutex<HashMap<String, Known>> {
        self.known.get_or_init(Mutex::default)
    }

    fn known_of(&self, name: &str) -> Option<Known> {
        self.known().lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// A call of a tool under way. Dropped before its result, it is cancelled.
#[derive(Debug)]
pub struct ToolCalling {
    server: McpServer,
    name: String,
    arguments: Payload,
    call: Call,
    calling: Calling,
    /// With which the tools are listed, if need be.
    listing: CallOptions,
    /// The server refused the headers once.
    is_corrected: bool,
}

/// What happens next in a call.
#[derive(Debug)]
pub enum ToolStep {
    /// The server has something to say.
    Notification(Notification),
    /// The server asks something: answer or refuse it.
    Asked(Asked),
    /// The end.
    Result(ToolResult),
}

impl ToolCalling {
    /// The next step.
    ///
    /// # Errors
    /// As for [`McpServer::call_tool`].
    pub async fn next(&mut self) -> Result<ToolStep> {
        loop {
            match self.calling.next().await {
                Ok(Step::Notification(notification)) => return Ok(ToolStep::Notification(notification)),
                Ok(Step::Asked(asked)) => return Ok(ToolStep::Asked(asked)),
                Ok(Step::Reply(reply)) => {
                    return Ok(ToolStep::Result(ToolResult::new(reply.result, reply.received, reply.status)));
                }
                Err(error) if !self.is_corrected && is_header_mismatch(&error) => self.correct(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Answer a request of the server's; see [`Calling::answer`].
    ///
    /// # Errors
    /// As for [`Calling::answer`].
    pub async fn answer(&mut self, asked: &Asked, result: Payload) -> Result<()> {
        self.calling.answer(asked, result).await
    }

    /// Refuse a request of the server's; see [`Calling::refuse`].
    ///
    /// # Errors
    /// As for [`Calling::refuse`].
    pub async fn refuse(&mut self, asked: &Asked, code: i64, why: &str) -> Result<()> {
        self.calling.refuse(asked, code, why).await
    }

    /// Look at how the server describes its tools now, and call again with the headers it wants.
    async fn correct(&mut self, refused: Error) -> Result<()> {
        self.is_corrected = true;
        // What was refused says more than why the list could not be had.
        self.server.list_tools(self.listing.clone()).await.map_err(|_| refused)?;
        self.add_headers().await
    }

    /// Add the headers that the server is known to want for these arguments.
    async fn add_headers(&mut self) -> Result<()> {
        let annotations = match self.server.known_of(&self.name) {
            Some(Known::Tool(annotations)) => annotations,
            Some(Known::Refused(why)) => {
                let name: String = self.name.chars().take(80).collect();
                let subject = format!("the tool {name:?} is not to be called: {why}");
                return Err(Error::new(ErrorKind::InvalidRequest, subject));
            }
            None => return Ok(()),
        };
        let mut call = self.call.clone();
        if !annotations.is_empty() {
            let text = self.arguments.clone();
            let outline = runtime::blocking(move || Outline::of(&text)).await??;
            let arguments = outline.root();
            let is_cut = |node: &Node| node.kind() == Kind::String && !outline.has_whole(node);
            if let Some((name, _)) = annotations.nodes(&arguments).iter().find(|(_, node)| is_cut(node)) {
                let subject =
                    format!("the argument for the header Mcp-Param-{name} is longer than a header may be");
                return Err(Error::invalid_request(subject));
            }
            for (name, value) in annotations.values(&arguments) {
                call = call.param_header(&name, &value);
            }
        }
        self.calling = self.server.session.begin(call);
        Ok(())
    }
}

fn is_header_mismatch(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Rpc(rpc) if rpc.code == HEADER_MISMATCH)
}
