//! The agent behind `/a2a`: A2A 0.3 over JSON-RPC 2.0, which sends text back, at once or as a stream of artifacts.
//!
//! A reply is a rope whose text parts are slices of the request: a text of 256 MiB is scanned
//! once, and neither decoded, copied nor escaped again.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::source::Rope;

/// The names of its methods in A2A 0.3 and in 1.0.
const SEND: [&str; 2] = ["message/send", "SendMessage"];
const STREAM: [&str; 2] = ["message/stream", "SendStreamingMessage"];

/// The longest text that `replyBytes` may ask for (64 GiB): what a source gives, too.
const MAX_REPLY_TEXT: u64 = super::MAX_REPLY_LENGTH;

/// Sent over and over when the caller asks for a text of a certain length: no escapes and nothing
/// beyond ASCII, so it may be cut anywhere and characters are bytes.
static REPLY_TEXT: LazyLock<Bytes> =
    LazyLock::new(|| "The agent answers at the length that was asked for. ".repeat(20_000).into());

/// What the agent says to a request.
pub enum Answer {
    /// JSON.
    Reply(Rope),
    /// Server-sent events.
    Events(Rope),
}

/// Answer the JSON-RPC request in `body`; what is wrong with it is part of the answer.
pub fn answer(body: &Bytes) -> Answer {
    match serde_json::from_slice::<Call<SendParams>>(body) {
        Ok(call) => answer_call(body, &call),
        // Read again to say why; a good request is read only once.
        Err(_) => Answer::Reply(refuse(body)),
    }
}

fn answer_call(body: &Bytes, call: &Call<SendParams>) -> Answer {
    let message = &call.params.message;
    match call.fault().or_else(|| message.fault()) {
        Some(fault) => Answer::Reply(failure(call.id, fault)),
        None if STREAM.contains(&&*call.method) => Answer::Events(events(body, call.id, message)),
        None => Answer::Reply(success(body, call.id, message)),
    }
}

/// The agent's card, for those who know it as `host`.
pub fn card(host: &str) -> Rope {
    let card = serde_json::json!({
        "name": "loopback", "description": "Sends text back.", "version": env!("CARGO_PKG_VERSION"),
        "protocolVersion": "0.3.0", "preferredTransport": "JSONRPC", "url": format!("http://{host}/a2a"),
        "capabilities": {"streaming": true}, "skills": [],
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
    });
    Rope::default().then(card.to_string())
}

#[derive(Deserialize)]
struct Call<'a, P> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    params: P,
}

#[derive(Deserialize)]
struct SendParams<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    parts: Vec<Part<'a>>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    reply_bytes: Option<u64>,
}

#[derive(Clone, Copy)]
enum Fault {
    NotJson,
    NotARequest,
    UnknownMethod,
    BadParams,
}

impl Fault {
    /// The code that JSON-RPC 2.0 gives it.
    fn code(self) -> i32 {
        match self {
            Fault::NotJson => -32_700,
            Fault::NotARequest => -32_600,
            Fault::UnknownMethod => -32_601,
            Fault::BadParams => -32_602,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Fault::NotJson => "the body is not JSON: send one JSON-RPC 2.0 request as UTF-8",
            Fault::NotARequest => {
                "not a JSON-RPC 2.0 request: send an object with jsonrpc 2.0, an id that is a \
                 string or a number, and a method"
            }
            Fault::UnknownMethod => "unknown method: use message/send or message/stream",
            Fault::BadParams => {
                "invalid params: send params.message.parts, an array of parts whose text is a \
                 string; metadata.replyBytes is a number up to 68719476736"
            }
        }
    }
}

impl<P> Call<'_, P> {
    fn fault(&self) -> Option<Fault> {
        if self.jsonrpc != "2.0" || !self.id.is_none_or(is_id) {
            Some(Fault::NotARequest)
        } else if [SEND, STREAM].concat().contains(&&*self.method) {
            None
        } else {
            Some(Fault::UnknownMethod)
        }
    }
}

impl Message<'_> {
    fn fault(&self) -> Option<Fault> {
        let texts_are_strings = self.texts().all(|text| text.get().starts_with('"'));
        let length_is_allowed = self.reply_bytes().is_none_or(|length| length <= MAX_REPLY_TEXT);
        (!texts_are_strings || !length_is_allowed).then_some(Fault::BadParams)
    }

    fn texts(&self) -> impl Iterator<Item = &RawValue> {
        self.parts.iter().filter_map(|part| part.text)
    }

    fn reply_bytes(&self) -> Option<u64> {
        self.metadata.as_ref()?.reply_bytes
    }
}

