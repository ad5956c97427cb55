//! The lines of an event stream, in whatever chunks they arrive.

use std::time::Duration;

use bytes::{Buf, Bytes};
use memchr::{memchr2, memchr3};

use crate::error::{Error, ErrorKind, Result};

const BYTE_ORDER_MARK: [u8; 3] = *b"\xEF\xBB\xBF";
/// One more than the longest name that means something, so that a longer one is told from it.
const NAME: usize = 6;
/// Bytes of an event's type, of an id, or of a time to wait.
const MOST_OF_A_FIELD: usize = 64 << 10;

/// What a piece of the stream means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A line of data begins.
    Line {
        /// Of its event.
        first: bool,
    },
    /// Bytes of that line.
    Data(Bytes),
    /// The event is complete, and has this type.
    Event(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
    /// A comment, or a name that means nothing.
    Ignored,
}

impl Field {
    fn of(name: &[u8]) -> Self {
        match name {
            b"data" => Self::Data,
            b"event" => Self::Event,
            b"id" => Self::Id,
            b"retry" => Self::Retry,
            _ => Self::Ignored,
        }
    }
}

/// Where in a line, an event and the stream the reader is.
#[derive(Debug, Default)]
pub(super) struct Lines {
    mark: Mark,
    /// The last byte was CR: a LF belongs to it.
    after_cr: bool,
    /// The first bytes of the name of this line's field.
    name: Vec<u8>,
    /// The field, once its colon was seen.
    field: Option<Field>,
    /// The next byte is the first behind the colon.
    after_colon: bool,
    /// The value of a field that is not data.
    value: Vec<u8>,
    /// Whether this event has a line of data.
    has_data: bool,
    /// The type of this event.
    event: String,
    id: Option<String>,
    retry: Option<Duration>,
}

/// The byte order mark that the stream may begin with.
#[derive(Debug)]
enum Mark {
    /// So many bytes of it came, and nothing else.
    Seen(usize),
    /// It came, or there is none.
    Passed,
}

impl Default for Mark {
    fn default() -> Self {
        Self::Seen(0)
    }
}

impl Lines {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether an end here would lose something.
    pub(super) fn is_within_event(&self) -> bool {
        self.has_data || self.field.map_or(!self.name.is_empty(), |field| field != Field::Ignored)
    }

