//! Finding out which generation a server speaks, and agreeing on a version.
//!
//! `server/discover` is asked first: it is small and changes nothing, so no call is made twice and no large
//! argument is sent in vain. Anything that is no modern answer to it means `initialize`.

use mcpgateway_engine::http::{HeaderMap, HeaderValue};
use mcpgateway_engine::json::{Node, quoted};
use mcpgateway_engine::jsonrpc::{Envelope, Id, notification, request};
use mcpgateway_engine::{Error, Payload, Result};

use crate::call::Call;
use crate::memory;
use crate::message::{HEADER_MISMATCH, MISSING_CAPABILITY, Message, UNSUPPORTED_VERSION, code_of, result_of};
use crate::params::{Params, object};
use crate::session::{Answer, SESSION_ID, Session};
use crate::stream::{Stream, With};
use crate::version::{Generation, Version};

/// What client and server agreed on.
pub(crate) struct Agreed {
    pub(crate) version: Version,
    /// What the server gave out.
    pub(crate) session: Option<HeaderValue>,
    /// What the server said of itself.
    pub(crate) server: Option<Node>,
    /// It was not asked now: another session with this endpoint found out.
    pub(crate) recalled: bool,
    /// Of the call that it was agreed for: what a session is ended with.
    pub(crate) headers: Option<HeaderMap>,
}

/// What a server made of `server/discover`.
enum Discovered {
    Modern(Agreed),
    Legacy,
    /// It refused a version that it says it speaks.
    Again,
}

/// Agree with the server, by requests with the headers, timeouts and limits of `first`.
pub(crate) async fn agree(session: &Session, first: &Call) -> Result<Agreed> {
    let endpoint = &session.shared.endpoint;
    match session.shared.options.version {
        Some(version) if version.generation() == Generation::Modern => {
            return Ok(without_session(version, None));
        }
        Some(version) => return initialize(session, first, version).await,
        None => {}
    }
    match memory::recall(endpoint) {
        Some(Generation::Modern) => {
            return Ok(Agreed { recalled: true, ..without_session(Version::NEWEST_MODERN, None) });
        }
        Some(Generation::Legacy) => {
            if let Ok(agreed) = initialize(session, first, Version::NEWEST_LEGACY).await {
                return Ok(agreed);
            }
            memory::forget(endpoint);
        }
        None => {}
    }
    let discovered = match discover(session, first).await? {
        // Once more: the answer may have been about something that has changed since.
        Discovered::Again => discover(session, first).await?,
        discovered => discovered,
    };
    let agreed = match discovered {
        Discovered::Modern(agreed) => agreed,
        Discovered::Legacy | Discovered::Again => initialize(session, first, Version::NEWEST_LEGACY).await?,
    };
    memory::remember(endpoint, agreed.version.generation());
    Ok(agreed)
}

/// What is agreed without a session.
fn without_session(version: Version, server: Option<Node>) -> Agreed {
    Agreed { version, session: None, server, recalled: false, headers: None }
}

/// A call made as `first` is.
fn like(first: &Call, method: &'static str, params: Params) -> Call {
    let (headers, timeouts, limits) = (first.headers.clone(), first.timeouts, first.limits);
    Call { headers, timeouts, limits, ..Call::new(method, params) }
}

async fn discover(session: &Session, first: &Call) -> Result<Discovered> {
    let assumed = without_session(Version::NEWEST_MODERN, None);
    let call = like(first, "server/discover", meta(session, assumed.version, Params::new()));
    let id = session.next_id();
    let body = request(&Id::Number(id), &call.method, call.params.clone().into_json());
    let (answer, _) = session.exchange(session.post(&assumed, &call, body, None)?).await?;
    let answer = match answer {
        Answer::Refused(refusal) if refusal.is_about_access() => return Err(refusal.into_error(Some(id))),
        answer => answer,
    };
    let Some(envelope) = final_reply(session, &call, answer).await? else { return Ok(Discovered::Legacy) };
    match code_of(&envelope) {
        Some(UNSUPPORTED_VERSION) => {
            let data = envelope.error().and_then(|error| error.get("data"));
            let supported = data.and_then(|data| data.get("supported"));
            if supported.as_ref().is_some_and(|names| names_any(names, Generation::Modern)) {
                return Ok(Discovered::Again);
            }
            if supported.is_none_or(|names| names_any(&names, Generation::Legacy)) {
                return Ok(Discovered::Legacy);
            }
        }
        Some(HEADER_MISMATCH | MISSING_CAPABILITY) => {}
        Some(_) => return Ok(Discovered::Legacy),
        None => {
            let named = envelope.result().and_then(|result| result.get("supportedVersions"));
            if !named.is_some_and(|names| names_any(&names, Generation::Modern)) {
                return Ok(Discovered::Legacy);
            }
        }
    }
    let server = result_of(&envelope, id)?;
    Ok(Discovered::Modern(without_session(assumed.version, Some(server))))
}

