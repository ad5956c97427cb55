//! Rounds of input that a modern server asks for before it gives a result.

use std::borrow::Cow;
use std::collections::VecDeque;

use mcpgateway_engine::json::{Kind, Node};
use mcpgateway_engine::{Error, ErrorKind, Payload, Phase, Result, Sent};

use crate::params::{Params, object};

/// What a round asks for, and what was answered.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// How many there were.
    pub(crate) count: u32,
    /// Requests that nobody has seen yet: key, method, parameters.
    pub(crate) open: VecDeque<(String, String, Option<Node>)>,
    /// Keys that are not answered.
    pub(crate) unanswered: usize,
    answers: Vec<(String, Payload)>,
    state: Option<Payload>,
}

impl Round {
    /// Begin the round that `result` asks for.
    pub(crate) fn begin(&mut self, result: &Node, most: u32) -> Result<()> {
        self.count += 1;
        if self.count > most {
            let kind = ErrorKind::LimitExceeded {
                name: "max_input_rounds",
                limit: most.into(),
                got: self.count.into(),
            };
            let subject = format!("the server asked for input more than max_input_rounds={most} times");
            return Err(Error::new(kind, subject).with_phase(Phase::Receive).with_sent(Sent::Yes));
        }
        let requests = result.get("inputRequests");
        self.state = result.get("requestState").map(|state| state.raw().into());
        if requests.is_none() && self.state.is_none() {
            return Err(Error::invalid_reply("the server requires input and does not say which"));
        }
        self.answers.clear();
        self.open.clear();
        for member in requests.iter().flat_map(Node::members) {
            let method = member.value.get("method").and_then(|method| method.text().map(Cow::into_owned));
            let method = method.filter(|_| member.value.kind() == Kind::Object).ok_or_else(|| {
                Error::invalid_reply("the server requires input by a request without a method")
            })?;
            self.open.push_back((member.key().into_owned(), method, member.value.get("params")));
        }
        self.unanswered = self.open.len();
        Ok(())
    }

    /// Whether the server asked for nothing but to be called again.
    pub(crate) fn is_empty(&self) -> bool {
        self.unanswered == 0 && self.answers.is_empty()
    }

    pub(crate) fn answer(&mut self, key: &str, result: Payload) {
        if !self.answers.iter().any(|(answered, _)| answered == key) {
            self.answers.push((key.to_owned(), result));
            self.unanswered = self.unanswered.saturating_sub(1);
        }
    }

    /// `params` with what this round brought.
    pub(crate) fn add_to(&self, mut params: Params) -> Params {
        if !self.answers.is_empty() {
            let answers = self.answers.iter().map(|(key, answer)| (key.clone().into(), answer.clone()));
            params = params.json("inputResponses", object(answers));
        }
        match &self.state {
            Some(state) => params.json("requestState", state.clone()),
            None => params,
        }
    }
}
