//! Tools that are A2A agents: the arguments of a call become one message, and what comes of it a result.

use a2a_service::core::{Agent, Ask, Draft, Message, Part, PartKind, SendOptions};
use mcpgateway_engine::json::quoted;
use mcpgateway_engine::{Error, Payload, Result};

use super::result::ToolResult;

/// An argument of a call.
#[derive(Clone, Debug)]
pub enum AgentArgument {
    /// A part of its own. Bytes without a name of their own get the argument's.
    Part(Part),
    /// A value that is JSON, for which the caller vouches: a member of the one data part.
    Json(Payload),
}

/// Call `agent` with `arguments`, each a part of one message in their order; those that are JSON are the members of a
/// data part behind them. An agent says nothing of what it wants to be called with: what it makes of the names is up
/// to it.
///
/// # Errors
/// As for [`Agent::send`], and [`ErrorKind::InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when there
/// is no argument. That the agent did not do its task is a result: [`ToolResult::is_error`].
pub async fn call_agent(
    agent: &Agent,
    arguments: Vec<(String, AgentArgument)>,
    options: SendOptions,
    ask: &Ask,
) -> Result<ToolResult> {
    let reply = agent.send(Draft::Message(message_of(arguments)?), options, ask).await?;
    Ok(ToolResult::of_agent(reply))
}

fn message_of(arguments: Vec<(String, AgentArgument)>) -> Result<Message> {
    let (mut parts, mut data) = (Vec::new(), Vec::new());
    for (name, argument) in arguments {
        match argument {
            AgentArgument::Part(part) => parts.push(named(part, name)),
            AgentArgument::Json(json) => {
                let opening = if data.is_empty() { "{" } else { "," };
                data.extend([Payload::from(format!("{opening}{}:", quoted(&name))), json]);
            }
        }
    }
    if !data.is_empty() {
        data.push("}".into());
        parts.push(Part::data(Payload::join(data)));
    }
    if parts.is_empty() {
        return Err(Error::invalid_request(
            "an agent is called with at least one argument: pass what it is asked",
        ));
    }
    Ok(Message::new(parts))
}

fn named(mut part: Part, name: String) -> Part {
    if part.kind() == PartKind::Raw && part.filename.is_none() {
        part.filename = Some(name);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_parts_in_order_and_json_one_part_behind_them() {
        let json = |text: &'static str| AgentArgument::Json(text.into());
        let mut own_name = Part::raw("b".into());
        own_name.filename = Some("own".into());
        let message = message_of(vec![
            ("limit".into(), json("3")),
            ("question".into(), AgentArgument::Part(Part::text("what?".into()))),
            ("scan".into(), AgentArgument::Part(Part::raw("a".into()))),
            ("other".into(), AgentArgument::Part(own_name)),
            ("a \"b".into(), json("[1]")),
        ])
        .expect("a message");
        let parts: Vec<_> =
            message.parts.iter().map(|part| (part.kind(), part.filename.as_deref(), part.len())).collect();
        let data = r#"{"limit":3,"a \"b":[1]}"#.len() as u64;
        assert_eq!(
            parts,
            [
                (PartKind::Text, None, 5),
                (PartKind::Raw, Some("scan"), 1),
                (PartKind::Raw, Some("own"), 1),
                (PartKind::Data, None, data),
            ]
        );
        assert!(message_of(Vec::new()).is_err());
    }
}
