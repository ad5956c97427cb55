//! A client for one agent: finds out how it is to be talked to, and asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mcpgateway_engine::http::{HeaderName, HeaderValue, StreamingResponse, Template};
use mcpgateway_engine::json::Node;
use mcpgateway_engine::jsonrpc::Id;
use mcpgateway_engine::{
    Client, Error, ErrorKind, Limits, Payload, Phase, Request, Response, Result, Sent, Timeouts, runtime,
};
use tokio::sync::Mutex;
use url::Url;

use super::card::{Card, KeptCard, card_url};
use super::credentials::{KeptToken, TokenSource};
use super::message::{Draft, object};
use super::operation::{Endpoint, Operation, Params, Value, url_with};
use super::protocol::{Binding, Shape, Version};
use super::push::{config_params, modern_config};
use super::reply::{AgentReply, read};
use super::stream::AgentStream;

/// Text of a message from this many bytes on is written on a thread that may take its time.
const WRITE_IN_PLACE: u64 = 64 << 10;
/// Bytes of a card.
const LARGEST_CARD: u64 = 16 << 20;
/// A task may take hours, of which its stream tells: how long without a word is another timeout.
const LONGEST_STREAM: Duration = Duration::from_secs(24 * 3600);

/// How an agent is talked to.
#[derive(Clone, Default)]
pub struct AgentOptions {
    /// The generation; what its card offers first if there is none.
    pub version: Option<Version>,
    /// The binding; likewise.
    pub binding: Option<Binding>,
    /// What the agent calls the caller's part of it; what its card says if there is none.
    pub tenant: Option<String>,
    /// Extensions that each call makes use of.
    pub extensions: Vec<String>,
    /// Added to the query of each URL, and shown nowhere.
    pub query: Vec<(String, String)>,
    /// Whether an interface of another origin, which the card names, gets headers and credentials as well.
    pub trust_card: bool,
}

/// What belongs to one call.
#[derive(Clone, Default)]
pub struct Ask {
    /// Headers, timeouts, limits and progress.
    pub template: Template,
    /// Gives bearer tokens.
    pub token: Option<Arc<dyn TokenSource>>,
}

/// What a message is sent with.
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// The task that the message belongs to, unless it says so itself.
    pub task_id: Option<String>,
    /// The context; likewise.
    pub context_id: Option<String>,
    /// `SendMessageConfiguration` of 1.0, as JSON.
    pub configuration: Option<Payload>,
    /// A JSON object.
    pub metadata: Option<Payload>,
}

/// An agent. Clones share what is known of it.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    url: String,
    options: AgentOptions,
    card: Mutex<Option<KeptCard>>,
    token: KeptToken,
    calls: AtomicU64,
}

/// A call that was answered.
pub(super) struct Answered<T> {
    pub(super) endpoint: Endpoint,
    pub(super) id: Id,
    pub(super) response: T,
}

impl Agent {
    /// The agent at `url`: where its card is, or below; if both version and binding are given, where it answers.
    #[must_use]
    pub fn new(client: Client, url: String, options: AgentOptions) -> Self {
        let (card, token) = (Mutex::default(), KeptToken::default());
        Self { shared: Arc::new(Shared { client, url, options, card, token, calls: AtomicU64::new(1) }) }
    }

