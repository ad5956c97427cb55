//! The operations of A2A, and what each is called in either generation and binding.

use std::fmt;

use mcpgateway_engine::http::redacted_url;
use mcpgateway_engine::jsonrpc::{Id, request};
use mcpgateway_engine::{Error, ErrorKind, Payload, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::protocol::{Binding, Version};
use super::rope::{Members, Rope};

/// What may stand in a path or a query as it is (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Something that an agent can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Take a message.
    Send,
    /// Take a message, and stream what comes of it.
    Stream,
    /// Say how a task is.
    GetTask,
    /// List tasks.
    ListTasks,
    /// Give a task up.
    CancelTask,
    /// Stream what comes of a task from now on.
    Subscribe,
    /// Set where a task's updates are pushed to.
    CreatePush,
    /// Say so.
    GetPush,
    /// List all of it.
    ListPush,
    /// Push no more.
    DeletePush,
    /// Give the card that not everybody gets.
    ExtendedCard,
}

/// An operation, its methods of 1.0 and 0.3, and its ways over HTTP in both.
type Row = (Operation, &'static str, Option<&'static str>, Route, Option<Route>);
/// A method of HTTP and a path, in which `{task}` and `{config}` stand for their ids.
type Route = (&'static str, &'static str);

const CONFIGS: &str = "/tasks/{task}/pushNotificationConfigs";
const CONFIG: &str = "/tasks/{task}/pushNotificationConfigs/{config}";

const TABLE: [Row; 11] = [
    (
        Operation::Send,
        "SendMessage",
        Some("message/send"),
        ("POST", "/message:send"),
        Some(("POST", "/v1/message:send")),
    ),
    (
        Operation::Stream,
        "SendStreamingMessage",
        Some("message/stream"),
        ("POST", "/message:stream"),
        Some(("POST", "/v1/message:stream")),
    ),
    (
        Operation::GetTask,
        "GetTask",
        Some("tasks/get"),
        ("GET", "/tasks/{task}"),
        Some(("GET", "/v1/tasks/{task}")),
    ),
    (Operation::ListTasks, "ListTasks", None, ("GET", "/tasks"), None),
    (
        Operation::CancelTask,
        "CancelTask",
        Some("tasks/cancel"),
        ("POST", "/tasks/{task}:cancel"),
        Some(("POST", "/v1/tasks/{task}:cancel")),
    ),
    (
        Operation::Subscribe,
        "SubscribeToTask",
        Some("tasks/resubscribe"),
        ("POST", "/tasks/{task}:subscribe"),
        Some(("POST", "/v1/tasks/{task}:subscribe")),
    ),
    (
        Operation::CreatePush,
        "CreateTaskPushNotificationConfig",
        Some("tasks/pushNotificationConfig/set"),
        ("POST", CONFIGS),
        Some(("POST", "/v1/tasks/{task}/pushNotificationConfigs")),
    ),
    (
        Operation::GetPush,
        "GetTaskPushNotificationConfig",
        Some("tasks/pushNotificationConfig/get"),
        ("GET", CONFIG),
        Some(("GET", "/v1/tasks/{task}/pushNotificationConfigs/{config}")),
    ),
    (
        Operation::ListPush,
        "ListTaskPushNotificationConfigs",
        Some("tasks/pushNotificationConfig/list"),
        ("GET", CONFIGS),
        Some(("GET", "/v1/tasks/{task}/pushNotificationConfigs")),
    ),
    (
        Operation::DeletePush,
        "DeleteTaskPushNotificationConfig",
        Some("tasks/pushNotificationConfig/delete"),
        ("DELETE", CONFIG),
        Some(("DELETE", "/v1/tasks/{task}/pushNotificationConfigs/{config}")),
    ),
    (
        Operation::ExtendedCard,
        "GetExtendedAgentCard",
        Some("agent/getAuthenticatedExtendedCard"),
        ("GET", "/extendedAgentCard"),
        Some(("GET", "/v1/card")),
    ),
];

impl Operation {
    fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.0 == self).expect("the table has all")
    }

    /// Its name in 1.0.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// Whether what comes of it is streamed.
    #[must_use]
    pub const fn streams(self) -> bool {
        matches!(self, Self::Stream | Self::Subscribe)
    }

    /// Whether asking twice is the same as asking once.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        !matches!(self, Self::Send | Self::Stream | Self::CreatePush)
    }

    fn method(self, version: Version) -> Option<&'static str> {
        let (_, new, old, ..) = self.row();
        match version {
            Version::V1_0 => Some(new),
            Version::V0_3 => *old,
        }
    }

    fn route(self, version: Version) -> Option<Route> {
        let (.., new, old) = self.row();
        match version {
            Version::V1_0 => Some(*new),
            Version::V0_3 => *old,
        }
    }
}

/// A parameter that is more than an id.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Bool(bool),
    /// JSON.
    Json(Payload),
}

/// What an operation is asked with.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// The task that it is about.
    pub task_id: Option<String>,
    /// The push configuration that it is about.
    pub config_id: Option<String>,
    /// All else, by the names of 1.0, which 0.3 shares where it has them.
    pub fields: Vec<(&'static str, Value)>,
}

