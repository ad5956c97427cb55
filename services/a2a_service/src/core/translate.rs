//! Messages, tasks and updates of one shape in another: a rope of new names around the bytes of the old text.
//!
//! What a shape has no name for is kept as it is: readers of JSON pass over members that they do not know.

use mcpgateway_engine::Payload;
use mcpgateway_engine::json::{Kind, Member, Node};

use super::message::file_key;
use super::protocol::{Role, Shape, TaskState};
use super::rope::{Members, Rope};
use super::view::{Item, ItemKind, PartKind, PartView, text_at};

/// The mark by which the official SDK knows data that are no object, which 0.3 has no place for.
const NOT_AN_OBJECT: &str = "data_part_compat";

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
    let was_no_object = metadata.as_ref().and_then(|metadata| metadata.get(NOT_AN_OBJECT));
    let content = match was_no_object.and_then(|mark| mark.boolean()) {
        Some(true) if shape == Shape::Modern => content.get("value").unwrap_or_else(|| content.clone()),
        _ => content.clone(),
    };
    let (filename, media_type) = (part.filename(), part.media_type());
    rope.object(|object| {
        let is_file = matches!(kind, PartKind::Raw | PartKind::Url);
        match shape {
            Shape::Modern => _ = object.node(kind.as_str(), Some(&content)),
            _ if is_file => {
                say_kind(object, "file", shape);
                object.key("file").object(|file| {
                    file.node(file_key(kind, shape), Some(&content));
                    file.text("name", filename.as_deref()).text("mimeType", media_type.as_deref());
                });
            }
            _ => {
                say_kind(object, kind.as_str(), shape);
                write_old_content(object, kind, &content, shape);
            }
        }
        if shape == Shape::Modern || !is_file {
            object.text("filename", filename.as_deref()).text("mediaType", media_type.as_deref());
        }
        let lacks_an_object = kind == PartKind::Data && content.kind() != Kind::Object;
        write_metadata(object, metadata.as_ref(), lacks_an_object && shape != Shape::Modern);
    });
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

/// The metadata of a part, with or without the mark of data that are no object.
fn write_metadata(object: &mut Members<'_>, metadata: Option<&Node>, marked: bool) {
    let has_mark = metadata.is_some_and(|metadata| metadata.get(NOT_AN_OBJECT).is_some());
    let Some(metadata) = metadata.filter(|_| has_mark || marked) else {
        if marked {
            object.key("metadata").object(|mark| _ = mark.key(NOT_AN_OBJECT).write("true"));
        } else {
            object.node("metadata", metadata);
        }
        return;
    };
    object.key("metadata").object(|kept| {
        for member in metadata.members().iter().filter(|member| member.key() != NOT_AN_OBJECT) {
            kept.node(&member.key(), Some(&member.value));
        }
        if marked {
            kept.key(NOT_AN_OBJECT).write("true");
        }
    });
}