    /// The client that it is talked to by.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Its card, asked for if it is not known or may have changed.
    ///
    /// # Errors
    /// As for [`Client::send`], [`ErrorKind::Status`] when there is none, [`ErrorKind::InvalidReply`] when it is
    /// none.
    pub async fn card(&self, ask: &Ask) -> Result<Card> {
        let mut kept = self.shared.card.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_fresh()) {
            return Ok(kept.card.clone());
        }
        let found = self.fetch_card(ask, kept.take()).await?;
        Ok(kept.insert(found).card.clone())
    }

    async fn fetch_card(&self, ask: &Ask, known: Option<KeptCard>) -> Result<KeptCard> {
        let query = self.shared.options.query.iter().map(|(name, value)| (&**name, &**value));
        let url = url_with("", &card_url(&self.shared.url), query);
        let own = ask.template.limits.unwrap_or(self.shared.client.options().limits);
        let limits = Limits { max_response_bytes: own.max_response_bytes.min(LARGEST_CARD), ..own };
        let mut request =
            ask.template.request("GET", &url)?.default_header(ACCEPT, JSON).limits(Some(limits));
        if let Some(etag) = known.as_ref().and_then(|known| known.etag.as_deref()) {
            request = request.header("if-none-match", etag.as_bytes())?;
        }
        let response = self.shared.client.send(request).await?;
        if let (304, Some(known)) = (response.status, known) {
            return Ok(known.renewed(&response.headers));
        }
        let response = response.error_for_status()?;
        let card = Card::new(read(response.body).await?)?;
        Ok(KeptCard::new(card, &response.headers))
    }

    /// Where it answers.
    ///
    /// # Errors
    /// As for [`card`](Self::card), and [`ErrorKind::InvalidReply`] when the card offers nothing that is asked for.
    pub async fn endpoint(&self, ask: &Ask) -> Result<Endpoint> {
        let Shared { url, options, .. } = &*self.shared;
        let mut endpoint = match (options.version, options.binding) {
            (Some(version), Some(binding)) => Endpoint { url: url.clone(), version, binding, tenant: None },
            (version, binding) => {
                let selected = self.card(ask).await.and_then(|card| card.select(version, binding));
                // Of what is asked for, nothing has left.
                selected.map_err(|error| error.with_sent(Sent::No))?
            }
        };
        if options.tenant.is_some() {
            endpoint.tenant.clone_from(&options.tenant);
        }
        Ok(endpoint)
    }

    /// Send a message, and receive what comes of it.
    ///
    /// # Errors
    /// As for [`Client::send`], [`ErrorKind::Rpc`] when the agent answers with an error, [`ErrorKind::Status`] when
    /// its status is none of success, [`ErrorKind::InvalidReply`] when it is no reply, and
    /// [`ErrorKind::InvalidRequest`] when the message is none.
    pub async fn send(&self, draft: Draft, options: SendOptions, ask: &Ask) -> Result<AgentReply> {
        let endpoint = self.endpoint(ask).await?;
        let params = send_params(draft, options, &endpoint).await?;
        self.call_at(endpoint, Operation::Send, &params, ask).await?.with_item()
    }

    /// Send a message, and receive what comes of it as it comes.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn stream(
        &self,
        draft: Draft,
        options: SendOptions,
        ask: Ask,
        reattach: u32,
    ) -> Result<AgentStream> {
        let endpoint = self.endpoint(&ask).await?;
        let params = send_params(draft, options, &endpoint).await?;
        let opened = self.open_at(endpoint, Operation::Stream, &params, &ask).await?;
        AgentStream::begin(self.clone(), ask, opened, None, reattach).await
    }

    /// Receive what comes of a task from now on.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn subscribe(&self, task_id: String, ask: Ask, reattach: u32) -> Result<AgentStream> {
        let opened = self.open(Operation::Subscribe, &Params::of_task(task_id.clone()), &ask).await?;
        AgentStream::begin(self.clone(), ask, opened, Some(task_id), reattach).await
    }

    /// How a task is.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn get_task(
        &self,
        task_id: String,
        history_length: Option<i64>,
        ask: &Ask,
    ) -> Result<AgentReply> {
        let params = Params::of_task(task_id).with("historyLength", history_length.map(Value::Number));
        self.call(Operation::GetTask, &params, ask).await?.with_item()
    }

    /// Give a task up.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn cancel_task(
        &self,
        task_id: String,
        metadata: Option<Payload>,
        ask: &Ask,
    ) -> Result<AgentReply> {
        let metadata = metadata.map(|metadata| object("metadata", metadata)).transpose()?;
        let params = Params::of_task(task_id).with("metadata", metadata.map(Value::Json));
        self.call(Operation::CancelTask, &params, ask).await?.with_item()
    }

    /// The tasks that `params` ask for.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and [`ErrorKind::Unsupported`] with 0.3.
    pub async fn list_tasks(&self, params: &Params, ask: &Ask) -> Result<AgentReply> {
        self.call(Operation::ListTasks, params, ask).await
    }

    /// Have the updates of a task pushed; `config` is a `TaskPushNotificationConfig` of 1.0, as is what is returned.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn create_push_config(&self, task_id: String, config: Payload, ask: &Ask) -> Result<Node> {
        let endpoint = self.endpoint(ask).await?;
        let params = config_params(&task_id, config, &endpoint)?;
        self.config(endpoint, Operation::CreatePush, &params, ask).await
    }

    /// Where a task's updates are pushed to.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn get_push_config(&self, task_id: String, config_id: String, ask: &Ask) -> Result<Node> {
        let params = Params { config_id: Some(config_id), ..Params::of_task(task_id) };
        let endpoint = self.endpoint(ask).await?;
        self.config(endpoint, Operation::GetPush, &params, ask).await
    }

    async fn config(
        &self,
        endpoint: Endpoint,
        operation: Operation,
        params: &Params,
        ask: &Ask,
    ) -> Result<Node> {
        let reply = self.call_at(endpoint, operation, params, ask).await?;
        modern_config(&reply.result().ok_or_else(|| Error::invalid_reply("the reply is empty"))?)
    }

    /// All places that a task's updates are pushed to.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn list_push_configs(&self, task_id: String, ask: &Ask) -> Result<Vec<Node>> {
        let reply = self.call(Operation::ListPush, &Params::of_task(task_id), ask).await?;
        let result = reply.result().ok_or_else(|| Error::invalid_reply("the reply is empty"))?;
        let list = result.get("configs").unwrap_or(result);
        list.elements().map(|config| modern_config(&config)).collect()
    }

    /// Push a task's updates there no more.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn delete_push_config(&self, task_id: String, config_id: String, ask: &Ask) -> Result<()> {
        let params = Params { config_id: Some(config_id), ..Params::of_task(task_id) };
        let endpoint = self.endpoint(ask).await?;
        let send = |request| self.shared.client.send(request);
        let answered = self.exchange(endpoint, Operation::DeletePush, &params, ask, send).await?;
        AgentReply::read_void(&answered.endpoint, &answered.id, answered.response).await
    }

    /// The card that not everybody gets.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn extended_card(&self, ask: &Ask) -> Result<Node> {
        let reply = self.call(Operation::ExtendedCard, &Params::default(), ask).await?;
        reply.result().ok_or_else(|| Error::invalid_reply("the reply is empty"))
    }

    pub(super) async fn call(&self, operation: Operation, params: &Params, ask: &Ask) -> Result<AgentReply> {
        let endpoint = self.endpoint(ask).await?;
        self.call_at(endpoint, operation, params, ask).await
    }

    async fn call_at(
        &self,
        endpoint: Endpoint,
        operation: Operation,
        params: &Params,
        ask: &Ask,
    ) -> Result<AgentReply> {
        let send = |request| self.shared.client.send(request);
        let answered = self.exchange(endpoint, operation, params, ask, send).await?;
        AgentReply::read(&answered.endpoint, &answered.id, answered.response).await
    }

    pub(super) async fn open(
        &self,
        operation: Operation,
        params: &Params,
        ask: &Ask,
    ) -> Result<Answered<StreamingResponse>> {
        let endpoint = self.endpoint(ask).await?;
        self.open_at(endpoint, operation, params, ask).await
    }

    async fn open_at(
        &self,
        endpoint: Endpoint,
        operation: Operation,
        params: &Params,
        ask: &Ask,
    ) -> Result<Answered<StreamingResponse>> {
        let stream = |request| self.shared.client.stream(request);
        self.exchange(endpoint, operation, params, ask, stream).await
    }

    /// Ask, and once more with another token if the agent refuses the first: it has not acted then.
    async fn exchange<T: Status, F: Future<Output = Result<T>>>(
        &self,
        endpoint: Endpoint,
        operation: Operation,
        params: &Params,
        ask: &Ask,
        send: impl Fn(Request) -> F,
    ) -> Result<Answered<T>> {
        const UNAUTHORIZED: u16 = 401;
        let id = Id::Number(self.shared.calls.fetch_add(1, Relaxed));
        let token = self.token(ask, None).await?;
        let request = |token: Option<&str>| self.request(&endpoint, operation, params, &id, ask, token);
        let mut response = send(request(token.as_deref())?).await?;
        if response.status() == UNAUTHORIZED && token.is_some() {
            drop(response);
            let other = self.token(ask, token.as_deref()).await?;
            response = send(request(other.as_deref())?).await?;
        }
        Ok(Answered { endpoint, id, response })
    }

    /// A token other than the one that was refused, within the time for a whole call.
    async fn token(&self, ask: &Ask, refused: Option<&str>) -> Result<Option<String>> {
        let after = ask.template.timeouts.unwrap_or(self.shared.client.options().timeouts).total;
        let token = self.shared.token.other_than(refused, ask.token.as_ref());
        let late = |_| {
            let subject =
                format!("the total timeout of {} s passed while waiting for a token", after.as_secs_f64());
            Error::new(ErrorKind::Timeout { name: "total", after }, subject).with_phase(Phase::Connect)
        };
        tokio::time::timeout(after, token).await.map_err(late)?
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        operation: Operation,
        params: &Params,
        id: &Id,
        ask: &Ask,
        token: Option<&str>,
    ) -> Result<Request> {
        let options = &self.shared.options;
        let question = endpoint.ask(operation, params, id, &options.query)?;
        let mut request = ask.template.request(question.method, &question.url)?;
        request = request.idempotent(operation.is_idempotent());
        if operation.streams() && ask.template.timeouts.is_none() {
            let timeouts = self.shared.client.options().timeouts;
            request =
                request.timeouts(Some(Timeouts { total: timeouts.total.max(LONGEST_STREAM), ..timeouts }));
        }
        if !options.trust_card {
            request = request.from_peer_at(&self.shared.url)?;
        }
        self.check_origin(endpoint, &ask.template, token.is_some())?;
        if let Some(body) = question.body {
            request = request.body(body).default_header(CONTENT_TYPE, content_type(endpoint));
        }
        let accepted = if operation.streams() { EVENTS_OR_JSON } else { JSON };
        request = request.default_header(ACCEPT, accepted);
        request = request.default_header(VERSION, HeaderValue::from_static(endpoint.version.as_str()));
        if !options.extensions.is_empty() {
            let name = if endpoint.version == Version::V1_0 { "a2a-extensions" } else { "x-a2a-extensions" };
            request = request.header(name, options.extensions.join(", ").as_bytes())?;
        }
        match token {
            Some(token) => request.header("authorization", format!("Bearer {token}").as_bytes()),
            None => Ok(request),
        }
    }

    /// Refuse to take credentials to where the card says, if that is somewhere else than where it came from.
    fn check_origin(&self, endpoint: &Endpoint, template: &Template, has_token: bool) -> Result<()> {
        let Shared { url, options, client, .. } = &*self.shared;
        if options.trust_card || endpoint.url == *url {
            return Ok(());
        }
        let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin());
        let has_secrets = has_token
            || !options.query.is_empty()
            || template.has_secrets()
            || client.options().has_secrets();
        if origin(&endpoint.url) == origin(url) || !has_secrets {
            return Ok(());
        }
        let subject = "the agent card names an interface of another origin, which is not given the credentials: \
                       pass its URL, version and binding, or trust_card=True";
        Err(Error::new(ErrorKind::Denied, subject))
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").finish_non_exhaustive()
    }
}