impl Params {
    /// An operation on a task.
    #[must_use]
    pub fn of_task(task_id: impl Into<String>) -> Self {
        Self { task_id: Some(task_id.into()), ..Self::default() }
    }

    /// Refuse ids that lead elsewhere in a path, or name nothing.
    fn check(&self) -> Result<()> {
        for id in self.task_id.iter().chain(&self.config_id) {
            if ["", ".", ".."].contains(&&**id) {
                return Err(Error::invalid_request(format!("{id:?} is no id of a task or a configuration")));
            }
        }
        Ok(())
    }

    /// The same with another field, if it has a value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Option<Value>) -> Self {
        self.fields.extend(value.map(|value| (name, value)));
        self
    }
}

/// What is sent to ask for an operation.
pub(super) struct Question {
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) body: Option<Payload>,
}

/// Where an operation is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL that it answers at.
    pub url: String,
    /// The generation that it speaks.
    pub version: Version,
    /// The binding that it speaks.
    pub binding: Binding,
    /// What it calls the caller's part of it.
    pub tenant: Option<String>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &redacted_url(&self.url))
            .field("version", &self.version)
            .field("binding", &self.binding)
            .field("tenant", &self.tenant)
            .finish()
    }
}

impl Endpoint {
    /// What asks for `operation` with `params`; `query` is added to the URL.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when this generation has no such operation, [`ErrorKind::InvalidRequest`] for an
    /// id that is none.
    pub(super) fn ask(
        &self,
        operation: Operation,
        params: &Params,
        id: &Id,
        query: &[(String, String)],
    ) -> Result<Question> {
        params.check()?;
        match self.binding {
            Binding::JsonRpc => {
                let method = operation.method(self.version).ok_or_else(|| self.lacks(operation))?;
                let params = self.rpc_params(operation, params);
                let url = url_with("", &self.url, query.iter().map(|(name, value)| (&**name, &**value)));
                Ok(Question { method: "POST", url, body: Some(request(id, method, params)) })
            }
            Binding::HttpJson => self.ask_by_path(operation, params, query),
        }
    }

    fn lacks(&self, operation: Operation) -> Error {
        let (operation, version) = (operation.as_str(), self.version.as_str());
        let subject = format!("A2A {version} over {} has no {operation}", self.binding.as_str());
        Error::new(ErrorKind::Unsupported, subject)
    }

    fn rpc_params(&self, operation: Operation, params: &Params) -> Option<Payload> {
        let is_about_config = matches!(
            operation,
            Operation::CreatePush | Operation::GetPush | Operation::ListPush | Operation::DeletePush
        );
        let (task, config) = match self.version {
            Version::V1_0 if is_about_config => ("taskId", "id"),
            Version::V0_3 if operation == Operation::CreatePush => ("taskId", "id"),
            _ => ("id", "pushNotificationConfigId"),
        };
        let mut rope = Rope::default();
        rope.object(|object| {
            if self.version == Version::V1_0 {
                object.text("tenant", self.tenant.as_deref());
            }
            object.text(task, params.task_id.as_deref()).text(config, params.config_id.as_deref());
            write_fields(object, &params.fields);
        });
        (operation != Operation::ExtendedCard || self.version == Version::V1_0).then(|| rope.finish())
    }

    fn ask_by_path(
        &self,
        operation: Operation,
        params: &Params,
        query: &[(String, String)],
    ) -> Result<Question> {
        let (method, path) = operation.route(self.version).ok_or_else(|| self.lacks(operation))?;
        let segment = |text: &Option<String>| {
            utf8_percent_encode(text.as_deref().unwrap_or_default(), RESERVED).to_string()
        };
        let path = path.replace("{task}", &segment(&params.task_id));
        let path = path.replace("{config}", &segment(&params.config_id));
        let path = match &self.tenant {
            Some(tenant) if !tenant.is_empty() => format!("/{}{path}", utf8_percent_encode(tenant, RESERVED)),
            _ => path,
        };
        let mut pairs: Vec<(&str, String)> =
            query.iter().map(|(name, value)| (&**name, value.clone())).collect();
        let mut body = None;
        if method == "POST" {
            let mut rope = Rope::default();
            rope.object(|object| {
                if operation == Operation::CreatePush {
                    object.text("id", params.config_id.as_deref()).text("taskId", params.task_id.as_deref());
                } else if !operation.is_of_a_task() && self.version == Version::V1_0 {
                    object.text("tenant", self.tenant.as_deref());
                }
                write_fields(object, &params.fields);
            });
            body = Some(rope.finish());
        } else {
            pairs.extend(params.fields.iter().filter_map(|(name, value)| Some((*name, value.in_query()?))));
        }
        let url = url_with(&path, &self.url, pairs.iter().map(|(name, value)| (*name, &**value)));
        Ok(Question { method, url, body })
    }
}

impl Operation {
    const fn is_of_a_task(self) -> bool {
        matches!(self, Self::CancelTask | Self::Subscribe)
    }
}

