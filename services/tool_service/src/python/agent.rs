//! Agents as tools.

use a2a_service::core::{Part, SendOptions};
use a2a_service::python::{NativeAgent, part_of, strictest};
use mcpgateway_bridge::{JsonText, guard, json_from, json_text, run};
use mcpgateway_engine::http::Mutation;
use mcpgateway_engine::{Result, TransferPolicy};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use super::{PyFinish, deliver, finish_from};
use crate::core::{self, AgentArgument};

/// An argument as it was given.
enum Given {
    Part(Box<Part>),
    Json(JsonText),
}

impl Given {
    async fn open(self) -> Result<AgentArgument> {
        match self {
            Self::Part(part) => Ok(AgentArgument::Part(*part)),
            Self::Json(text) => text.open().await.map(AgentArgument::Json),
        }
    }
}

/// Call an agent as a tool.
#[pyfunction]
#[pyo3(signature = (
    agent, blocking, arguments, *, finish = None, task_id = None, context_id = None, configuration = None,
    metadata = None, token = None, **options
))]
#[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
pub fn call_agent(
    py: Python<'_>,
    agent: &Bound<'_, NativeAgent>,
    blocking: bool,
    arguments: &Bound<'_, PyMapping>,
    finish: Option<&Bound<'_, PyFinish>>,
    task_id: Option<String>,
    context_id: Option<String>,
    configuration: Option<&Bound<'_, PyAny>>,
    metadata: Option<&Bound<'_, PyAny>>,
    token: Option<Py<PyAny>>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    guard(py, || {
        let (native, finish) = (agent.get(), finish_from(finish));
        let json = |value: Option<&Bound<'_, PyAny>>| value.map(json_from).transpose();
        let with = SendOptions {
            task_id,
            context_id,
            configuration: json(configuration)?,
            metadata: json(metadata)?,
        };
        let mut ask = native.ask(py, token, options)?;
        let agent = native.agent().clone();
        let (given, mutation) = given_from(arguments, &agent.client().options().policy)?;
        ask.template.mutation = strictest(ask.template.mutation, mutation);
        let calling = async move {
            let mut ready = Vec::with_capacity(given.len());
            for (name, argument) in given {
                ready.push((name, argument.open().await?));
            }
            finish.apply(core::call_agent(&agent, ready, with, &ask).await?).await
        };
        run(py, blocking, calling, deliver)
    })
}

/// The arguments by their names, and what happens when the owner of one of their buffers writes to it.
fn given_from(
    arguments: &Bound<'_, PyMapping>,
    policy: &TransferPolicy,
) -> PyResult<(Vec<(String, Given)>, Mutation)> {
    let (mut given, mut strict) = (Vec::new(), Mutation::Borrow);
    for item in arguments.items()? {
        let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
        let argument = match part_of(&value)? {
            Some((part, mutation)) => {
                strict = strictest(strict, mutation);
                Given::Part(Box::new(part))
            }
            None => Given::Json(json_text(&value, policy)?),
        };
        given.push((name, argument));
    }
    Ok((given, strict))
}
