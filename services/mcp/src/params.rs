//! The parameters of a call: members in order, each a payload that stays where it lies.

use std::borrow::Cow;

use mcpgateway_engine::Payload;
use mcpgateway_engine::json::{Document, Options, quoted};

/// The members of a `params` object. A key that is set again takes its new value.
#[derive(Clone, Debug, Default)]
pub struct Params {
    members: Members,
    meta: Members,
}

type Members = Vec<(Cow<'static, str>, Payload)>;

impl Params {
    /// No members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a text.
    #[must_use]
    pub fn text(self, key: impl Into<Cow<'static, str>>, text: &str) -> Self {
        self.json(key, quoted(text).into())
    }

    /// The same with a value that is JSON, for which the caller vouches.
    #[must_use]
    pub fn json(mut self, key: impl Into<Cow<'static, str>>, value: Payload) -> Self {
        set(&mut self.members, key.into(), value);
        self
    }

    /// The same with a member of `_meta` that is JSON, for which the caller vouches.
    #[must_use]
    pub fn meta(mut self, key: impl Into<Cow<'static, str>>, value: Payload) -> Self {
        set(&mut self.meta, key.into(), value);
        self
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Payload> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The text that a member is; none if it is no text.
    pub(crate) fn text_of(&self, key: &str) -> Option<String> {
        let json = self.get(key)?.clone().into_bytes().ok()?;
        let document = Document::parse(json, &Options::default()).ok()?;
        document.root().text().map(Cow::into_owned)
    }

    /// The object as JSON; none if it has no member.
    pub(crate) fn into_json(mut self) -> Option<Payload> {
        if !self.meta.is_empty() {
            let meta = object(std::mem::take(&mut self.meta));
            set(&mut self.members, "_meta".into(), meta);
        }
        (!self.members.is_empty()).then(|| object(self.members))
    }
}

fn set(members: &mut Members, key: Cow<'static, str>, value: Payload) {
    match members.iter_mut().find(|(name, _)| *name == key) {
        Some((_, old)) => *old = value,
        None => members.push((key, value)),
    }
}

/// An object of these members.
pub(crate) fn object(members: impl IntoIterator<Item = (Cow<'static, str>, Payload)>) -> Payload {
    let mut parts = Vec::new();
    for (key, value) in members {
        let opening = if parts.is_empty() { "{" } else { "," };
        parts.push(Payload::from(format!("{opening}{}:", quoted(&key))));
        parts.push(value);
    }
    parts.push(Payload::from(if parts.is_empty() { "{}" } else { "}" }));
    Payload::join(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(params: Params) -> String {
        let bytes = params.into_json().expect("members").into_bytes().expect("memory");
        String::from_utf8(bytes.into()).expect("UTF-8")
    }

    #[test]
    fn a_key_is_written_once_whoever_sets_it_last() {
        let params = Params::new().text("name", "a\"b").json("arguments", "{}".into()).text("name", "c");
        assert_eq!(text(params.meta("k", "1".into())), r#"{"name":"c","arguments":{},"_meta":{"k":1}}"#);
        assert!(Params::new().into_json().is_none());
    }

    #[test]
    fn a_large_member_stays_where_it_is() {
        let large = bytes::Bytes::from(vec![b'1'; 1 << 20]);
        let params = Params::new().json("arguments", large.clone().into()).into_json().expect("members");
        let frames: Vec<_> = params.into_frames().collect();
        assert_eq!(frames[1].as_ptr(), large.as_ptr());
    }
}