impl Value {
    fn in_query(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Bool(yes) => Some(yes.to_string()),
            Self::Json(_) => None,
        }
    }
}

fn write_fields(object: &mut Members<'_>, fields: &[(&'static str, Value)]) {
    for (name, value) in fields {
        match value {
            Value::Text(text) => _ = object.text(name, Some(text)),
            Value::Number(number) => _ = object.key(name).write(&number.to_string()),
            Value::Bool(yes) => _ = object.key(name).write(if *yes { "true" } else { "false" }),
            Value::Json(json) => _ = object.json(name, Some(json)),
        }
    }
}

/// `base` with `path` at the end of its own, and with `pairs` at the end of its query.
pub(super) fn url_with<'a>(
    path: &str,
    base: &str,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let (base, own_query) = base.split_once('?').map_or((base, None), |(base, query)| (base, Some(query)));
    let mut url =
        if path.is_empty() { base.to_owned() } else { base.trim_end_matches('/').to_owned() + path };
    let encoded = pairs.map(|(name, value)| {
        format!("{}={}", utf8_percent_encode(name, RESERVED), utf8_percent_encode(value, RESERVED))
    });
    let query: Vec<String> =
        own_query.map(str::to_owned).into_iter().filter(|own| !own.is_empty()).chain(encoded).collect();
    if !query.is_empty() {
        url.push('?');
        url.push_str(&query.join("&"));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(version: Version, binding: Binding, operation: Operation, params: &Params) -> (String, String) {
        let tenant = (version == Version::V1_0).then(|| "a b".to_owned());
        let endpoint = Endpoint { url: "http://h/x/?k=1".into(), version, binding, tenant };
        let query = [("key".to_owned(), "s&t".to_owned())];
        let question = endpoint.ask(operation, params, &Id::Number(7), &query).expect("there is one");
        let body = question.body.map_or_else(String::new, |body| {
            String::from_utf8(body.into_bytes().expect("small").to_vec()).expect("UTF-8")
        });
        (format!("{} {}", question.method, question.url), body)
    }

    #[test]
    fn a_task_is_asked_for_by_either_generation_and_binding() {
        let params = Params::of_task("t/1").with("historyLength", Some(Value::Number(2)));
        let ask = |version, binding| asked(version, binding, Operation::GetTask, &params);
        let rpc = |method: &str, params: &str| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
            ("POST http://h/x/?k=1&key=s%26t".to_owned(), body)
        };
        assert_eq!(
            ask(Version::V1_0, Binding::JsonRpc),
            rpc("GetTask", r#"{"tenant":"a b","id":"t/1","historyLength":2}"#)
        );
        assert_eq!(
            ask(Version::V0_3, Binding::JsonRpc),
            rpc("tasks/get", r#"{"id":"t/1","historyLength":2}"#)
        );
        let by_path =
            |path: &str| (format!("GET http://h/x{path}?k=1&key=s%26t&historyLength=2"), String::new());
        assert_eq!(ask(Version::V1_0, Binding::HttpJson), by_path("/a%20b/tasks/t%2F1"));
        assert_eq!(ask(Version::V0_3, Binding::HttpJson), by_path("/v1/tasks/t%2F1"));
    }

    #[test]
    fn push_configurations_are_named_as_each_generation_does() {
        let params = Params { config_id: Some("c".into()), ..Params::of_task("t") };
        let body = |version, operation| asked(version, Binding::JsonRpc, operation, &params).1;
        assert!(body(Version::V1_0, Operation::GetPush).contains(r#""taskId":"t","id":"c"}"#));
        assert!(
            body(Version::V0_3, Operation::DeletePush)
                .contains(r#"{"id":"t","pushNotificationConfigId":"c"}"#)
        );
        let by_path = asked(Version::V1_0, Binding::HttpJson, Operation::DeletePush, &params);
        assert_eq!(by_path.0, "DELETE http://h/x/a%20b/tasks/t/pushNotificationConfigs/c?k=1&key=s%26t");
    }

    #[test]
    fn an_id_that_names_nothing_is_refused() {
        for id in ["", ".", ".."] {
            for binding in [Binding::JsonRpc, Binding::HttpJson] {
                let endpoint =
                    Endpoint { url: "http://h".into(), version: Version::V1_0, binding, tenant: None };
                let asked = endpoint.ask(Operation::GetTask, &Params::of_task(id), &Id::Number(1), &[]);
                assert_eq!(*asked.err().expect("no id").kind(), ErrorKind::InvalidRequest);
            }
        }
    }

    #[test]
    fn what_a_generation_has_not_is_refused() {
        for binding in [Binding::JsonRpc, Binding::HttpJson] {
            let endpoint = Endpoint { url: "http://h".into(), version: Version::V0_3, binding, tenant: None };
            let asked = endpoint.ask(Operation::ListTasks, &Params::default(), &Id::Number(1), &[]);
            assert_eq!(*asked.err().expect("no such operation").kind(), ErrorKind::Unsupported);
        }
    }
}
