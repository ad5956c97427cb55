//! Tools that are plain HTTP endpoints: where each argument goes, and what a reply is.

use std::borrow::Cow;
use std::fmt;

use mcpgateway_engine::http::parse_headers;
use mcpgateway_engine::json::{Document, Kind, Node, Options, quoted};
use mcpgateway_engine::payload::Alphabet;
use mcpgateway_engine::{Client, Error, ErrorKind, Payload, Phase, Request, Result, Sent};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::mcp::CallOptions;
use super::result::ToolResult;

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Texts below this many bytes are read where they are: a thread for them would take longer.
const READ_IN_PLACE: u64 = 64 << 10;

/// An endpoint, and where the arguments of a call go: into the URL, the query, headers, and the rest into the body.
#[derive(Clone)]
pub struct RestTool {
    method: String,
    /// Literal pieces, and names of arguments between them.
    url: Vec<Piece>,
    query: Vec<String>,
    headers: Vec<(String, String)>,
    body: RestBody,
}

#[derive(Clone)]
enum Piece {
    Literal(String),
    Argument(String),
}

/// How the arguments that go nowhere else are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestBody {
    /// In the query.
    Query,
    /// As a JSON object.
    Json,
    /// As `application/x-www-form-urlencoded`.
    Form,
    /// As `multipart/form-data`; bytes are files.
    Multipart,
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A value that is JSON, for which the caller vouches.
    Json(Payload),
    /// Bytes: base64 within JSON, themselves elsewhere.
    Bytes(Payload),
}

impl fmt::Debug for RestTool {
    /// Without the URL, which may hold credentials anywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestTool")
            .field("method", &self.method)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl RestTool {
    /// The endpoint at `url`, whose `{name}` stand for arguments, percent-encoded. `headers` pair names of headers
    /// with names of arguments.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when `method` is no method, or the URL is none or has an argument before its
    /// path: who is called is not up to the arguments.
    pub fn new(
        method: &str,
        url: &str,
        query: Vec<String>,
        headers: Vec<(String, String)>,
        body: RestBody,
    ) -> Result<Self> {
        let pieces = pieces_of(url)?;
        Request::new(method, &expand(&pieces, |_| Ok("x".into()))?)?;
        let has_host = matches!(pieces.first(), Some(Piece::Literal(start)) if has_whole_host(start));
        if pieces.len() > 1 && !has_host {
            return Err(Error::invalid_request("the URL of a tool has {names} in its path and query only"));
        }
        parse_headers(headers.iter().map(|(name, _)| (name.as_str(), &b""[..])))?;
        Ok(Self { method: method.to_owned(), url: pieces, query, headers, body })
    }

    /// Call the endpoint and receive its whole reply.
    ///
    /// # Errors
    /// As for [`Client::send`]; [`ErrorKind::InvalidRequest`] when an argument of the URL is missing or has no place in
    /// a URL or header, [`ErrorKind::InvalidReply`] when a reply that says it is JSON is not. A status of 400 or more
    /// is a result: [`ToolResult::is_error`].
    pub async fn call(
        &self,
        client: &Client,
        arguments: Vec<(String, Argument)>,
        options: CallOptions,
    ) -> Result<ToolResult> {
        let request = self.request(arguments, options)?;
        let response = client.send(request).await?;
        let media_type = response.headers.get("content-type").and_then(|value| value.to_str().ok());
        let media_type =
            media_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_lowercase());
        let is_json =
            media_type.as_deref().is_some_and(|name| name == "application/json" || name.ends_with("+json"));
        let document = if is_json && !response.body.is_empty() {
            Some(read(response.body.clone()).await?)
        } else {
            None
        };
        let root = document.map(|document| document.root());
        Ok(ToolResult::of_body(response.body, media_type, root, response.status))
    }

    /// The request that a call makes.
    fn request(&self, mut arguments: Vec<(String, Argument)>, options: CallOptions) -> Result<Request> {
        let mut take = |name: &str| {
            let at = arguments.iter().position(|(key, _)| key == name)?;
            Some(arguments.remove(at).1)
        };
        let mut url = expand(&self.url, |name| match take(name) {
            Some(argument) => Ok(encoded(&text_of(name, argument)?.unwrap_or_default())),
            None => Err(Error::invalid_request(format!("the URL of this tool needs the argument {name:?}"))),
        })?;
        refuse_dots(&url)?;
        let mut pairs = Vec::new();
        for name in &self.query {
            if let Some(argument) = take(name) {
                pairs.extend(texts_of(name, argument)?.into_iter().map(|text| (name.clone(), text)));
            }
        }
        let mut headers = options.headers.unwrap_or_default();
        for (header, name) in &self.headers {
            if let Some(argument) = take(name)
                && let Some(text) = text_of(name, argument)?
            {
                headers.extend(parse_headers([(header.as_str(), text.as_bytes())])?);
            }
        }
        let (body, content_type) = match self.body {
            RestBody::Query => {
                for (name, argument) in arguments {
                    pairs.extend(texts_of(&name, argument)?.into_iter().map(|text| (name.clone(), text)));
                }
                (Payload::empty(), None)
            }
            RestBody::Json => (json_body(arguments)?, Some("application/json".to_owned())),
            RestBody::Form => (form_body(arguments)?, Some("application/x-www-form-urlencoded".to_owned())),
            RestBody::Multipart => multipart_body(arguments).map(|(body, kind)| (body, Some(kind)))?,
        };
        add_query(&mut url, &pairs);
        let mut request = Request::new(&self.method, &url)?;
        if let Some(content_type) = content_type
            && !headers.contains_key("content-type")
        {
            headers.extend(parse_headers([("content-type", content_type.as_bytes())])?);
        }
        request = request.headers(headers).body(body).timeouts(options.timeouts).limits(options.limits);
        Ok(match options.progress {
            Some(progress) => request.progress(progress),
            None => request,
        })
    }
}

