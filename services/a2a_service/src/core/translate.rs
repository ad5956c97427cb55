//! Messages, tasks and updates of one shape in another: a rope of new names around the bytes of the old text.
//!
//! What a shape has no name for is kept as it is: readers of JSON pass over members that they do not know.

use mcpgateway_engine::Payload;
use mcpgateway_engine::json::{Kind, Member, Node, decode_base64};
use mcpgateway_engine::payload::Alphabet;

use super::message::file_key;
use super::protocol::{Role, Shape, TaskState};
use super::rope::{Members, Rope};
use super::view::{Item, ItemKind, NOT_AN_OBJECT, PartKind, PartView, text_at};

/// `item` as `shape` has it where a reply or an event says what it is.
#[must_use]
pub fn translate(item: &Item, shape: Shape) -> Payload {
    let mut rope = Rope::default();
    if shape == Shape::Kinds {
        write_item(&mut rope, item, shape);
    } else {
        rope.object(|wrapper| write_item(wrapper.key(item.kind.wrapper()), item, shape));
    }
    rope.finish()
}

/// `item` as `shape` has it where it is known what it is, such as a task that was asked for.
#[must_use]
pub fn translate_bare(item: &Item, shape: Shape) -> Payload {
    let mut rope = Rope::default();
    write_item(&mut rope, item, shape);
    rope.finish()
}

fn write_item(rope: &mut Rope, item: &Item, shape: Shape) {
    let (node, from) = (&item.node, item.shape);
    match item.kind {
        ItemKind::Message => write_message_from(rope, node, from, shape, &[]),
        ItemKind::Task => write_task(rope, node, from, shape),
        ItemKind::StatusUpdate => write_status_update(rope, item, shape),
        ItemKind::ArtifactUpdate => rope_of(
            rope,
            node,
            |object, key, value| match key {
                "artifact" => write_artifact(object.key(key), value, from, shape),
                _ => _ = object.node(key, Some(value)),
            },
            |object| say_kind(object, "artifact-update", shape),
        ),
    }
}

/// The members of `node` by `write`, without its kind, behind what `begin` writes.
fn rope_of(
    rope: &mut Rope,
    node: &Node,
    write: impl Fn(&mut Members<'_>, &str, &Node),
    begin: impl FnOnce(&mut Members<'_>),
) {
    rope.object(|object| {
        begin(object);
        for member in node.members() {
            let key = Member::key(&member);
            if key != "kind" {
                write(object, &key, &member.value);
            }
        }
    });
}

fn say_kind(object: &mut Members<'_>, kind: &str, shape: Shape) {
    if shape == Shape::Kinds {
        object.text("kind", Some(kind));
    }
}

/// The shape that a message is written in by itself.
fn shape_of_message(node: &Node) -> Shape {
    let is = |key| node.get(key).is_some();
    if is("content") {
        Shape::Content
    } else if is("kind") || text_at(node, "role").is_some_and(|role| !role.starts_with("ROLE_")) {
        Shape::Kinds
    } else {
        Shape::Modern
    }
}

/// A message of any shape as `shape` has it, with those of `missing` that it has not.
pub(super) fn write_message(rope: &mut Rope, node: &Node, shape: Shape, missing: &[(&str, Option<String>)]) {
    write_message_from(rope, node, shape_of_message(node), shape, missing);
}

fn write_message_from(
    rope: &mut Rope,
    node: &Node,
    from: Shape,
    shape: Shape,
    missing: &[(&str, Option<String>)],
) {
    let write = |object: &mut Members<'_>, key: &str, value: &Node| match key {
        "role" => match value.text().and_then(|name| Role::of(&name)) {
            Some(known) => _ = object.text(key, Some(known.written(shape))),
            None => _ = object.node(key, Some(value)),
        },
        "parts" | "content" if value.kind() == Kind::Array => {
            object
                .key(shape.parts())
                .array(value.elements(), |rope, part| write_part(rope, part, from, shape));
        }
        _ => _ = object.node(key, Some(value)),
    };
    rope_of(rope, node, write, |object| {
        say_kind(object, "message", shape);
        for (key, text) in missing.iter().filter(|(key, _)| node.get(key).is_none()) {
            object.text(key, text.as_deref());
        }
        if node.get("role").is_none() {
            object.text("role", Some(Role::User.written(shape)));
        }
    });
}

fn write_task(rope: &mut Rope, node: &Node, from: Shape, shape: Shape) {
    let write = |object: &mut Members<'_>, key: &str, value: &Node| match (key, value.kind()) {
        ("status", Kind::Object) => write_status(object.key(key), value, from, shape),
        ("artifacts", Kind::Array) => {
            let write = |rope: &mut Rope, artifact: Node| write_artifact(rope, &artifact, from, shape);
            object.key(key).array(value.elements(), write);
        }
        ("history", Kind::Array) => {
            let write = |rope: &mut Rope, message: Node| write_message_from(rope, &message, from, shape, &[]);
            object.key(key).array(value.elements(), write);
        }
        _ => _ = object.node(key, Some(value)),
    };
    rope_of(rope, node, write, |object| say_kind(object, "task", shape));
}

