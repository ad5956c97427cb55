//! The generations of A2A, the ways they go over HTTP, and the words in which they differ.

use mcpgateway_engine::jsonrpc::Codes;
use mcpgateway_engine::{Error, Result};

/// A generation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 0.3, and what says no version.
    V0_3,
    /// 1.0.
    V1_0,
}

impl Version {
    /// What the header `A2A-Version` says of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3 => "0.3",
            Self::V1_0 => "1.0",
        }
    }

    /// The generation that a version such as `1.0.2` belongs to; none if it is not spoken here.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split('.');
        match (numbers.next()?, numbers.next()) {
            ("0", Some("3")) => Some(Self::V0_3),
            ("1", _) => Some(Self::V1_0),
            _ => None,
        }
    }

    /// The generation of that name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest), with the names there are.
    pub fn from_name(name: &str) -> Result<Self> {
        let unknown =
            || Error::invalid_request(format!("version={name:?}: pass \"auto\", \"1.0\" or \"0.3\""));
        Self::of(name).ok_or_else(unknown)
    }
}

/// How operations go over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// All to one URL, in envelopes of JSON-RPC.
    JsonRpc,
    /// Each to a URL of its own.
    HttpJson,
}

impl Binding {
    /// Its name in agent cards.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonRpc => "JSONRPC",
            Self::HttpJson => "HTTP+JSON",
        }
    }

    /// The binding that an agent card calls so; none if it is not spoken here.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        [Self::JsonRpc, Self::HttpJson]
            .into_iter()
            .find(|binding| binding.as_str().eq_ignore_ascii_case(text))
    }

    /// The binding of that name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest), with the names there are.
    pub fn from_name(name: &str) -> Result<Self> {
        let unknown = || {
            Error::invalid_request(format!("binding={name:?}: pass \"auto\", \"JSONRPC\" or \"HTTP+JSON\""))
        };
        Self::of(name).ok_or_else(unknown)
    }
}

/// The shapes that messages, tasks and parts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// That of 1.0, over either binding.
    Modern,
    /// That of 0.3 over JSON-RPC: objects say their `kind`.
    Kinds,
    /// That of 0.3 over HTTP: like 1.0, but with other parts, in a `content`.
    Content,
}

impl Shape {
    /// The shape that this generation has over this binding.
    #[must_use]
    pub const fn of(version: Version, binding: Binding) -> Self {
        match (version, binding) {
            (Version::V1_0, _) => Self::Modern,
            (Version::V0_3, Binding::JsonRpc) => Self::Kinds,
            (Version::V0_3, Binding::HttpJson) => Self::Content,
        }
    }

    /// Under which name a message has its parts.
    pub(super) const fn parts(self) -> &'static str {
        match self {
            Self::Modern | Self::Kinds => "parts",
            Self::Content => "content",
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The caller.
    #[default]
    User,
    /// The agent.
    Agent,
}

impl Role {
    /// As a message of `shape` has it.
    pub(super) const fn written(self, shape: Shape) -> &'static str {
        match (self, shape) {
            (Self::User, Shape::Kinds) => "user",
            (Self::Agent, Shape::Kinds) => "agent",
            (Self::User, _) => "ROLE_USER",
            (Self::Agent, _) => "ROLE_AGENT",
        }
    }

    /// What a message of any shape has; none if it is neither.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "user" | "ROLE_USER" => Some(Self::User),
            "agent" | "ROLE_AGENT" => Some(Self::Agent),
            _ => None,
        }
    }
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It is known to the agent.
    Submitted,
    /// The agent works on it.
    Working,
    /// It is done.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Canceled,
    /// It goes on when the caller has answered.
    InputRequired,
    /// The agent does not do it.
    Rejected,
    /// It goes on when the caller has shown who they are.
    AuthRequired,
}

/// Each state, its name in 0.3, and in 1.0.
const STATES: [(TaskState, &str, &str); 8] = [
    (TaskState::Submitted, "submitted", "TASK_STATE_SUBMITTED"),
    (TaskState::Working, "working", "TASK_STATE_WORKING"),
    (TaskState::Completed, "completed", "TASK_STATE_COMPLETED"),
    (TaskState::Failed, "failed", "TASK_STATE_FAILED"),
    (TaskState::Canceled, "canceled", "TASK_STATE_CANCELED"),
    (TaskState::InputRequired, "input-required", "TASK_STATE_INPUT_REQUIRED"),
    (TaskState::Rejected, "rejected", "TASK_STATE_REJECTED"),
    (TaskState::AuthRequired, "auth-required", "TASK_STATE_AUTH_REQUIRED"),
];

/// As 0.3 spells it over HTTP.
const CANCELLED: &str = "TASK_STATE_CANCELLED";

