//! Resources of MCP servers, in both generations.

use std::borrow::Cow;
use std::sync::PoisonError;
use std::time::Duration;

use mcpgateway_engine::json::{Kind, Node};
use mcpgateway_engine::{Error, Payload, Result, runtime};
use mcpgateway_mcp::{Call, Session, SessionOptions};

use super::cache::{Kept, Key, now};
use super::client::{ResourceClient, from_cache, in_millis};
use super::resource::{CameFrom, Resource, Scope};

/// Servers that are remembered at a time, with what was agreed with them.
const MOST_SERVERS: usize = 1024;
/// Pages of a list that are asked for before it is taken for endless.
const MOST_PAGES: usize = 10_000;

/// What an MCP server has lists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
}

impl Listed {
    const fn method(self) -> &'static str {
        match self {
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }
}

impl ResourceClient {
    /// Read the resource `uri` of the MCP server at `server` (`resources/read`): one for each of its contents.
    /// `adjust` may give the call headers, timeouts, limits.
    ///
    /// A server's `ttlMs` and `cacheScope` are heeded where this client has a cache.
    ///
    /// # Errors
    /// `Rpc` for an error that the server answered with, such as that there is no such resource;
    /// [`InvalidReply`](mcpgateway_engine::ErrorKind::InvalidReply) when the contents are none,
    /// [`Json`](mcpgateway_engine::ErrorKind::Json) for a blob that is no base64; else those of [`Session::call`].
    pub async fn read(
        &self,
        server: &str,
        uri: &str,
        adjust: impl FnOnce(Call) -> Call,
    ) -> Result<Vec<Resource>> {
        let call = adjust(Call::resource(uri));
        let cache = self.options().cache.clone().map(|cache| {
            let key = Key::new(cache.tenant(), &format!("{server} {uri}"), &self.own_credentials());
            (cache, key)
        });
        if let Some((cache, key)) = cache.clone()
            && let Some((kept, body)) = runtime::blocking(move || cache.find(&key)).await?
            && kept.fresh_until().is_some()
        {
            return Ok(vec![from_cache(uri, kept, body, CameFrom::Cache)]);
        }
        let reply = self.session(server)?.call(call).await?;
        let uri = uri.to_owned();
        // Base64 of a large blob takes its time.
        let read = move || {
            let contents = contents(&reply.result, &uri)?;
            if let (Some((cache, key)), [only]) = (cache, contents.as_slice())
                && let Some(fresh_for) = only.fresh_for.filter(|time| *time > Duration::ZERO)
            {
                let kept = Kept {
                    content_type: only.content_type.clone(),
                    fetched: now(),
                    fresh_for: Some(in_millis(fresh_for)),
                    is_public: only.scope == Scope::Public,
                    ..Kept::default()
                };
                cache.keep(&key, kept, &only.body);
            }
            Ok(contents)
        };
        runtime::blocking(read).await?
    }

    /// All that the MCP server at `server` lists, over all pages.
    ///
    /// # Errors
    /// [`InvalidReply`](mcpgateway_engine::ErrorKind::InvalidReply) for a page without a list, or a list without
    /// an end; else those of [`Session::call`].
    pub async fn list(
        &self,
        server: &str,
        what: Listed,
        adjust: impl FnOnce(Call) -> Call,
    ) -> Result<Vec<Node>> {
        let mut pages = self.session(server)?.pages(adjust(Call::list(what.method(), None)));
        let mut listed = Vec::new();
        for _ in 0..MOST_PAGES {
            let Some(page) = pages.next().await? else { return Ok(listed) };
            let list = page.result.get(what.key()).filter(|list| list.kind() == Kind::Array);
            let list = list.ok_or_else(|| {
                Error::invalid_reply(format!("{}: the page has no list of {}", what.method(), what.key()))
            })?;
            listed.extend(list.elements());
        }
        Err(Error::invalid_reply(format!("{}: more than {MOST_PAGES} pages", what.method())))
    }

    /// The session with a server: what was agreed once holds for later calls.
    fn session(&self, server: &str) -> Result<Session> {
        let mut sessions = self.sessions().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(server) {
            return Ok(session.clone());
        }
        if sessions.len() >= MOST_SERVERS {
            sessions.clear();
        }
        let session = Session::new(self.client().clone(), server, SessionOptions::default())?;
        sessions.insert(server.to_owned(), session.clone());
        Ok(session)
    }
}