/// What has a status, be its body there or not.
pub(super) trait Status {
    fn status(&self) -> u16;
}

impl Status for Response {
    fn status(&self) -> u16 {
        self.status
    }
}

impl Status for StreamingResponse {
    fn status(&self) -> u16 {
        self.status
    }
}

const ACCEPT: HeaderName = HeaderName::from_static("accept");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");
const VERSION: HeaderName = HeaderName::from_static("a2a-version");
const JSON: HeaderValue = HeaderValue::from_static("application/json, application/a2a+json");
const EVENTS_OR_JSON: HeaderValue =
    HeaderValue::from_static("text/event-stream, application/json, application/a2a+json");

const fn content_type(endpoint: &Endpoint) -> HeaderValue {
    HeaderValue::from_static(match (endpoint.binding, endpoint.version) {
        (Binding::HttpJson, Version::V1_0) => "application/a2a+json",
        _ => "application/json",
    })
}

/// The parameters of a message, written on a thread that may take its time if that may take long.
async fn send_params(draft: Draft, options: SendOptions, endpoint: &Endpoint) -> Result<Params> {
    let shape = Shape::of(endpoint.version, endpoint.binding);
    let SendOptions { task_id, context_id, configuration, metadata } = options;
    let configuration = super::push::configuration(configuration, shape)?;
    let metadata = metadata.map(|metadata| object("metadata", metadata)).transpose()?;
    let takes_long = draft.effort() >= WRITE_IN_PLACE;
    let write = move || draft.write(shape, task_id, context_id);
    let message = if takes_long { runtime::blocking(write).await?? } else { write()? };
    Ok(Params::default()
        .with("configuration", configuration.map(Value::Json))
        .with("metadata", metadata.map(Value::Json))
        .with("message", Some(Value::Json(message))))
}
