//! What comes of a message or a task, as it comes.

use std::fmt;
use std::time::Duration;

use mcpgateway_engine::http::{EventStream, StreamingResponse};
use mcpgateway_engine::jsonrpc::Id;
use mcpgateway_engine::{Error, ErrorKind, Payload, Phase, Result, Sent, runtime};

use super::agent::{Agent, Answered, Ask};
use super::artifact::{Artifact, Artifacts};
use super::operation::{Endpoint, Operation, Params};
use super::protocol::{Binding, TaskState};
use super::reply::{AgentReply, error_in, error_of_status, read};
use super::resumed::{Judgement, Resumed};
use super::view::{Item, ItemKind};

/// How long is waited before attaching again; doubled with each attempt that brings nothing.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Events from this many bytes on are gathered on a thread that may take its time.
const GATHER_IN_PLACE: u64 = 256 << 10;

/// An event of an agent.
#[derive(Clone, Debug)]
pub struct AgentEvent {
    /// What it is.
    pub item: Item,
    /// The text it came as, which is JSON.
    pub text: Payload,
    /// Whether it is the first since the stream broke: a task then says all that came before.
    pub is_after_break: bool,
}

/// The events of an agent, one at a time.
pub struct AgentStream {
    agent: Agent,
    ask: Ask,
    endpoint: Endpoint,
    id: Id,
    source: Source,
    task_id: Option<String>,
    context_id: Option<String>,
    state: Option<TaskState>,
    /// Whether what was last received is the end of it.
    is_complete: bool,
    /// How often it is attached again without an event between.
    reattach: u32,
    attempts: u32,
    is_after_break: bool,
    /// After a break, with an agent that goes on with what comes next.
    resumed: Option<Resumed>,
    /// What comes next whatever the source says.
    held: Option<(Item, Payload)>,
    /// Set while an event is waited for: who gives up waiting then may lose one.
    is_waiting: bool,
}

enum Source {
    Events(Box<EventStream>),
    /// An agent that answers at once.
    Reply(Option<(AgentReply, Payload)>),
}

/// What came of it, when all has come.
#[derive(Debug)]
pub struct Collected {
    /// The artifacts, each in one piece.
    pub artifacts: Vec<Artifact>,
    /// The last task, message or status.
    pub last: Option<Item>,
    /// The task.
    pub task_id: Option<String>,
    /// Its context.
    pub context_id: Option<String>,
    /// How far it came.
    pub state: Option<TaskState>,
}

impl AgentStream {
    pub(super) async fn begin(
        agent: Agent,
        ask: Ask,
        opened: Answered<StreamingResponse>,
        task_id: Option<String>,
        reattach: u32,
    ) -> Result<Self> {
        let Answered { endpoint, id, response } = opened;
        let source = Source::of(&agent, &endpoint, &id, response).await?;
        Ok(Self {
            agent,
            ask,
            endpoint,
            id,
            source,
            task_id,
            context_id: None,
            state: None,
            is_complete: false,
            reattach,
            attempts: 0,
            is_after_break: false,
            resumed: None,
            held: None,
            is_waiting: false,
        })
    }

    /// The task that the events are of, once one said so.
    #[must_use]
    pub fn task_id(&self) -> Option<&str> {
        self.task_id.as_deref()
    }

    /// Its context, likewise.
    #[must_use]
    pub fn context_id(&self) -> Option<&str> {
        self.context_id.as_deref()
    }

    /// How far the task is.
    #[must_use]
    pub fn state(&self) -> Option<TaskState> {
        self.state
    }

    /// The next event; `None` at the end. When the stream breaks, the task is attached to again.
    ///
    /// # Errors
    /// As for [`Agent::send`], [`ErrorKind::LimitExceeded`] for an event over `max_event_bytes`, and
    /// [`ErrorKind::IncompleteBody`] when the stream ended, and attaching again did not help.
    pub async fn next(&mut self) -> Result<Option<AgentEvent>> {
        if std::mem::replace(&mut self.is_waiting, true) {
            let subject = "the wait for an event of this stream was given up: subscribe to the task again";
            return Err(Error::new(ErrorKind::Cancelled, subject).with_sent(Sent::Yes));
        }
        let next = self.next_of_any_source().await;
        self.is_waiting = false;
        next
    }