impl TaskState {
    /// The state that a status of any shape has; none if it is unknown.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        if text == CANCELLED {
            return Some(Self::Canceled);
        }
        STATES.iter().find(|(_, old, new)| [*old, *new].contains(&text)).map(|(state, ..)| *state)
    }

    /// The state of that name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest), with the names there are.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::of(name).ok_or_else(|| {
            let names: Vec<_> = STATES.iter().map(|(_, name, _)| *name).collect();
            Error::invalid_request(format!("there is no state {name:?}: pass one of {}", names.join(", ")))
        })
    }

    /// Its name in 1.0, such as `TASK_STATE_COMPLETED`.
    #[must_use]
    pub fn modern_name(self) -> &'static str {
        self.row().2
    }

    /// Its name, such as `completed` or `input-required`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// As a status of `shape` has it.
    pub(super) fn written(self, shape: Shape) -> &'static str {
        match shape {
            Shape::Kinds => self.row().1,
            Shape::Content if self == Self::Canceled => CANCELLED,
            Shape::Content | Shape::Modern => self.row().2,
        }
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        STATES.iter().find(|(state, ..)| *state == self).expect("the table has all")
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }

    /// Whether a stream ends with it: nothing comes after it, or not without the caller.
    #[must_use]
    pub const fn ends_stream(self) -> bool {
        self.is_terminal() || matches!(self, Self::InputRequired | Self::AuthRequired)
    }
}

/// The error codes of A2A.
pub const ERROR_CODES: &Codes = &[
    (-32001, "TaskNotFound"),
    (-32002, "TaskNotCancelable"),
    (-32003, "PushNotificationNotSupported"),
    (-32004, "UnsupportedOperation"),
    (-32005, "ContentTypeNotSupported"),
    (-32006, "InvalidAgentResponse"),
    (-32007, "ExtendedCardNotConfigured"),
    (-32008, "ExtensionSupportRequired"),
    (-32009, "VersionNotSupported"),
    (-32601, "MethodNotFound"),
    (-32602, "InvalidParams"),
];

/// The code of an error that is known over HTTP by a reason such as `TASK_NOT_FOUND`, a type such as
/// `TaskNotFoundError`, or a URL that ends with `task-not-found`.
pub(super) fn code_of_reason(reason: &str) -> Option<i64> {
    let last = reason.rsplit('/').next().unwrap_or_default();
    let letters: String = last.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let letters = letters.strip_suffix("error").unwrap_or(&letters);
    // What the reasons call by another name.
    let letters =
        if letters == "extendedagentcardnotconfigured" { "extendedcardnotconfigured" } else { letters };
    match letters {
        "invalidrequest" => Some(-32600),
        "internal" => Some(-32603),
        _ => ERROR_CODES.iter().find(|(_, name)| name.eq_ignore_ascii_case(letters)).map(|(code, _)| *code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_roles_are_known_by_all_their_names() {
        for (state, old, new) in STATES {
            assert_eq!([TaskState::of(old), TaskState::of(new)], [Some(state), Some(state)]);
            assert_eq!([state.written(Shape::Kinds), state.written(Shape::Modern)], [old, new]);
        }
        assert_eq!(TaskState::of(CANCELLED), Some(TaskState::Canceled));
        assert_eq!(TaskState::Canceled.written(Shape::Content), CANCELLED);
        assert_eq!([TaskState::of("unknown"), TaskState::of("TASK_STATE_UNSPECIFIED")], [None, None]);
        assert_eq!(["user", "ROLE_AGENT", "x"].map(Role::of), [Some(Role::User), Some(Role::Agent), None]);
    }

    #[test]
    fn versions_are_known_by_their_first_numbers() {
        let versions = ["1.0", "1", "1.2.3", "0.3", "0.3.0", "0.2.6", "2.0", ""].map(Version::of);
        let (new, old) = (Some(Version::V1_0), Some(Version::V0_3));
        assert_eq!(versions, [new, new, new, old, old, None, None, None]);
    }

    #[test]
    fn errors_are_known_by_their_reasons() {
        for (reason, code) in [
            ("TASK_NOT_FOUND", -32001),
            ("TaskNotCancelableError", -32002),
            ("https://a2a-protocol.org/errors/push-notification-not-supported", -32003),
            ("EXTENDED_AGENT_CARD_NOT_CONFIGURED", -32007),
            ("VERSION_NOT_SUPPORTED", -32009),
            ("INVALID_PARAMS", -32602),
            ("INVALID_REQUEST", -32600),
            ("INTERNAL_ERROR", -32603),
        ] {
            assert_eq!(code_of_reason(reason), Some(code), "{reason}");
        }
        assert_eq!([code_of_reason("OTHER"), code_of_reason("")], [None, None]);
    }
}
