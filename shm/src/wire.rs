//! What two processes say to each other over the socket of a worker: a question of 32 bytes, an answer
//! of 40, with the descriptor beside it.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, recvmsg, sendmsg,
};

use crate::id::Id;
use crate::sys;

/// Bytes of a question.
pub(crate) const QUESTION: usize = 32;
/// Bytes of an answer.
const ANSWER: usize = 40;
const MAGIC: [u8; 8] = *b"mcpshm?\x01";
/// How long to look for an answer before sleeping until it comes: benches/rust/shm.rs handle/open,
/// 94 us instead of 112 where a ping over a Unix socket takes 60 to 95.
const SPIN: Duration = Duration::from_micros(100);

/// Asks for the descriptor of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) id: Id,
    /// The hash of the tenant's name.
    pub(crate) tenant: u64,
}

/// What a worker answers. Of all else it says, the reference has the truth already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// That of the question, so that no answer is taken for another one's.
    pub(crate) id: Id,
    pub(crate) len: u64,
    pub(crate) checksum: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A descriptor comes with the answer.
    Here,
    /// The worker has no such payload any more.
    Gone,
    /// It is another tenant's.
    Denied,
}

impl Question {
    pub(crate) fn encode(self) -> [u8; QUESTION] {
        let mut bytes = [0; QUESTION];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.id.0);
        bytes[24..].copy_from_slice(&self.tenant.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; QUESTION]) -> Option<Self> {
        let id = Id(bytes[8..24].try_into().expect("16 bytes"));
        let tenant = u64::from_le_bytes(bytes[24..].try_into().expect("8 bytes"));
        (bytes[..8] == MAGIC).then_some(Self { id, tenant })
    }
}

impl Answer {
    pub(crate) fn without_payload(outcome: Outcome, id: Id) -> Self {
        Self { outcome, id, len: 0, checksum: 0 }
    }

    fn encode(self) -> [u8; ANSWER] {
        let mut bytes = [0; ANSWER];
        bytes[0] = match self.outcome {
            Outcome::Here => 1,
            Outcome::Gone => 2,
            Outcome::Denied => 3,
        };
        bytes[8..24].copy_from_slice(&self.id.0);
        bytes[24..32].copy_from_slice(&self.len.to_le_bytes());
        bytes[32..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ANSWER]) -> Option<Self> {
        let outcome = match bytes[0] {
            1 => Outcome::Here,
            2 => Outcome::Gone,
            3 => Outcome::Denied,
            _ => return None,
        };
        let id = Id(bytes[8..24].try_into().expect("16 bytes"));
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        Some(Self { outcome, id, len: number(24), checksum: number(32) })
    }
}

/// Send `answer`, and `file` with it. Does not wait: a peer that reads nothing is given up.
pub(crate) fn send(stream: &UnixStream, answer: Answer, file: Option<&File>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptor = file.map(AsFd::as_fd);
    if !descriptor.as_slice().is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptor.as_slice()));
    }
    let bytes = answer.encode();
    let sent = sendmsg(stream, &[IoSlice::new(&bytes)], &mut control, sys::SEND_FLAGS)?;
    if sent == ANSWER { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

/// Receive an answer, and its descriptor if it has one.
///
/// # Errors
/// `UnexpectedEof` when the worker has gone; `InvalidData` for what is no answer, or one without the
/// descriptor it promises, as when this process has no descriptors left (`MSG_CTRUNC`).
pub(crate) fn receive(stream: &UnixStream) -> io::Result<(Answer, Option<File>)> {
    let mut bytes = [0; ANSWER];
    let mut filled = 0;
    let mut file = None;
    while filled < ANSWER {
        let (read, descriptor) = receive_some(stream, &mut bytes[filled..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file = file.or(descriptor);
        filled += read;
    }
    let answer = Answer::decode(&bytes).ok_or_else(|| invalid("an answer nobody understands"))?;
    if file.is_some() != (answer.outcome == Outcome::Here) {
        return Err(invalid("an answer and its descriptor do not agree"));
    }
    Ok((answer, file))
}

fn receive_some(stream: &UnixStream, room: &mut [u8]) -> io::Result<(usize, Option<File>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut receive = |flags| recvmsg(stream, &mut [IoSliceMut::new(room)], &mut control, flags);
    let deadline = Instant::now() + SPIN;
    let received = loop {
        // A worker answers within tens of microseconds; to be woken up takes as long again.
        let flags = if Instant::now() < deadline { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        match receive(flags | sys::RECEIVE_FLAGS) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if flags.contains(RecvFlags::DONTWAIT) => std::thread::yield_now(),
            received => break received?,
        }
    };
    // All are taken out, so that what is too much is closed.
    let files: io::Result<Vec<File>> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .map(sys::received)
        .collect();
    let mut files = files?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(invalid("the descriptor was cut off: this process may have no more open files"));
    }
    Ok((received.bytes, files.pop()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

// Miri has no locks of files, no private directories and no descriptors to pass.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const ANSWERED: Answer = Answer { outcome: Outcome::Here, id: Id([7; 16]), len: 3, checksum: 5 };

    #[test]
    fn a_descriptor_arrives_with_its_answer() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let mut sent = tempfile::tempfile().expect("a file");
        sent.write_all(b"abc").expect("room");
        send(&here, ANSWERED, Some(&sent)).expect("sent");
        let (answer, file) = receive(&there).expect("received");
        assert_eq!(answer, ANSWERED);
        let (mut file, mut text) = (file.expect("a descriptor"), String::new());
        io::Seek::rewind(&mut file).expect("a file");
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "abc");
    }

    #[test]
    fn a_refusal_has_no_descriptor() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let gone = Answer::without_payload(Outcome::Gone, Id([7; 16]));
        send(&here, gone, None).expect("sent");
        let (answer, file) = receive(&there).expect("received");
        assert_eq!((answer, file.is_none()), (gone, true));
    }

    #[test]
    fn answers_that_break_the_rules_are_errors() {
        let received = |bytes: &[u8]| {
            let (mut here, there) = UnixStream::pair().expect("a pair");
            here.write_all(bytes).expect("sent");
            drop(here);
            receive(&there).expect_err("refused").kind()
        };
        assert_eq!(received(&[]), io::ErrorKind::UnexpectedEof);
        assert_eq!(received(&ANSWERED.encode()[..20]), io::ErrorKind::UnexpectedEof);
        assert_eq!(received(&[9; ANSWER]), io::ErrorKind::InvalidData);
        assert_eq!(received(&ANSWERED.encode()), io::ErrorKind::InvalidData, "no descriptor");
    }

    #[test]
    fn a_question_survives_its_bytes() {
        let question = Question { id: Id([3; 16]), tenant: 9 };
        assert_eq!(Question::decode(&question.encode()), Some(question));
        assert_eq!(Question::decode(&[0; QUESTION]), None);
    }
}
