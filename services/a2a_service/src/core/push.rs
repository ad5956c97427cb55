//! Where an agent pushes updates to, and how a message is to be answered: small objects that 0.3 has otherwise.

use mcpgateway_engine::json::{Document, Kind, Node, Options};
use mcpgateway_engine::{Error, Payload, Result};

use super::message::read_json;
use super::operation::{Endpoint, Params, Value};
use super::protocol::{Binding, Shape, Version};
use super::rope::{Members, Rope};
use super::view::text_at;

/// What asks for the push configuration `config` of 1.0.
pub(super) fn config_params(task_id: &str, config: Payload, endpoint: &Endpoint) -> Result<Params> {
    let config = root_object("the push configuration", config)?;
    let params = Params::of_task(task_id);
    if endpoint.version == Version::V1_0 {
        let mut params = Params {
            config_id: text_at(&config, "id").filter(|id| !id.is_empty()).map(std::borrow::Cow::into_owned),
            ..params
        };
        for (name, known) in [("url", "url"), ("token", "token"), ("authentication", "authentication")] {
            let field = config.get(known).map(|node| Value::Json(node.raw().into()));
            params = params.with(name, field);
        }
        return Ok(params);
    }
    let mut old = Rope::default();
    write_old_config(&mut old, &config);
    let old = old.finish();
    if endpoint.binding == Binding::JsonRpc {
        return Ok(params.with("pushNotificationConfig", Some(Value::Json(old))));
    }
    let config_id = text_at(&config, "id").unwrap_or_default();
    let mut named = Rope::default();
    named.object(|named| {
        named.text("name", Some(&format!("tasks/{task_id}/pushNotificationConfigs/{config_id}")));
        named.json("pushNotificationConfig", Some(&old));
    });
    Ok(params
        .with("parent", Some(Value::Text(format!("tasks/{task_id}"))))
        .with("configId", Some(Value::Text(config_id.into_owned())))
        .with("config", Some(Value::Json(named.finish()))))
}

/// `config` of 1.0 as 0.3 has it.
fn write_old_config(rope: &mut Rope, config: &Node) {
    rope.object(|old| {
        for key in ["id", "url", "token"] {
            old.node(key, config.get(key).as_ref());
        }
        if let Some(authentication) = config.get("authentication") {
            old.key("authentication").object(|old| {
                let scheme = authentication.get("scheme");
                old.key("schemes").array(scheme.iter(), |rope, scheme| _ = rope.node(scheme));
                old.node("credentials", authentication.get("credentials").as_ref());
            });
        }
    });
}

/// A push configuration of either generation as 1.0 has it.
pub(super) fn modern_config(config: &Node) -> Result<Node> {
    let Some(old) = config.get("pushNotificationConfig") else { return Ok(config.clone()) };
    // Over HTTP, 0.3 names the task in a path.
    let name = text_at(config, "name").unwrap_or_default();
    let named_task = name.strip_prefix("tasks/").and_then(|rest| rest.split('/').next()).map(str::to_owned);
    let task_id = text_at(config, "taskId").map(std::borrow::Cow::into_owned).or(named_task);
    let mut rope = Rope::default();
    rope.object(|modern| {
        modern.text("taskId", task_id.as_deref());
        for key in ["id", "url", "token"] {
            modern.node(key, old.get(key).as_ref());
        }
        if let Some(authentication) = old.get("authentication") {
            modern.key("authentication").object(|modern| {
                let scheme = authentication.get("schemes").and_then(|schemes| schemes.index(0));
                modern.node("scheme", scheme.as_ref());
                modern.node("credentials", authentication.get("credentials").as_ref());
            });
        }
    });
    Ok(Document::parse(rope.finish().into_bytes()?, &Options::default())?.root())
}

/// `SendMessageConfiguration` of 1.0 as `shape` has it.
pub(super) fn configuration(given: Option<Payload>, shape: Shape) -> Result<Option<Payload>> {
    let given = given.map(|given| root_object("the configuration", given)).transpose()?;
    if shape == Shape::Modern {
        return Ok(given.map(|given| given.raw().into()));
    }
    let mut rope = Rope::default();
    rope.object(|old| {
        let at_once = given.as_ref().and_then(|given| given.get("returnImmediately")?.boolean());
        // 1.0 waits for the task unless it is told not to; so does this.
        old.key("blocking").write(if at_once == Some(true) { "false" } else { "true" });
        if let Some(given) = &given {
            write_old_configuration(old, given, shape);
        }
    });
    Ok(Some(rope.finish()))
}

fn write_old_configuration(old: &mut Members<'_>, given: &Node, shape: Shape) {
    for member in given.members() {
        match &*member.key() {
            "returnImmediately" => {}
            "taskPushNotificationConfig" => {
                let key = if shape == Shape::Kinds { "pushNotificationConfig" } else { "pushNotification" };
                write_old_config(old.key(key), &member.value);
            }
            key => _ = old.node(key, Some(&member.value)),
        }
    }
}

fn root_object(what: &str, json: Payload) -> Result<Node> {
    let root = read_json(what, json)?.root();
    if root.kind() == Kind::Object {
        Ok(root)
    } else {
        Err(Error::invalid_request(format!("{what} is no JSON object")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: &str =
        r#"{"id":"c","url":"http://h","token":"t","authentication":{"scheme":"Bearer","credentials":"x"}}"#;
    const OLD: &str = r#"{"id":"c","url":"http://h","token":"t","authentication":{"schemes":["Bearer"],"credentials":"x"}}"#;

    fn text(payload: Payload) -> String {
        String::from_utf8(payload.into_bytes().expect("small").to_vec()).expect("UTF-8")
    }

    #[test]
    fn a_push_configuration_is_the_same_in_both_generations() {
        let mut rope = Rope::default();
        write_old_config(&mut rope, &root_object("it", MODERN.into()).expect("an object"));
        assert_eq!(text(rope.finish()), OLD);
        for place in [r#""taskId":"t1""#, r#""name":"tasks/t1/pushNotificationConfigs/c""#] {
            let old = format!(r#"{{{place},"pushNotificationConfig":{OLD}}}"#);
            let modern = modern_config(&root_object("it", old.into()).expect("an object")).expect("small");
            assert_eq!(modern.raw(), MODERN.replacen('{', r#"{"taskId":"t1","#, 1));
        }
        let unchanged = modern_config(&root_object("it", MODERN.into()).expect("an object")).expect("small");
        assert_eq!(unchanged.raw(), MODERN);
    }

    #[test]
    fn whether_to_wait_is_said_in_the_words_of_the_generation() {
        let written = |given: Option<&'static str>, shape| {
            configuration(given.map(Payload::from), shape).expect("an object").map(text)
        };
        let given = Some(r#"{"returnImmediately":true,"historyLength":2}"#);
        assert_eq!(written(given, Shape::Modern).as_deref(), given);
        assert_eq!(written(given, Shape::Kinds).as_deref(), Some(r#"{"blocking":false,"historyLength":2}"#));
        assert_eq!(written(None, Shape::Kinds).as_deref(), Some(r#"{"blocking":true}"#));
        assert_eq!(written(None, Shape::Modern), None);
        assert!(configuration(Some("[]".into()), Shape::Modern).is_err());
    }
}