fn write_status(rope: &mut Rope, node: &Node, from: Shape, shape: Shape) {
    let write = |object: &mut Members<'_>, key: &str, value: &Node| match (key, value.kind()) {
        ("state", Kind::String) => {
            let text = value.text().unwrap_or_default();
            match TaskState::of(&text) {
                Some(state) => _ = object.text(key, Some(state.written(shape))),
                None if shape == Shape::Kinds => _ = object.text(key, Some("unknown")),
                None => _ = object.text(key, Some("TASK_STATE_UNSPECIFIED")),
            }
        }
        ("message", Kind::Object) => write_message_from(object.key(key), value, from, shape, &[]),
        _ => _ = object.node(key, Some(value)),
    };
    rope_of(rope, node, write, |_| {});
}

fn write_status_update(rope: &mut Rope, item: &Item, shape: Shape) {
    let ends = item.state().is_some_and(TaskState::ends_stream);
    let write = |object: &mut Members<'_>, key: &str, value: &Node| match key {
        "status" => write_status(object.key(key), value, item.shape, shape),
        "final" if shape == Shape::Modern => {}
        _ => _ = object.node(key, Some(value)),
    };
    rope_of(rope, &item.node, write, |object| {
        say_kind(object, "status-update", shape);
        if shape != Shape::Modern && item.node.get("final").is_none() {
            object.key("final").write(if ends { "true" } else { "false" });
        }
    });
}

fn write_artifact(rope: &mut Rope, node: &Node, from: Shape, shape: Shape) {
    let write = |object: &mut Members<'_>, key: &str, value: &Node| match (key, value.kind()) {
        ("parts", Kind::Array) => {
            object.key(key).array(value.elements(), |rope, part| write_part(rope, part, from, shape));
        }
        _ => _ = object.node(key, Some(value)),
    };
    rope_of(rope, node, write, |_| {});
}

fn write_part(rope: &mut Rope, node: Node, from: Shape, shape: Shape) {
    let part = PartView::new(node, from);
    let (Some(kind), Some(content)) = (part.kind(), part.content()) else {
        rope.node(&part.node);
        return;
    };
    let metadata = part.node.get("metadata");
    let (filename, media_type) = (part.filename(), part.media_type());
    let is_encoded_otherwise = kind == PartKind::Raw && (from == Shape::Content) != (shape == Shape::Content);
    let written = is_encoded_otherwise.then(|| encoded_otherwise(content, shape)).flatten();
    let written = written.unwrap_or_else(|| content.raw().into());
    rope.object(|object| {
        let is_file = matches!(kind, PartKind::Raw | PartKind::Url);
        match shape {
            Shape::Modern => _ = object.json(kind.as_str(), Some(&written)),
            _ if is_file => {
                say_kind(object, "file", shape);
                object.key("file").object(|file| {
                    file.json(file_key(kind, shape), Some(&written));
                    file.text("name", filename.as_deref()).text("mimeType", media_type.as_deref());
                });
            }
            _ => {
                say_kind(object, kind.as_str(), shape);
                write_old_content(object, kind, content, shape);
            }
        }
        // In 0.3 only files have these, and its readers by Protobuf refuse what they do not know.
        if shape == Shape::Modern {
            object.text("filename", filename.as_deref()).text("mediaType", media_type.as_deref());
        }
        let is_marked = shape != Shape::Modern && kind == PartKind::Data && content.kind() != Kind::Object;
        write_metadata(object, metadata.as_ref(), is_marked);
    });
}