    /// The next step in `chunk`, which is taken off it; nothing when `chunk` is used up.
    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Step>> {
        while let Some(&first) = chunk.first() {
            if matches!(self.mark, Mark::Seen(_)) && self.take_mark(first) {
                chunk.advance(1);
                continue;
            }
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                chunk.advance(1);
                continue;
            }
            let step = match self.field {
                None => self.read_name(chunk),
                Some(field) => self.read_value(field, chunk)?,
            };
            if step.is_some() {
                return Ok(step);
            }
        }
        Ok(None)
    }

    /// Whether `byte` is of the byte order mark that the stream may begin with.
    fn take_mark(&mut self, byte: u8) -> bool {
        let Mark::Seen(seen) = self.mark else { return false };
        if BYTE_ORDER_MARK[seen] != byte {
            // It was none, so it is of the first name.
            self.name.extend_from_slice(&BYTE_ORDER_MARK[..seen]);
            self.mark = Mark::Passed;
            return false;
        }
        self.mark = if seen + 1 == BYTE_ORDER_MARK.len() { Mark::Passed } else { Mark::Seen(seen + 1) };
        true
    }

    /// Read on in the name of a field, up to its colon or the end of the line.
    fn read_name(&mut self, chunk: &mut Bytes) -> Option<Step> {
        let end = memchr3(b':', b'\r', b'\n', chunk);
        let part = chunk.split_to(end.unwrap_or(chunk.len()));
        let room = NAME.saturating_sub(self.name.len());
        self.name.extend_from_slice(&part[..part.len().min(room)]);
        end?;
        if chunk[0] == b':' {
            chunk.advance(1);
            self.after_colon = true;
            return self.begin_field();
        }
        if !self.name.is_empty() {
            // The end of the line stays: it is the end of an empty value.
            return self.begin_field();
        }
        self.take_line_end(chunk);
        self.end_event()
    }

    fn begin_field(&mut self) -> Option<Step> {
        let field = Field::of(&self.name);
        self.name.clear();
        self.field = Some(field);
        (field == Field::Data).then(|| Step::Line { first: !std::mem::replace(&mut self.has_data, true) })
    }

    /// Read on in the value of `field`, up to the end of the line.
    fn read_value(&mut self, field: Field, chunk: &mut Bytes) -> Result<Option<Step>> {
        if std::mem::take(&mut self.after_colon) && chunk[0] == b' ' {
            chunk.advance(1);
        }
        let end = memchr2(b'\r', b'\n', chunk);
        let part = chunk.split_to(end.unwrap_or(chunk.len()));
        match field {
            Field::Data if !part.is_empty() => return Ok(Some(Step::Data(part))),
            Field::Data | Field::Ignored => {}
            _ => self.extend_value(&part)?,
        }
        if end.is_some() {
            self.take_line_end(chunk);
            self.end_field(field);
        }
        Ok(None)
    }

    fn extend_value(&mut self, part: &[u8]) -> Result<()> {
        if self.value.len() + part.len() > MOST_OF_A_FIELD {
            let subject = "an event of the reply has a type or an id of more than 64 KiB";
            return Err(Error::new(ErrorKind::Protocol, subject));
        }
        self.value.extend_from_slice(part);
        Ok(())
    }

    fn take_line_end(&mut self, chunk: &mut Bytes) {
        self.after_cr = chunk[0] == b'\r';
        chunk.advance(1);
    }

    fn end_field(&mut self, field: Field) {
        self.field = None;
        let value = std::mem::take(&mut self.value);
        match field {
            Field::Event => self.event = String::from_utf8_lossy(&value).into_owned(),
            Field::Id if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(&value).into_owned()),
            Field::Retry if value.iter().all(u8::is_ascii_digit) => {
                let milliseconds = std::str::from_utf8(&value).ok().and_then(|digits| digits.parse().ok());
                self.retry = milliseconds.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }

    /// An empty line: what came before is an event, if it has data.
    fn end_event(&mut self) -> Option<Step> {
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data)
            .then(|| Step::Event(if event.is_empty() { "message".to_owned() } else { event }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = (Vec<(String, Option<String>, Vec<u8>)>, Option<Duration>, bool);

    /// What is read of `chunks`: events, the time to wait, and whether an event was left incomplete.
    fn read(chunks: impl IntoIterator<Item = Vec<u8>>) -> Read {
        let (mut lines, mut data, mut events) = (Lines::default(), Vec::new(), Vec::new());
        for chunk in chunks {
            let mut chunk = Bytes::from(chunk);
            while let Some(step) = lines.next(&mut chunk).expect("short fields") {
                match step {
                    Step::Line { first } => data.extend((!first).then_some(b'\n')),
                    Step::Data(bytes) => data.extend_from_slice(&bytes),
                    Step::Event(event) => {
                        events.push((event, lines.id().map(str::to_owned), std::mem::take(&mut data)));
                    }
                }
            }
            assert!(chunk.is_empty());
        }
        (events, lines.retry(), lines.is_within_event())
    }

    /// The same by the letter of the standard, over the whole text.
    fn reference(text: &[u8]) -> Read {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let (mut complete, mut line, mut bytes) = (Vec::new(), Vec::new(), text.iter().peekable());
        while let Some(&byte) = bytes.next() {
            match byte {
                b'\r' => {
                    bytes.next_if(|next| **next == b'\n');
                    complete.push(std::mem::take(&mut line));
                }
                b'\n' => complete.push(std::mem::take(&mut line)),
                _ => line.push(byte),
            }
        }
        let (mut events, mut id, mut retry) = (Vec::new(), None, None);
        let (mut event, mut data) = (String::new(), Vec::<Vec<u8>>::new());
        for line in complete {
            if line.is_empty() {
                let name = std::mem::take(&mut event);
                let data = std::mem::take(&mut data);
                if !data.is_empty() {
                    let name = if name.is_empty() { "message".to_owned() } else { name };
                    events.push((name, id.clone(), data.join(&b'\n')));
                }
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let text = String::from_utf8_lossy(value).into_owned();
            match &line[..colon] {
                b"data" => data.push(value.to_vec()),
                b"event" => event = text,
                b"id" if !text.contains('\0') => id = Some(text),
                b"retry" if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    retry = text.parse().ok().map(Duration::from_millis).or(retry);
                }
                _ => {}
            }
        }
        let unfinished = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => [&b"data"[..], b"event", b"id", b"retry"].contains(&&line[..colon]),
            None => !line.is_empty(),
        };
        (events, retry, !data.is_empty() || unfinished)
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "data",
            "event",
            "id",
            "retry",
            ":",
            ":",
            " ",
            "\n",
            "\n",
            "\r",
            "\r\n",
            "\n\n",
            "\u{FEFF}",
            "\0",
            "{\"a\":1}",
            "12",
            "database",
            "é",
        ];
        let lines =
            ["data: x\n", "data:{}\r\n", "id: 7\r", ": keep-alive\n\n", "event: e\n", "retry: 5\n", "\n"];
        let words = prop::sample::select([&words[..], &lines[..]].concat());
        prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_chunks_give_what_the_standard_says(text in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|cut| text[cut[0]..cut[1]].to_vec());
            prop_assert_eq!(read(chunks), reference(&text));
            prop_assert_eq!(read(text.chunks(1).map(<[u8]>::to_vec)), reference(&text));
        }
    }

    #[test]
    fn an_event_is_what_stands_between_empty_lines() {
        let text = b"\xEF\xBB\xBF: hello\r\n\r\nid: 1\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nevent: end\ndata\n\nid: 2\n\n";
        let events = vec![
            ("message".to_owned(), Some("1".to_owned()), b"{\"a\":\n1}".to_vec()),
            ("end".to_owned(), Some("1".to_owned()), Vec::new()),
        ];
        assert_eq!(read([text.to_vec()]), (events, None, false));
    }

    #[test]
    fn data_of_one_chunk_are_not_copied() {
        let mut chunk = Bytes::from_static(b"data: abcdef\n\n");
        let begin = chunk.as_ptr();
        let mut lines = Lines::default();
        assert_eq!(lines.next(&mut chunk).expect("short"), Some(Step::Line { first: true }));
        let Some(Step::Data(data)) = lines.next(&mut chunk).expect("short") else { panic!("data") };
        assert_eq!((&data[..], data.as_ptr()), (&b"abcdef"[..], begin.wrapping_add(6)));
        assert_eq!(lines.next(&mut chunk).expect("short"), Some(Step::Event("message".into())));
    }

    #[test]
    fn a_field_without_end_is_refused_and_a_comment_without_end_takes_no_memory() {
        let mut lines = Lines::default();
        let endless = || Bytes::from(vec![b'x'; 32 << 10]);
        assert_eq!(lines.next(&mut Bytes::from_static(b"ignored: ")).expect("short"), None);
        for _ in 0..100 {
            assert_eq!(lines.next(&mut endless()).expect("skipped"), None);
        }
        assert_eq!((lines.value.capacity(), lines.name.capacity() < 64), (0, true));
        assert_eq!(lines.next(&mut Bytes::from_static(b"\nid: ")).expect("short"), None);
        for _ in 0..2 {
            assert_eq!(lines.next(&mut endless()).expect("short"), None);
        }
        let error = lines.next(&mut endless()).expect_err("longer than 64 KiB");
        assert_eq!(*error.kind(), ErrorKind::Protocol);
    }
}