    async fn next_of_any_source(&mut self) -> Result<Option<AgentEvent>> {
        loop {
            let broken = match self.next_of_source().await {
                Ok(Some(event)) => match self.not_said_before(event).await? {
                    Some(event) => return Ok(Some(self.noted(event))),
                    None => continue,
                },
                Ok(None) if self.is_complete => return Ok(None),
                Ok(None) => ended_early(),
                // All came: how the connection ended does not matter.
                Err(error) if error.is_of_the_connection() && self.is_complete => return Ok(None),
                Err(error) if error.is_of_the_connection() => error,
                Err(error) => return Err(error),
            };
            self.attach_again(broken).await?;
        }
    }

    async fn next_of_source(&mut self) -> Result<Option<(Item, Payload)>> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let (reply, text) = match &mut self.source {
            Source::Reply(reply) => match reply.take() {
                Some(found) => found,
                None => return Ok(None),
            },
            Source::Events(events) => loop {
                let Some(event) = events.next().await? else { return Ok(None) };
                if event.data.is_empty() {
                    continue;
                }
                if event.event == "error" && self.endpoint.binding == Binding::HttpJson {
                    return Err(error_event(event.data).await);
                }
                let text = event.data;
                break (AgentReply::of_text(&self.endpoint, &self.id, text.clone()).await?, text);
            },
        };
        let item = reply.item();
        let item =
            item.ok_or_else(|| Error::invalid_reply("an event is neither a task, a message nor an update"))?;
        Ok(Some((item, text)))
    }

    /// `event`, or the task that has it and what came before it, unless it was there already.
    async fn not_said_before(&mut self, event: (Item, Payload)) -> Result<Option<(Item, Payload)>> {
        let Some(mut resumed) = self.resumed.take() else { return Ok(Some(event)) };
        // Such an agent begins with all that came before.
        if matches!(event.0.kind, ItemKind::Task | ItemKind::Message) {
            return Ok(Some(event));
        }
        if self.is_after_break {
            return self.snapshot_for(event, resumed).await.map(Some);
        }
        let item = event.0.clone();
        let judge = move || resumed.judge(&item).map(|judgement| (judgement, resumed));
        let (judgement, resumed) = runtime::blocking(judge).await??;
        if judgement == Judgement::Unknown {
            return self.snapshot_for(event, resumed).await.map(Some);
        }
        self.resumed = Some(resumed);
        Ok((judgement == Judgement::New).then_some(event))
    }

    /// The task that says what came before `event`; `event` itself where it comes after that, or there is no task.
    async fn snapshot_for(
        &mut self,
        event: (Item, Payload),
        mut resumed: Resumed,
    ) -> Result<(Item, Payload)> {
        let Some(task_id) = self.task_id.clone() else { return Ok(event) };
        let reply = match self.agent.get_task(task_id, None, &self.ask).await {
            Ok(reply) => reply,
            // An agent that does not do this goes on as it does.
            Err(error) if matches!(error.kind(), ErrorKind::Rpc(_)) => return Ok(event),
            Err(error) => return Err(error),
        };
        let Some(task) = taken_apart(&reply) else { return Ok(event) };
        let items = (event.0.clone(), task.0.clone());
        let compare = move || resumed.compare(&items.0, &items.1).map(|has_it| (has_it, resumed));
        let (has_it, resumed) = runtime::blocking(compare).await??;
        (self.resumed, self.held) = (Some(resumed), (!has_it).then_some(event));
        Ok(task)
    }

    fn noted(&mut self, (item, text): (Item, Payload)) -> AgentEvent {
        // What each attempt begins with is no progress: an agent that ends each stream so is given up.
        if !self.is_after_break {
            self.attempts = 0;
        }
        self.task_id = item.task_id().or(self.task_id.take());
        self.context_id = item.context_id().or(self.context_id.take());
        self.state = item.state().or(self.state);
        self.is_complete = item.ends_stream();
        AgentEvent { item, text, is_after_break: std::mem::take(&mut self.is_after_break) }
    }

    /// Go on with the task after `broken`.
    async fn attach_again(&mut self, broken: Error) -> Result<()> {
        let Some(task_id) = self.task_id.clone() else { return Err(broken) };
        if self.attempts == self.reattach {
            return Err(broken);
        }
        if self.attempts > 0 {
            let wait = FIRST_WAIT.saturating_mul(1 << (self.attempts - 1).min(10));
            tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
        }
        self.attempts += 1;
        self.is_after_break = true;
        self.resumed = Some(Resumed::default());
        match self.subscribe_or_get(&task_id).await {
            Ok(()) => Ok(()),
            // The next look at the source is the next attempt.
            Err(error) if error.is_of_the_connection() => {
                self.source = Source::Reply(None);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn subscribe_or_get(&mut self, task_id: &str) -> Result<()> {
        let params = Params::of_task(task_id);
        let subscribed = async {
            let Answered { endpoint, id, response } =
                self.agent.open(Operation::Subscribe, &params, &self.ask).await?;
            let source = Source::of(&self.agent, &endpoint, &id, response).await?;
            Ok::<_, Error>((id, source))
        };
        match subscribed.await {
            Ok((id, source)) => (self.id, self.source) = (id, source),
            // A task that is over has no stream: how it ended can be asked for.
            Err(error) if matches!(error.kind(), ErrorKind::Rpc(_) | ErrorKind::Status(_)) => {
                let reply = self.agent.get_task(task_id.to_owned(), None, &self.ask).await?;
                let text = text_of(&reply);
                self.source = Source::Reply(Some((reply, text)));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Receive all that is left, and put the chunks of artifacts together.
    ///
    /// # Errors
    /// As for [`next`](Self::next), and [`ErrorKind::BudgetExceeded`] when the artifacts have no room in memory.
    pub async fn collect(&mut self) -> Result<Collected> {
        let (mut artifacts, mut last) = (Artifacts::default(), None);
        while let Some(event) = self.next().await? {
            let item = event.item;
            if event.text.len() < GATHER_IN_PLACE {
                artifacts.take(&item)?;
            } else {
                let (mut gathered, large) = (std::mem::take(&mut artifacts), item.clone());
                let taken = runtime::blocking(move || gathered.take(&large).map(|()| gathered));
                artifacts = taken.await??;
            }
            if item.kind != ItemKind::ArtifactUpdate {
                last = Some(item);
            }
        }
        let (task_id, context_id) = (self.task_id.clone(), self.context_id.clone());
        Ok(Collected { artifacts: artifacts.finish(), last, task_id, context_id, state: self.state })
    }
}

impl fmt::Debug for AgentStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentStream").field("task_id", &self.task_id).field("state", &self.state).finish()
    }
}

impl Source {
    async fn of(agent: &Agent, endpoint: &Endpoint, id: &Id, response: StreamingResponse) -> Result<Self> {
        let options = agent.client().options();
        let is_success = (200..300).contains(&response.status);
        if is_success && EventStream::is_announced_by(&response.headers) {
            return Ok(Self::Events(Box::new(EventStream::new(response, options))));
        }
        let response = response.read(options).await?;
        if !is_success {
            return Err(error_of_status(endpoint.binding, id, response).await);
        }
        let text = response.body.clone();
        Ok(Self::Reply(Some((AgentReply::of_text(endpoint, id, response.body).await?, text))))
    }
}

fn text_of(reply: &AgentReply) -> Payload {
    reply.result().map_or_else(Payload::empty, |result| result.raw().into())
}

/// What a reply has, as if it were an event.
fn taken_apart(reply: &AgentReply) -> Option<(Item, Payload)> {
    let text = text_of(reply);
    Some((reply.item()?, text))
}

/// The error that an event tells of.
async fn error_event(data: Payload) -> Error {
    match read(data).await {
        Ok(document) => {
            let told = error_in(&document.root());
            told.unwrap_or_else(|| {
                Error::invalid_reply("the stream has an error event that does not say which")
            })
        }
        Err(error) => error,
    }
}

fn ended_early() -> Error {
    Error::new(ErrorKind::IncompleteBody, "the stream ended before the task did")
        .with_phase(Phase::Receive)
        .with_sent(Sent::Yes)
}