fn pieces_of(url: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = url;
    while let Some((literal, behind)) = rest.split_once('{') {
        let Some((name, behind)) = behind.split_once('}') else {
            return Err(Error::invalid_request("the URL of a tool has a { without a }"));
        };
        pieces.push(Piece::Literal(literal.to_owned()));
        pieces.push(Piece::Argument(name.to_owned()));
        rest = behind;
    }
    pieces.push(Piece::Literal(rest.to_owned()));
    Ok(pieces)
}

/// Whether scheme and host end within `start`.
fn has_whole_host(start: &str) -> bool {
    start.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?', '#']))
}

fn expand(pieces: &[Piece], mut value: impl FnMut(&str) -> Result<String>) -> Result<String> {
    let mut url = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => url.push_str(text),
            Piece::Argument(name) => url.push_str(&value(name)?),
        }
    }
    Ok(url)
}

fn encoded(text: &str) -> String {
    percent_encode(text.as_bytes(), RESERVED).to_string()
}

/// Refuse a path with `.` or `..` as a step, however written: a URL parser would walk it.
fn refuse_dots(url: &str) -> Result<()> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let is_dots = |step: &str| matches!(step.to_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.split('/').any(is_dots) {
        return Err(Error::invalid_request("an argument would lead out of the path of this tool"));
    }
    Ok(())
}

/// An argument as a text: none for null.
fn text_of(name: &str, argument: Argument) -> Result<Option<String>> {
    Ok(texts_of(name, argument)?.into_iter().next())
}

/// An argument as texts: one for each element of an array, none for null.
fn texts_of(name: &str, argument: Argument) -> Result<Vec<String>> {
    let json = match argument {
        Argument::Json(json) => json,
        Argument::Bytes(bytes) => {
            let text = String::from_utf8(bytes.into_bytes()?.into());
            let text =
                text.map_err(|_| Error::invalid_request(format!("the argument {name:?} is no text")))?;
            return Ok(vec![text]);
        }
    };
    let document = Document::parse(json.into_bytes()?, &Options::default())?;
    let root = document.root();
    match root.kind() {
        Kind::Array => Ok(root.elements().filter_map(|node| written(&node)).collect()),
        _ => Ok(written(&root).into_iter().collect()),
    }
}

/// A value as a text: strings as what they say, others as they are written; none for null.
fn written(node: &Node) -> Option<String> {
    match node.kind() {
        Kind::Null => None,
        Kind::String => node.text().map(Cow::into_owned),
        _ => String::from_utf8(node.raw().into()).ok(),
    }
}

fn add_query(url: &mut String, pairs: &[(String, String)]) {
    for (name, text) in pairs {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.extend([&*encoded(name), "=", &*encoded(text)]);
    }
}

fn json_body(arguments: Vec<(String, Argument)>) -> Result<Payload> {
    let mut parts = Vec::new();
    for (name, argument) in arguments {
        let opening = if parts.is_empty() { "{" } else { "," };
        parts.push(Payload::from(format!("{opening}{}:", quoted(&name))));
        match argument {
            Argument::Json(json) => parts.push(json),
            Argument::Bytes(bytes) => {
                parts.extend(["\"".into(), Payload::base64(bytes, Alphabet::Standard)?, "\"".into()]);
            }
        }
    }
    parts.push(if parts.is_empty() { "{}".into() } else { "}".into() });
    Ok(Payload::join(parts))
}

fn form_body(arguments: Vec<(String, Argument)>) -> Result<Payload> {
    let mut form = String::new();
    for (name, argument) in arguments {
        for text in texts_of(&name, argument)? {
            let separator = if form.is_empty() { "" } else { "&" };
            form.extend([separator, &*encoded(&name), "=", &*encoded(&text)]);
        }
    }
    Ok(form.into())
}

