//! A server that answers as it is told, and writes down what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What arrived.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The JSON value at `pointer` of the body, as it is written; empty if there is none.
    pub fn at(&self, pointer: &str) -> String {
        use mcpgateway_engine::json::{Document, Options, Pointer};
        let Ok(document) = Document::parse(self.body.clone().into(), &Options::default()) else {
            return String::new();
        };
        let found = document.root().at(&Pointer::parse(pointer).expect("a pointer"));
        found.map_or_else(|_| String::new(), |node| String::from_utf8_lossy(&node.raw()).into_owned())
    }

    /// What this was about: a JSON-RPC method, or the HTTP method where there is none.
    pub fn about(&self) -> String {
        match self.at("/method") {
            none if none.is_empty() => self.method.clone(),
            method => method.trim_matches('"').to_owned(),
        }
    }
}

/// What is sent back: the whole reply, and whether the connection ends with it.
pub struct Answer(Vec<u8>, bool);

type Script = Box<dyn Fn(&Asked, usize) -> Answer + Send + Sync>;

pub struct Server {
    pub url: String,
    seen: Arc<(Mutex<Vec<Asked>>, Condvar)>,
}

impl Server {
    /// Answer each request by `script`, which is told how many came before.
    pub fn start(script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("bound"));
        let seen: Arc<(Mutex<Vec<Asked>>, Condvar)> = Arc::default();
        let (script, shared): (Arc<Script>, _) = (Arc::new(Box::new(script)), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, &script, &seen));
            }
        });
        Self { url, seen }
    }

    pub fn seen(&self) -> Vec<Asked> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What each request was about, in order.
    pub fn abouts(&self) -> Vec<String> {
        self.seen().iter().map(Asked::about).collect()
    }

    /// Wait until `count` requests have come.
    pub fn wait_for(&self, count: usize) {
        let (seen, arrived) = &*self.seen;
        let waited = arrived.wait_timeout_while(
            seen.lock().unwrap_or_else(PoisonError::into_inner),
            Duration::from_secs(20),
            |seen| seen.len() < count,
        );
        assert!(!waited.expect("no panic").1.timed_out(), "{:?}", self.abouts());
    }
}

fn serve(stream: TcpStream, script: &Script, seen: &(Mutex<Vec<Asked>>, Condvar)) {
    let mut writer = stream.try_clone().expect("a descriptor");
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        let before = {
            let mut all = seen.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(asked.clone());
            seen.1.notify_all();
            all.len() - 1
        };
        let Answer(bytes, ends) = script(&asked, before);
        if writer.write_all(&bytes).is_err() || ends {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut asked = Asked { method: line.split(' ').next()?.to_owned(), ..Asked::default() };
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let len = asked.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

/// A whole reply.
pub fn reply(status: u16, headers: &str, body: &str) -> Answer {
    let len = body.len();
    Answer(format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {len}\r\n\r\n{body}").into_bytes(), false)
}

/// A reply that is JSON.
pub fn json(body: &str) -> Answer {
    reply(200, "Content-Type: application/json\r\n", body)
}

/// The result of what was asked.
pub fn result(asked: &Asked, result: &str) -> Answer {
    json(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, asked.at("/id")))
}

/// An error as the answer to what was asked.
pub fn error(asked: &Asked, status: u16, code: i64, data: &str) -> Answer {
    let id = asked.at("/id");
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"no","data":{data}}}}}"#);
    reply(status, "Content-Type: application/json\r\n", &body)
}

/// A stream that ends with the connection.
pub fn stream(events: &str) -> Answer {
    let head = "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    Answer(format!("{head}{events}").into_bytes(), true)
}

/// The 202 that a notification is answered with.
pub fn accepted() -> Answer {
    reply(202, "", "")
}

/// What a legacy server answers, with a session; `script` answers all else.
pub fn legacy(
    session: &'static str,
    script: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Asked, usize) -> Answer + Send + Sync {
    move |asked, _| match asked.about().as_str() {
        "server/discover" => reply(400, "", "Bad Request: no session"),
        "initialize" => {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"protocolVersion":"2025-11-25","capabilities":{{}}}}}}"#,
                asked.at("/id")
            );
            reply(200, &format!("Content-Type: application/json\r\nMcp-Session-Id: {session}\r\n"), &body)
        }
        "notifications/initialized" | "notifications/cancelled" => accepted(),
        "DELETE" => reply(200, "", ""),
        _ => script(asked),
    }
}

/// What a modern server answers; `script` answers all else.
pub fn modern(
    script: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Asked, usize) -> Answer + Send + Sync {
    move |asked, _| match asked.about().as_str() {
        "server/discover" => result(asked, r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#),
        _ => script(asked),
    }
}