/// The base64 in `content` as `shape` has it: once more in the shape of contents, once less in the others; none if
/// it is no base64 or there is no memory.
fn encoded_otherwise(content: &Node, shape: Shape) -> Option<Payload> {
    let text = if shape == Shape::Content {
        Payload::base64(content.text_payload().ok()?, Alphabet::Standard).ok()?
    } else {
        let text = content.base64().ok()?;
        // Bytes that were encoded only once are encoded again.
        match decode_base64(&text.clone().into_bytes().ok()?).ok()? {
            Some(_) => text,
            None => Payload::base64(text, Alphabet::Standard).ok()?,
        }
    };
    Some(Payload::join([Payload::from("\""), text, Payload::from("\"")]))
}

/// Text or data as 0.3 has them: data are an object, inside of another over HTTP.
fn write_old_content(object: &mut Members<'_>, kind: PartKind, content: &Node, shape: Shape) {
    let rope = object.key(kind.as_str());
    let write = |rope: &mut Rope| {
        if kind == PartKind::Data && content.kind() != Kind::Object {
            rope.object(|wrapper| _ = wrapper.node("value", Some(content)));
        } else {
            rope.node(content);
        }
    };
    if kind == PartKind::Data && shape == Shape::Content {
        rope.object(|wrapper| write(wrapper.key("data")));
    } else {
        write(rope);
    }
}

/// The metadata of a part, with the mark of data that are no object if `is_marked`.
fn write_metadata(object: &mut Members<'_>, metadata: Option<&Node>, is_marked: bool) {
    let members = metadata.map_or_else(Vec::new, Node::members);
    let kept = || members.iter().filter(|member| member.key() != NOT_AN_OBJECT);
    let was_mark_alone = members.len() == 1 && kept().next().is_none();
    if !is_marked && (metadata.is_none() || was_mark_alone) {
        return;
    }
    object.key("metadata").object(|written| {
        for member in kept() {
            written.node(&member.key(), Some(&member.value));
        }
        if is_marked {
            written.key(NOT_AN_OBJECT).write("true");
        }
    });
}

#[cfg(test)]
mod tests {
    use mcpgateway_engine::json::{Document, Options};
    use serde_json::{Value, json};

    use super::*;

    fn item(value: &Value) -> Item {
        let document = Document::parse(value.to_string().into(), &Options::default()).expect("JSON");
        Item::of(&document.root(), None).expect("of A2A")
    }

    fn read(payload: Payload) -> Value {
        serde_json::from_slice(&payload.into_bytes().expect("small")).expect("JSON")
    }

    fn in_shape(value: &Value, from: Shape, shape: Shape) -> Value {
        read(translate(&Item { shape: from, ..item(value) }, shape))
    }