/// The body, and its content type with a boundary that nobody can have foreseen.
fn multipart_body(arguments: Vec<(String, Argument)>) -> Result<(Payload, String)> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|_| Error::new(ErrorKind::Unsupported, "this system gives no random bytes"))?;
    let boundary = format!("mcpgateway-{:032x}", u128::from_ne_bytes(random));
    let mut parts = Vec::new();
    for (name, argument) in arguments {
        let field = name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"");
        match argument {
            Argument::Bytes(bytes) => {
                let kind = "Content-Type: application/octet-stream";
                parts.push(Payload::from(format!("{head}; filename=\"{field}\"\r\n{kind}\r\n\r\n")));
                parts.push(bytes);
                parts.push("\r\n".into());
            }
            json @ Argument::Json(_) => {
                for text in texts_of(&name, json)? {
                    parts.push(Payload::from(format!("{head}\r\n\r\n{text}\r\n")));
                }
            }
        }
    }
    parts.push(Payload::from(format!("--{boundary}--\r\n")));
    Ok((Payload::join(parts), format!("multipart/form-data; boundary={boundary}")))
}

async fn read(body: Payload) -> Result<Document> {
    let read = if body.len() < READ_IN_PLACE {
        Document::parse(body.into_bytes()?, &Options::default())
    } else {
        Document::open(move || body.into_bytes(), Options::default()).await
    };
    read.map_err(|cause| match cause.kind() {
        ErrorKind::Json(_) => Error::invalid_reply("the reply says it is JSON and is not").with_source(cause),
        _ => cause.with_phase(Phase::Parse).with_sent(Sent::Yes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &'static str) -> Argument {
        Argument::Json(text.into())
    }

    fn request(tool: &RestTool, arguments: Vec<(&str, Argument)>) -> Result<String> {
        let arguments = arguments.into_iter().map(|(name, argument)| (name.to_owned(), argument)).collect();
        tool.request(arguments, CallOptions::default()).map(|request| format!("{request:?}"))
    }

    fn tool(url: &str) -> Result<RestTool> {
        RestTool::new("GET", url, vec!["q".into()], vec![("x-token".into(), "token".into())], RestBody::Query)
    }

    #[test]
    fn arguments_go_into_the_url_percent_encoded() {
        let tool = tool("http://a.example/items/{item}/{b}?fixed=1").expect("valid");
        let made = request(&tool, vec![("b", json("7")), ("item", json(r#""a/b?c#d é""#))]);
        assert!(made.expect("valid").contains("/items/a%2Fb%3Fc%23d%20%C3%A9/7?"), "{tool:?}");
        assert!(request(&tool, vec![("b", json("7"))]).is_err());
        for dots in ["\"..\"", "\".\"", "\"%2e%2E\""] {
            let made = request(&tool, vec![("item", json("1")), ("b", json(dots))]);
            // A percent sign in a value is encoded itself, so it stands for nothing.
            assert_eq!(made.is_err(), !dots.contains('%'), "{dots}");
        }
    }

    #[test]
    fn who_is_called_is_not_up_to_the_arguments() {
        for url in [
            "http://{host}/",
            "{scheme}://a/",
            "http://a.{host}/x",
            "http://a:{port}/",
            "http://a{x}",
            "/x/{a}",
            "http://a/{",
        ] {
            assert!(tool(url).is_err(), "{url}");
        }
        assert!(tool("http://a/{x}").is_ok() && tool("http://a?x={x}").is_ok() && tool("http://a").is_ok());
    }

    #[test]
    fn a_header_that_would_be_two_is_refused() {
        let tool = tool("http://a/").expect("valid");
        assert!(request(&tool, vec![("token", json(r#""a\r\nb: c""#))]).is_err());
    }

    #[test]
    fn bodies_are_ropes_around_their_bytes() {
        let large = bytes::Bytes::from(vec![7; 1 << 20]);
        let arguments = || {
            vec![
                ("a \"b".to_owned(), Argument::Bytes(large.clone().into())),
                ("c".to_owned(), json("[1,\"x y\"]")),
            ]
        };
        let (multipart, kind) = multipart_body(arguments()).expect("memory");
        assert!(multipart.clone().into_frames().any(|frame| frame.as_ptr() == large.as_ptr()));
        let boundary = kind.split_once("boundary=").expect("a boundary").1.to_owned();
        let text = String::from_utf8_lossy(&multipart.into_bytes().expect("memory")).replace(&boundary, "B");
        assert!(text.ends_with(
            "name=\"c\"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\nx y\r\n--B--\r\n"
        ));
        assert!(
            text.starts_with(
                "--B\r\nContent-Disposition: form-data; name=\"a %22b\"; filename=\"a %22b\"\r\n"
            )
        );
        let form = form_body(vec![("a b".into(), json("[1,null,\"x&y\"]")), ("c".into(), json("null"))]);
        assert_eq!(form.expect("memory").into_bytes().expect("memory"), "a%20b=1&a%20b=x%26y");
        let body = json_body(vec![("a".into(), Argument::Bytes("hello".into())), ("b".into(), json("{}"))]);
        assert_eq!(body.expect("memory").into_bytes().expect("memory"), r#"{"a":"aGVsbG8=","b":{}}"#);
        assert_eq!(json_body(Vec::new()).expect("memory").into_bytes().expect("memory"), "{}");
    }
}