/// The reply that an answer to a request of ours ends with; none if it has none.
async fn final_reply(session: &Session, call: &Call, answer: Answer) -> Result<Option<Envelope>> {
    match answer {
        Answer::Message(Message::Reply(envelope), _) => Ok(Some(envelope)),
        Answer::Refused(refusal) => Ok(refusal.envelope),
        Answer::Message(..) | Answer::Accepted => Ok(None),
        Answer::Stream(events) => {
            let mut stream = Stream::new(events, session.timeouts(call));
            loop {
                let text = stream.next(With { session, agreed: None, call }).await?;
                if let Message::Reply(envelope) = Message::read(text).await? {
                    return Ok(Some(envelope));
                }
            }
        }
    }
}

/// Whether a list of versions has one of `generation` that is spoken here.
fn names_any(names: &Node, generation: Generation) -> bool {
    names.elements().any(|name| {
        let version = name.text().and_then(|name| Version::from_name(&name));
        version.is_some_and(|version| version.generation() == generation)
    })
}

async fn initialize(session: &Session, first: &Call, version: Version) -> Result<Agreed> {
    let options = &session.shared.options;
    let params = Params::new()
        .text("protocolVersion", version.as_str())
        .json("capabilities", options.capabilities.clone())
        .json("clientInfo", client_info(session));
    let call = like(first, "initialize", params);
    let id = session.next_id();
    let body = request(&Id::Number(id), &call.method, call.params.clone().into_json());
    let initialize =
        session.request("POST", None, &call)?.header("content-type", b"application/json")?.body(body);
    let (answer, headers) = session.exchange(initialize).await?;
    if let Answer::Refused(refusal) = answer {
        return Err(refusal.into_error(Some(id)));
    }
    let Some(envelope) = final_reply(session, &call, answer).await? else {
        return Err(Error::invalid_reply("the server accepted initialize without a reply to it"));
    };
    let result = result_of(&envelope, id)?;
    let named = result.get("protocolVersion");
    let named = named.as_ref().and_then(Node::text);
    let version = named
        .as_deref()
        .and_then(Version::from_name)
        .filter(|version| version.generation() == Generation::Legacy)
        .ok_or_else(|| {
            let named: String = named.as_deref().unwrap_or("none").chars().take(40).collect();
            Error::invalid_reply(format!(
                "the server wants to speak version {named:?} of MCP, which is not known here"
            ))
        })?;
    let agreed = Agreed {
        session: session_id(headers.get(SESSION_ID))?,
        headers: first.headers.clone(),
        ..without_session(version, Some(result))
    };
    let call = like(first, "notifications/initialized", Params::new());
    session.tell(session.post(&agreed, &call, notification(&call.method, None), None)?).await?;
    Ok(agreed)
}

fn session_id(value: Option<&HeaderValue>) -> Result<Option<HeaderValue>> {
    let Some(value) = value else { return Ok(None) };
    if value.is_empty() || !value.as_bytes().iter().all(u8::is_ascii_graphic) {
        return Err(Error::invalid_reply(
            "the server gave out a session id with other characters than visible ASCII",
        ));
    }
    let mut value = value.clone();
    value.set_sensitive(true);
    Ok(Some(value))
}

fn client_info(session: &Session) -> Payload {
    let options = &session.shared.options;
    object([
        ("name".into(), quoted(&options.client_name).into()),
        ("version".into(), quoted(&options.client_version).into()),
    ])
}

/// `params` with what a modern request says of itself.
pub(crate) fn meta(session: &Session, version: Version, params: Params) -> Params {
    params
        .meta("io.modelcontextprotocol/protocolVersion", quoted(version.as_str()).into())
        .meta("io.modelcontextprotocol/clientInfo", client_info(session))
        .meta("io.modelcontextprotocol/clientCapabilities", session.shared.options.capabilities.clone())
}