    /// A task in all three shapes.
    fn tasks() -> [(Shape, Value); 3] {
        let modern = json!({"task": {
            "id": "t", "contextId": "c", "metadata": {"m": 1},
            "status": {"state": "TASK_STATE_CANCELED", "timestamp": "now",
                "message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "x", "metadata": {"a": 1}}]}},
            "history": [{"messageId": "h", "role": "ROLE_USER", "parts": [{"data": {"data": {"k": [1, 2.50]}}}]}],
            "artifacts": [{"artifactId": "a", "name": "n", "parts": [
                {"raw": "QUI=", "filename": "f", "mediaType": "a/b"}, {"url": "http://u", "mediaType": "a/b"}]}],
        }});
        let kinds = json!({
            "kind": "task", "id": "t", "contextId": "c", "metadata": {"m": 1},
            "status": {"state": "canceled", "timestamp": "now",
                "message": {"kind": "message", "messageId": "m", "role": "agent",
                    "parts": [{"kind": "text", "text": "x", "metadata": {"a": 1}}]}},
            "history": [{"kind": "message", "messageId": "h", "role": "user",
                "parts": [{"kind": "data", "data": {"data": {"k": [1, 2.50]}}}]}],
            "artifacts": [{"artifactId": "a", "name": "n", "parts": [
                {"kind": "file", "file": {"bytes": "QUI=", "name": "f", "mimeType": "a/b"}},
                {"kind": "file", "file": {"uri": "http://u", "mimeType": "a/b"}}]}],
        });
        let content = json!({"task": {
            "id": "t", "contextId": "c", "metadata": {"m": 1},
            "status": {"state": "TASK_STATE_CANCELLED", "timestamp": "now",
                "message": {"messageId": "m", "role": "ROLE_AGENT", "content": [{"text": "x", "metadata": {"a": 1}}]}},
            "history": [{"messageId": "h", "role": "ROLE_USER",
                "content": [{"data": {"data": {"data": {"k": [1, 2.50]}}}}]}],
            "artifacts": [{"artifactId": "a", "name": "n", "parts": [
                {"file": {"fileWithBytes": "UVVJPQ==", "name": "f", "mimeType": "a/b"}},
                {"file": {"fileWithUri": "http://u", "mimeType": "a/b"}}]}],
        }});
        [(Shape::Modern, modern), (Shape::Kinds, kinds), (Shape::Content, content)]
    }

    #[test]
    fn a_task_is_the_same_in_every_shape() {
        for (from, value) in tasks() {
            for (shape, expected) in tasks() {
                assert_eq!(in_shape(&value, from, shape), expected, "{from:?} as {shape:?}");
            }
        }
    }

    #[test]
    fn updates_say_that_they_are_final_where_they_have_to() {
        let modern = json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}});
        let old = json!({"kind": "status-update", "taskId": "t", "contextId": "c", "final": false, "status": {"state": "working"}});
        assert_eq!(in_shape(&modern, Shape::Modern, Shape::Kinds), old);
        assert_eq!(in_shape(&old, Shape::Kinds, Shape::Modern), modern);
        let done = json!({"statusUpdate": {"taskId": "t", "status": {"state": "TASK_STATE_FAILED"}}});
        assert_eq!(in_shape(&done, Shape::Modern, Shape::Kinds)["final"], json!(true));
        let update = |kind: &str, part: Value| {
            json!({
                "taskId": "t", "append": true, "lastChunk": false, "artifact": {"artifactId": "a", "parts": [part]}, "x": kind,
            })
        };
        let modern = json!({"artifactUpdate": update("", json!({"text": "x"}))});
        let mut old = update("", json!({"kind": "text", "text": "x"}));
        old["kind"] = json!("artifact-update");
        assert_eq!(in_shape(&modern, Shape::Modern, Shape::Kinds), old);
        assert_eq!(in_shape(&old, Shape::Kinds, Shape::Modern), modern);
    }

    #[test]
    fn data_that_are_no_object_come_back_as_they_were() {
        let message =
            |part: Value| json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [part]}});
        for data in [json!([1, 2]), json!("x"), json!(null)] {
            for part in [json!({"data": data}), json!({"data": data, "metadata": {"own": 1}})] {
                let modern = message(part);
                let old = in_shape(&modern, Shape::Modern, Shape::Kinds);
                assert_eq!(old["parts"][0]["data"], json!({"value": data}));
                assert_eq!(old["parts"][0]["metadata"]["data_part_compat"], json!(true));
                assert_eq!(in_shape(&old, Shape::Kinds, Shape::Modern), modern);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_kept_and_large_values_stay_where_they_are() {
        let text = "x".repeat(1 << 16);
        let message = json!({"kind": "message", "messageId": "m", "role": "other", "new": {"kind": 1}, "parts": [
            {"kind": "video", "video": 1}, {"kind": "text", "text": text}, 7]});
        let item = item(&message);
        let translated = translate(&item, Shape::Modern);
        let held = item.node.document().text().as_ptr_range();
        let frames: Vec<_> = translated.clone().into_frames().collect();
        assert!(frames.iter().any(|frame| frame.len() > text.len() && held.contains(&frame.as_ptr())));
        assert_eq!(
            read(translated),
            json!({"message": {"messageId": "m", "role": "other", "new": {"kind": 1}, "parts": [
            {"kind": "video", "video": 1}, {"text": text}, 7]}})
        );
    }

    #[test]
    fn a_message_gets_what_it_lacks() {
        let message = json!({"parts": [{"text": "x"}], "contextId": "own"});
        let document = Document::parse(message.to_string().into(), &Options::default()).expect("JSON");
        let mut rope = Rope::default();
        let missing =
            [("messageId", Some("m".to_owned())), ("taskId", None), ("contextId", Some("other".to_owned()))];
        write_message(&mut rope, &document.root(), Shape::Kinds, &missing);
        assert_eq!(
            read(rope.finish()),
            json!({"kind": "message", "messageId": "m", "role": "user", "contextId": "own",
                "parts": [{"kind": "text", "text": "x"}]})
        );
    }
}
