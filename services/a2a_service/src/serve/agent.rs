//! The agent behind `/a2a`: JSON-RPC 2.0 with one method, which sends the text back.
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

/// The method's names in A2A 0.3 and in 1.0.
const METHODS: [&str; 2] = ["message/send", "SendMessage"];

/// The longest text that `replyBytes` may ask for (64 GiB): what a source gives, too.
const MAX_REPLY_TEXT: u64 = super::MAX_REPLY_LENGTH;

/// Sent over and over when the caller asks for a text of a certain length: no escapes and nothing
/// beyond ASCII, so it may be cut anywhere and characters are bytes.
static REPLY_TEXT: LazyLock<Bytes> =
    LazyLock::new(|| "The agent answers at the length that was asked for. ".repeat(20_000).into());

/// Answer the JSON-RPC request in `body`; what is wrong with it is part of the answer.
pub fn answer(body: &Bytes) -> Rope {
    match serde_json::from_slice::<Call<SendParams>>(body) {
        Ok(call) => answer_call(body, &call),
        // Read again to say why; a good request is read only once.
        Err(_) => refuse(body),
    }
}

fn answer_call(body: &Bytes, call: &Call<SendParams>) -> Rope {
    match call.fault().or_else(|| call.params.message.fault()) {
        Some(fault) => failure(call.id, fault),
        None => success(body, call.id, &call.params.message),
    }
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
            Fault::UnknownMethod => "unknown method: use message/send or SendMessage",
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
        } else if METHODS.contains(&&*self.method) {
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

fn append_made_part(rope: Rope, length: u64) -> Rope {
    rope.then(r#"{"kind":"text","text":""#).repeat(REPLY_TEXT.clone(), length).then(r#""}"#)
}

fn append_same_parts(rope: Rope, body: &Bytes, message: &Message) -> Rope {
    message.texts().enumerate().fold(rope, |rope, (index, text)| {
        rope.then(if index == 0 { "" } else { "," })
            .then(r#"{"kind":"text","text":"#)
            .then(body.slice_ref(text.get().as_bytes()))
            .then("}")
    })
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

    fn answered(body: &str) -> Value {
        let bytes: Vec<u8> = answer(&Bytes::from(body.to_owned())).flat_map(Vec::from).collect();
        serde_json::from_slice(&bytes).unwrap()
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
        assert!(answer(&body).any(|chunk| chunk.len() > 1 << 20 && range.contains(&chunk.as_ptr())));
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
        let reply = answer(&Bytes::from_static(b"\"\xff\"")).next().unwrap();
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