/// JSON-RPC allows strings and numbers.
fn is_id(id: &RawValue) -> bool {
    id.get().starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// Say what is wrong with a body that is no call of the agent's method.
fn refuse(body: &[u8]) -> Rope {
    // RawValue, unlike IgnoredAny, also checks that the text is UTF-8.
    if serde_json::from_slice::<&RawValue>(body).is_err() {
        return failure(None, Fault::NotJson);
    }
    match serde_json::from_slice::<Call<Option<IgnoredAny>>>(body) {
        Ok(call) => failure(call.id, call.fault().unwrap_or(Fault::BadParams)),
        Err(_) => failure(None, Fault::NotARequest),
    }
}

fn success(body: &Bytes, id: Option<&RawValue>, message: &Message) -> Rope {
    let id = id.map_or("null", RawValue::get);
    let head = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"kind":"message","messageId":"reply","role":"agent","parts":["#
    );
    let head = Rope::default().then(head);
    let parts = match message.reply_bytes() {
        Some(length) => append_made_part(head, length),
        None => append_same_parts(head, body, message),
    };
    parts.then("]}}")
}

/// A task whose one artifact comes in a chunk for each text.
fn events(body: &Bytes, id: Option<&RawValue>, message: &Message) -> Rope {
    let id = id.map_or("null", RawValue::get);
    let head =
        format!(r#"data: {{"jsonrpc":"2.0","id":{id},"result":{{"taskId":"reply","contextId":"reply","#);
    let chunk = |rope: Rope, append: bool| {
        rope.then(head.clone()).then(format!(
            r#""kind":"artifact-update","append":{append},"artifact":{{"artifactId":"reply","parts":["#
        ))
    };
    let end = "]}}}\n\n";
    let rope = match message.reply_bytes() {
        Some(length) => append_made_part(chunk(Rope::default(), false), length).then(end),
        None => message.texts().enumerate().fold(Rope::default(), |rope, (index, text)| {
            append_text(chunk(rope, index > 0), body, text).then(end)
        }),
    };
    let completed = r#""kind":"status-update","final":true,"status":{"state":"completed"}}}"#;
    rope.then(head.clone()).then(completed).then("\n\n")
}

fn append_made_part(rope: Rope, length: u64) -> Rope {
    rope.then(r#"{"kind":"text","text":""#).repeat(REPLY_TEXT.clone(), length).then(r#""}"#)
}

fn append_same_parts(rope: Rope, body: &Bytes, message: &Message) -> Rope {
    message.texts().enumerate().fold(rope, |rope, (index, text)| {
        append_text(rope.then(if index == 0 { "" } else { "," }), body, text)
    })
}

fn append_text(rope: Rope, body: &Bytes, text: &RawValue) -> Rope {
    rope.then(r#"{"kind":"text","text":"#).then(body.slice_ref(text.get().as_bytes())).then("}")
}

fn failure(id: Option<&RawValue>, fault: Fault) -> Rope {
    let id = id.filter(|id| is_id(id)).map_or("null", RawValue::get);
    let (code, message) = (fault.code(), fault.message());
    Rope::default()
        .then(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reply_to(body: &Bytes) -> Rope {
        match answer(body) {
            Answer::Reply(reply) => reply,
            Answer::Events(_) => panic!("no stream was asked for"),
        }
    }

    fn answered(body: &str) -> Value {
        let bytes: Vec<u8> = reply_to(&Bytes::from(body.to_owned())).flat_map(Vec::from).collect();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_stream_has_a_chunk_for_each_text_and_says_when_it_is_over() {
        let parts = json!([{"text": "a\n"}, {"data": 1}, {"text": "b"}]);
        let body = call(&json!(7), &json!({"parts": parts})).replace("message/send", "message/stream");
        let Answer::Events(events) = answer(&Bytes::from(body)) else { panic!("a stream") };
        let text = String::from_utf8(events.flat_map(Vec::from).collect()).unwrap();
        let events: Vec<Value> = text
            .split_terminator("\n\n")
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        let texts: Vec<_> =
            events[..2].iter().map(|event| &event["result"]["artifact"]["parts"][0]["text"]).collect();
        assert_eq!(texts, ["a\n", "b"]);
        assert_eq!((&events[0]["id"], &events[0]["result"]["append"]), (&json!(7), &json!(false)));
        assert_eq!(events[1]["result"]["append"], json!(true));
        assert_eq!((events.len(), &events[2]["result"]["status"]["state"]), (3, &json!("completed")));
    }

    fn call(id: &Value, message: &Value) -> String {
        json!({"jsonrpc": "2.0", "id": id, "method": "message/send", "params": {"message": message}})
            .to_string()
    }

    fn error_of(body: &str) -> (Value, i64) {
        let reply = answered(body);
        assert!(!reply["error"]["message"].as_str().unwrap().is_empty());
        (reply["id"].clone(), reply["error"]["code"].as_i64().unwrap())
    }

    #[test]
    fn text_parts_come_back_in_order_and_other_parts_are_left_out() {
        let parts = json!([{"kind": "text", "text": "a \"quoted\" 東京 \n"}, {"data": [1, 2]}, {"text": ""}]);
        assert_eq!(
            answered(&call(&json!(7), &json!({"role": "user", "parts": parts}))),
            json!({"jsonrpc": "2.0", "id": 7, "result": {
                "kind": "message", "messageId": "reply", "role": "agent", "parts": [
                    {"kind": "text", "text": "a \"quoted\" 東京 \n"}, {"kind": "text", "text": ""}]}})
        );
    }

    #[test]
    fn the_name_of_the_method_in_a2a_1_0_and_a_string_id_are_accepted() {
        let body = call(&json!("call-é"), &json!({"parts": []})).replace("message/send", "SendMessage");
        let reply = answered(&body);
        assert_eq!((&reply["id"], &reply["result"]["parts"]), (&json!("call-é"), &json!([])));
    }

    #[test]
    fn escapes_in_the_method_and_in_the_text_do_not_matter() {
        let body = r#" {"method":"message\/send","params":{"message":{"parts":[{"text":"\u00e9\ud83d\ude80"}]}},"jsonrpc":"2\u002e0","id":-1.5} "#;
        assert_eq!(answered(body)["result"]["parts"][0]["text"], "é🚀");
    }

    #[test]
    fn a_long_text_is_a_slice_of_the_request() {
        let text = "x".repeat(1 << 20);
        let body = Bytes::from(call(&json!(1), &json!({"parts": [{"text": text}]})));
        let range = body.as_ptr_range();
        assert!(reply_to(&body).any(|chunk| chunk.len() > 1 << 20 && range.contains(&chunk.as_ptr())));
    }

    #[test]
    fn reply_bytes_asks_for_a_text_of_that_length() {
        for length in [0, 1, 2_000_000] {
            let message = json!({"parts": [{"text": "hello"}], "metadata": {"replyBytes": length}});
            let reply = answered(&call(&json!(1), &message));
            let parts = reply["result"]["parts"].as_array().unwrap();
            assert_eq!(parts.len(), 1);
            assert_eq!(parts[0]["text"].as_str().unwrap().chars().count(), length);
        }
    }

    #[test]
    fn what_is_not_json_is_a_parse_error_without_an_id() {
        for body in ["", "{", "[1,", r#"{"jsonrpc":"2.0","id":1,"method":"message/send"} x"#] {
            assert_eq!(error_of(body), (Value::Null, -32_700), "{body}");
        }
        let reply = reply_to(&Bytes::from_static(b"\"\xff\"")).next().unwrap();
        assert!(reply.windows(6).any(|window| window == b"-32700"));
    }

    #[test]
    fn json_that_is_no_request_is_an_invalid_request() {
        for body in [
            "[]",
            "7",
            "{}",
            r#"{"jsonrpc":"1.0","method":"message/send","params":{"message":{"parts":[]}}}"#,
            r#"{"jsonrpc":"2.0","method":4}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"message/send","params":{"message":{"parts":[]}}}"#,
        ] {
            assert_eq!(error_of(body), (Value::Null, -32_600), "{body}");
        }
    }

    #[test]
    fn another_method_is_refused_whatever_its_params() {
        for params in ["{}", "[1]", r#"{"message":{"parts":[]}}"#] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tasks/get","params":{params}}}"#);
            assert_eq!(error_of(&body), (json!("a"), -32_601), "{params}");
        }
        assert_eq!(error_of(r#"{"jsonrpc":"2.0","id":3,"method":"GetTask"}"#), (json!(3), -32_601));
    }

    #[test]
    fn bad_params_are_named_with_the_id_of_the_call() {
        for message in [
            json!(null),
            json!({}),
            json!({"parts": {}}),
            json!({"parts": [{"text": 5}]}),
            json!({"parts": [], "metadata": {"replyBytes": -1}}),
            json!({"parts": [], "metadata": {"replyBytes": (64_u64 << 30) + 1}}),
        ] {
            assert_eq!(error_of(&call(&json!(9), &message)), (json!(9), -32_602), "{message}");
        }
        let body = r#"{"jsonrpc":"2.0","id":9,"method":"SendMessage"}"#;
        assert_eq!(error_of(body), (json!(9), -32_602));
    }
}
