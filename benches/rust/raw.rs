//! The floor of what goes over HTTP: a socket without any HTTP library, and memory that is used again.

use std::io::{Read, Write};
use std::net::TcpStream;

use a2a_service::serve::ServerThread;

/// The longest head of a reply.
const HEAD: usize = 4096;

/// Bytes that can be on their way without anybody reading them.
const HELD_BY_SOCKETS: usize = 128 << 10;

/// A connection and room for replies.
pub struct Raw {
    stream: TcpStream,
    room: Vec<u8>,
}

impl Raw {
    /// A connection to `server` for replies of up to `longest` bytes.
    pub fn open(server: &ServerThread, longest: usize) -> Self {
        let address = server.url().strip_prefix("http://").expect("an http URL");
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, room: vec![0; longest + HEAD] }
    }

    /// The body of the reply to a GET, as far as its Content-Length says.
    pub fn get(&mut self, path: &str) -> &[u8] {
        write!(self.stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").expect("written");
        let (start, end) = self.receive();
        &self.room[start..end]
    }

    /// The body of the reply to a POST that is answered once all of it is there.
    #[allow(dead_code, reason = "each bench has its own direction")]
    pub fn post(&mut self, path: &str, body: &[u8]) -> &[u8] {
        send(&self.stream, path, body);
        let (start, end) = self.receive();
        &self.room[start..end]
    }

    /// The body of the reply to a POST that is answered while it is sent: by another thread, if it is more than
    /// the sockets hold.
    #[allow(dead_code, reason = "each bench has its own direction")]
    pub fn echo(&mut self, path: &str, body: &[u8]) -> &[u8] {
        if body.len() <= HELD_BY_SOCKETS {
            return self.post(path, body);
        }
        let sending = self.stream.try_clone().expect("a descriptor");
        let (start, end) = std::thread::scope(|scope| {
            scope.spawn(|| send(&sending, path, body));
            self.receive()
        });
        &self.room[start..end]
    }

    /// POST the body of the reply to a GET of `from` to `path` at another server, and return what that says.
    #[allow(dead_code, reason = "each bench has its own direction")]
    pub fn forward<'a>(&mut self, to: &'a mut Self, from: &str, path: &str) -> &'a [u8] {
        send(&to.stream, path, self.get(from));
        let (start, end) = to.receive();
        &to.room[start..end]
    }

    /// Where in the room the body of the next reply is.
    fn receive(&mut self) -> (usize, usize) {
        let (mut received, mut body) = (0, None);
        while body.is_none_or(|(_, end)| received < end) {
            received += match self.stream.read(&mut self.room[received..]).expect("a reply") {
                0 => panic!("the connection ended within a reply"),
                read => read,
            };
            body = body.or_else(|| place_of_body(&self.room[..received.min(HEAD)]));
        }
        body.expect("just seen")
    }
}

fn send(mut stream: &TcpStream, path: &str, body: &[u8]) {
    let len = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n").expect("written");
    stream.write_all(body).expect("written");
}

/// Where the body is that comes after the head, if all of that is there.
fn place_of_body(received: &[u8]) -> Option<(usize, usize)> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).expect("a length").lines().next().expect("a line");
    Some((end + 4, end + 4 + length.parse::<usize>().expect("a number")))
}