/// The resources that the result of `resources/read` has.
fn contents(result: &Node, uri: &str) -> Result<Vec<Resource>> {
    let contents = result.get("contents").filter(|contents| contents.kind() == Kind::Array);
    let contents =
        contents.ok_or_else(|| Error::invalid_reply("resources/read: the result has no contents"))?;
    let fresh_for = result.get("ttlMs").and_then(|ttl| std::str::from_utf8(&ttl.raw()).ok()?.parse().ok());
    let is_public = text(result, "cacheScope").as_deref() == Some("public");
    contents
        .elements()
        .map(|content| {
            Ok(Resource {
                uri: text(&content, "uri").unwrap_or_else(|| uri.to_owned()),
                content_type: text(&content, "mimeType"),
                body: body(&content)?,
                etag: None,
                last_modified: None,
                fresh_for: fresh_for.map(Duration::from_millis),
                scope: if is_public { Scope::Public } else { Scope::Private },
                came_from: CameFrom::Network,
            })
        })
        .collect()
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(|node| node.text().map(Cow::into_owned))
}

/// A text as UTF-8, where it lies if nothing in it is escaped; a blob decoded.
fn body(content: &Node) -> Result<Payload> {
    if let Some(blob) = content.get("blob") {
        return blob.base64();
    }
    match content.get("text") {
        Some(text) if text.kind() == Kind::String => text.text_payload(),
        _ => Err(Error::invalid_reply("resources/read: contents with neither a text nor a blob")),
    }
}

#[cfg(test)]
mod tests {
    use mcpgateway_engine::json::{Document, Options};

    use super::*;

    /// Its URI, its content type and its bytes.
    type Content = (String, Option<String>, Vec<u8>);

    fn read(result: &'static str) -> Result<Vec<Content>> {
        let document = Document::parse(result.into(), &Options::default())?;
        let read = contents(&document.root(), "a:b")?;
        read.into_iter().map(|it| Ok((it.uri, it.content_type, it.body.into_bytes()?.to_vec()))).collect()
    }

    #[test]
    fn texts_and_blobs_become_their_bytes() {
        let result = r#"{"contents":[{"uri":"x:1","mimeType":"text/plain","text":"a\n\u00fc"},{"text":"plain"},
            {"uri":"x:2","blob":"AAEC"},{"blob":""}]}"#;
        let text = |uri: &str, kind: Option<&str>, bytes: &[u8]| -> Content {
            (uri.into(), kind.map(Into::into), bytes.to_vec())
        };
        assert_eq!(
            read(result).expect("contents"),
            [
                text("x:1", Some("text/plain"), "a\nü".as_bytes()),
                text("a:b", None, b"plain"),
                text("x:2", None, &[0, 1, 2]),
                text("a:b", None, b""),
            ]
        );
    }

    #[test]
    fn how_long_and_for_whom_it_holds_is_what_the_server_says() {
        let said = |result: &'static str| {
            let document = Document::parse(result.into(), &Options::default()).expect("JSON");
            let read = contents(&document.root(), "a:b").expect("contents").remove(0);
            (read.fresh_for.map(|time| time.as_millis()), read.scope)
        };
        assert_eq!(
            said(r#"{"ttlMs":1500,"cacheScope":"public","contents":[{"text":""}]}"#),
            (Some(1500), Scope::Public)
        );
        assert_eq!(
            said(r#"{"ttlMs":-1,"cacheScope":"private","contents":[{"text":""}]}"#),
            (None, Scope::Private)
        );
    }

    #[test]
    fn what_has_no_contents_is_refused() {
        use mcpgateway_engine::ErrorKind;
        for result in [
            "{}",
            r#"{"contents":{}}"#,
            r#"{"contents":[{}]}"#,
            r#"{"contents":[{"text":1}]}"#,
            r#"{"contents":[1]}"#,
        ] {
            assert_eq!(*read(result).expect_err(result).kind(), ErrorKind::InvalidReply);
        }
        let blob = read(r#"{"contents":[{"blob":"!"}]}"#).expect_err("no base64");
        assert!(matches!(blob.kind(), ErrorKind::Json(_)));
    }
}
