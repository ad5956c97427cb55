//! Whether a rope is JSON, without gathering it.
//!
//! [`Machine`] takes the segments one after the other and keeps what crosses from one to the next: open containers, a
//! string, a number, a character. It only says whether; where and why is found in the gathered text, which takes its
//! time. The inside of strings is looked at by large blocks; arrays and objects that a segment holds as a whole are
//! left to [`grammar`](super::grammar). What else is long, such as an array of numbers cut in two, is read byte by byte.

use std::sync::atomic::AtomicBool;

use super::document::{Document, MAX_DEPTH, MOST_BYTES, Options, check};
use super::grammar::{Bounds, Nothing, Reader};
use super::node::Node;
use super::text::plain_blocks;
use crate::error::Result;
use crate::payload::{Part, Payload};

/// Containers in segments with so many bytes left are worth the other reader.
const LONG: usize = 64 << 10;
/// Bytes of a string looked at and checked for UTF-8 at a time: few enough to be in the cache the second time.
const PIECE: usize = 32 << 10;

/// Check that `text` is JSON, without gathering it if it is: parts that are encoded while they are sent are known to
/// be fit for strings.
///
/// # Errors
/// As for [`check`], and those of [`Payload::into_bytes`] for what turned out not to be JSON.
pub fn check_payload(text: &Payload) -> Result<()> {
    let is_short = usize::try_from(text.len()).is_ok_and(|len| len <= MOST_BYTES);
    if text.as_bytes().is_none() && is_short && Machine::accepts(text) {
        return Ok(());
    }
    check(&text.clone().into_bytes()?, &Options::default())
}

/// The document that a rope is, but for its long segments inside of strings: only the rest is gathered.
#[derive(Debug)]
pub struct Outline {
    document: Document,
    /// Where in its text segments are left out.
    cuts: Vec<u64>,
}

impl Outline {
    /// The outline of `text`, which is JSON. Keys are whole in it.
    ///
    /// # Errors
    /// As for [`Document::parse`], and those of [`Payload::into_bytes`].
    pub fn of(text: &Payload) -> Result<Self> {
        let (mut machine, mut cuts, mut kept) = (Machine::default(), Vec::new(), 0);
        let outline = text.retained(|part, len| {
            let is_cut = machine.is_within_a_value_throughout(&part) && len >= LONG as u64;
            if is_cut {
                cuts.push(kept);
            } else {
                kept += len;
            }
            !is_cut
        });
        let document = Document::parse(outline.into_bytes()?, &Options::default())?;
        Ok(Self { document, cuts })
    }

    /// The value of the whole text.
    #[must_use]
    pub fn root(&self) -> Node {
        self.document.root()
    }

    /// Whether nothing of `value`, one of this outline, is left out.
    #[must_use]
    pub fn has_whole(&self, value: &Node) -> bool {
        let start = value.offset() as u64;
        let inside = start..start + value.span() as u64;
        !self.cuts.iter().any(|cut| inside.contains(cut))
    }
}

/// Where in a text the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value, or the end of an array that has none.
    Value {
        may_end: bool,
    },
    /// Before a key, or the end of an object that has none.
    Key {
        may_end: bool,
    },
    Colon,
    AfterValue,
    InString,
    /// Behind a backslash.
    Escape,
    /// Within the four digits of an escape, of which so many came.
    Unit {
        digits: u8,
        unit: u16,
    },
    /// Where the backslash of a low surrogate has to be, and where its u.
    LowEscape,
    LowUnit,
    Number(Digits),
    /// What is left of `true`, `false` or `null`.
    Literal(&'static [u8]),
}

/// Where in a number the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

/// That the text is no JSON, or too deep.
struct Malformed;

type Step<T = ()> = std::result::Result<T, Malformed>;

struct Machine {
    state: State,
    /// How many strings have begun.
    strings: u64,
    /// Of each open container, whether it is an object.
    open: Vec<bool>,
    /// The string is a key.
    is_key: bool,
    /// The unit before was a high surrogate.
    is_low: bool,
    character: Unfinished,
}

impl Default for Machine {
    /// Before the first byte.
    fn default() -> Self {
        Self {
            state: State::Value { may_end: false },
            strings: 0,
            open: Vec::new(),
            is_key: false,
            is_low: false,
            character: Unfinished::default(),
        }
    }
}

impl Machine {
    fn accepts(text: &Payload) -> bool {
        let mut machine = Self::default();
        text.parts().all(|part| machine.take(&part).is_ok()) && machine.is_at_end()
    }

    fn take(&mut self, part: &Part<'_>) -> Step {
        match part {
            Part::Bytes(bytes) => self.read(bytes),
            Part::InsideString if self.state == State::InString && self.character.is_none() => Ok(()),
            Part::InsideString => Err(Malformed),
        }
    }

    /// Read `part`, and say whether it lies within one string that is a value, and begins and ends between characters.
    fn is_within_a_value_throughout(&mut self, part: &Part<'_>) -> bool {
        let is_within = |machine: &Self| {
            machine.state == State::InString && !machine.is_key && machine.character.is_none()
        };
        let (was_within, before) = (is_within(self), self.strings);
        self.take(part).is_ok() && was_within && is_within(self) && before == self.strings
    }

    fn is_at_end(&self) -> bool {
        let is_complete = match self.state {
            State::AfterValue => true,
            State::Number(digits) => digits.are_complete(),
            _ => false,
        };
        is_complete && self.open.is_empty()
    }

    fn read(&mut self, bytes: &[u8]) -> Step {
        let (mut rest, mut is_worth_it) = (bytes, true);
        while let Some(&byte) = rest.first() {
            let is_long = rest.len() >= LONG && is_worth_it;
            let read = match self.state {
                State::InString => self.text(rest)?,
                State::Value { .. } if is_long && matches!(byte, b'{' | b'[') => {
                    let end = self.container(rest);
                    is_worth_it = end.is_some();
                    match end {
                        Some(end) => end,
                        None => self.byte(byte)?,
                    }
                }
                _ => self.byte(byte)?,
            };
            rest = &rest[read..];
        }
        Ok(())
    }

    /// Read the container that begins here, if it is JSON and ends here too; returns its length.
    fn container(&mut self, text: &[u8]) -> Option<usize> {
        let bounds = Bounds { depth: MAX_DEPTH - self.open.len(), nodes: usize::MAX };
        let running = AtomicBool::new(false);
        let mut reader = Reader::new(text, bounds, &running);
        let start = reader.next().ok()?;
        let end = reader.value(start, 0, &mut Nothing).ok()?;
        if reader.has_stopped() {
            return None;
        }
        self.state = State::AfterValue;
        Some(end)
    }

    /// Read on within a string; returns how far.
    fn text(&mut self, text: &[u8]) -> Step<usize> {
        let piece = &text[..text.len().min(PIECE)];
        let (blocks, _) = plain_blocks(piece);
        let stops = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let end = blocks + piece[blocks..].iter().position(stops).unwrap_or(piece.len() - blocks);
        self.character.read_on(&piece[..end])?;
        let Some(stop) = piece.get(end) else { return Ok(end) };
        if !self.character.is_none() {
            return Err(Malformed);
        }
        self.state = match stop {
            b'"' if self.is_key => State::Colon,
            b'"' => State::AfterValue,
            b'\\' => State::Escape,
            _ => return Err(Malformed),
        };
        Ok(end + 1)
    }

    /// Read one byte outside of the plain part of strings; returns 1, or 0 if it ends a number and is still to be read.
    fn byte(&mut self, byte: u8) -> Step<usize> {
        let is_white_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.state = match self.state {
            State::Value { .. } | State::Key { .. } | State::Colon | State::AfterValue if is_white_space => {
                self.state
            }
            State::Value { may_end: true } if byte == b']' => self.close(false)?,
            State::Value { .. } => self.value(byte)?,
            State::Key { may_end: true } if byte == b'}' => self.close(true)?,
            State::Key { .. } if byte == b'"' => self.string(true),
            State::Colon if byte == b':' => State::Value { may_end: false },
            State::AfterValue => self.after_value(byte)?,
            State::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::InString,
                b'u' => State::Unit { digits: 0, unit: 0 },
                _ => return Err(Malformed),
            },
            State::Unit { digits, unit } => self.unit(digits, unit, byte)?,
            State::LowEscape if byte == b'\\' => State::LowUnit,
            State::LowUnit if byte == b'u' => State::Unit { digits: 0, unit: 0 },
            State::Number(digits) => match digits.next(byte) {
                Some(digits) => State::Number(digits),
                None if digits.are_complete() => {
                    self.state = State::AfterValue;
                    return Ok(0);
                }
                None => return Err(Malformed),
            },
            State::Literal([expected, rest @ ..]) if byte == *expected => {
                if rest.is_empty() {
                    State::AfterValue
                } else {
                    State::Literal(rest)
                }
            }
            _ => return Err(Malformed),
        };
        Ok(1)
    }

    fn value(&mut self, first: u8) -> Step<State> {
        Ok(match first {
            b'"' => self.string(false),
            b'{' => self.open(true)?,
            b'[' => self.open(false)?,
            b'-' => State::Number(Digits::Minus),
            b'0' => State::Number(Digits::Zero),
            b'1'..=b'9' => State::Number(Digits::Whole),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => return Err(Malformed),
        })
    }

    fn string(&mut self, is_key: bool) -> State {
        self.is_key = is_key;
        self.strings += 1;
        State::InString
    }

    fn open(&mut self, is_object: bool) -> Step<State> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Malformed);
        }
        self.open.push(is_object);
        Ok(if is_object { State::Key { may_end: true } } else { State::Value { may_end: true } })
    }

    fn close(&mut self, is_object: bool) -> Step<State> {
        if self.open.pop() == Some(is_object) { Ok(State::AfterValue) } else { Err(Malformed) }
    }

    fn after_value(&mut self, byte: u8) -> Step<State> {
        match (byte, self.open.last()) {
            (b',', Some(true)) => Ok(State::Key { may_end: false }),
            (b',', Some(false)) => Ok(State::Value { may_end: false }),
            (b'}', _) => self.close(true),
            (b']', _) => self.close(false),
            _ => Err(Malformed),
        }
    }

    fn unit(&mut self, digits: u8, unit: u16, byte: u8) -> Step<State> {
        let digit =
            char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok()).ok_or(Malformed)?;
        let unit = unit << 4 | digit;
        if digits < 3 {
            return Ok(State::Unit { digits: digits + 1, unit });
        }
        match (std::mem::take(&mut self.is_low), unit) {
            (false, 0xD800..=0xDBFF) => {
                self.is_low = true;
                Ok(State::LowEscape)
            }
            (false, 0..=0xD7FF | 0xE000..) | (true, 0xDC00..=0xDFFF) => Ok(State::InString),
            _ => Err(Malformed),
        }
    }
}

impl Digits {
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Some(Self::Whole),
            (Self::Zero | Self::Whole, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::Sign),
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Some(Self::Power),
            _ => None,
        }
    }

    fn are_complete(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Power)
    }
}

/// The first bytes of a character whose others are still to come.
#[derive(Default)]
struct Unfinished {
    bytes: [u8; 4],
    len: usize,
}

impl Unfinished {
    fn is_none(&self) -> bool {
        self.len == 0
    }

    /// Check that what is unfinished and `text` are UTF-8, of which the last character may again be unfinished.
    fn read_on(&mut self, mut text: &[u8]) -> Step {
        while self.len > 0
            && let Some((first, rest)) = text.split_first()
        {
            self.bytes[self.len] = *first;
            self.len += 1;
            text = rest;
            self.finish()?;
        }
        if simdutf8::basic::from_utf8(text).is_ok() {
            return Ok(());
        }
        let start = match std::str::from_utf8(text) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => return Err(Malformed),
        };
        self.len = text.len() - start;
        self.bytes[..self.len].copy_from_slice(&text[start..]);
        Ok(())
    }

    /// Nothing is left of a character that is complete.
    fn finish(&mut self) -> Step {
        match std::str::from_utf8(&self.bytes[..self.len]) {
            Ok(_) => self.len = 0,
            Err(error) if error.error_len().is_none() => {}
            Err(_) => return Err(Malformed),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::payload::Alphabet;

    /// `text` as a rope with these cuts, in whatever order.
    fn rope(text: &[u8], mut cuts: Vec<usize>) -> Payload {
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        Payload::join(cuts.windows(2).map(|cut| Payload::from(text[cut[0]..cut[1]].to_vec())))
    }

    fn is_json(text: &[u8]) -> bool {
        check(text, &Options::default()).is_ok()
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"",
            " ",
            "\n",
            "\\",
            "\\\"",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\\ud83d",
            "\\ude00",
            "é",
            "😀",
            "漢",
            "a",
            "\u{1}",
            "true",
            "false",
            "null",
            "0",
            "-",
            "-1",
            "12",
            "3.5",
            "1e",
            "1E+7",
            "-0.5e-3",
            ".",
            "\"a\":",
            "{\"a\":1}",
            "[1,[2]]",
            "\"x\"",
            "[]",
            "{}",
        ];
        let words = prop::collection::vec(prop::sample::select(words.to_vec()), 0..30);
        words.prop_map(|words| words.concat().into_bytes())
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::vec(("[a-c\"\\\\é]{0,3}", inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
        prop::collection::vec(any::<prop::sample::Index>(), 1..20)
    }

    proptest! {
        #[test]
        fn a_rope_is_json_if_its_bytes_are(text in text(), cuts in cuts()) {
            let cuts = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            prop_assert_eq!(Machine::accepts(&rope(&text, cuts)), is_json(&text));
            prop_assert_eq!(Machine::accepts(&rope(&text, (0..text.len()).collect())), is_json(&text));
        }

        #[test]
        fn json_is_accepted_however_it_is_cut_and_with_a_wrong_byte_as_the_other_check_says(
            value in value(), cuts in cuts(), at: prop::sample::Index, wrong: u8, pretty: bool,
        ) {
            let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
            let mut text = text.expect("JSON");
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            prop_assert!(Machine::accepts(&rope(&text, cuts.clone())));
            let at = at.index(text.len());
            text[at] = wrong;
            prop_assert_eq!(Machine::accepts(&rope(&text, cuts)), is_json(&text));
        }
    }

    #[test]
    fn long_segments_are_read_by_blocks_and_as_a_whole() {
        let rows = format!("[{}0]", "{\"id\":1,\"text\":\"é\\n\"},".repeat(10_000));
        let long = "é".repeat(LONG);
        for (text, cuts) in [
            (format!(r#"{{"rows":{rows},"more":{rows}}}"#), vec![8, 8 + rows.len() / 2]),
            (format!(r#"{{"rows":{rows},"more":{rows}}}"#), vec![8, 8 + rows.len()]),
            (format!(r#"{{"data":"{long}"}}"#), vec![9, LONG, LONG + 1, 2 * LONG + 9]),
            (format!("{rows}{rows}"), vec![rows.len()]),
            (format!(r#"{{"rows":{rows}]"#), vec![8]),
            (format!("{{\"data\":\"{long}\t\"}}"), vec![9]),
            // What a block hands out before its fault is seen is not to be trusted.
            (format!("{{\"rows\":{{\"rows\":{rows},\"a\":\"\t\"}}}}"), vec![8]),
            (format!("{{\"rows\":{{\"rows\":{rows},\"a\":\"\\x\"}}}}"), vec![8]),
            (format!("[{}]", rows.replace(",0]", ",]")), vec![1]),
        ] {
            assert_eq!(
                Machine::accepts(&rope(text.as_bytes(), cuts)),
                is_json(text.as_bytes()),
                "{text:.40}"
            );
        }
    }

    #[test]
    fn what_is_encoded_while_it_is_sent_is_for_the_inside_of_strings() {
        let base64 = || Payload::base64(vec![7; 100_000].into(), Alphabet::Standard).expect("short");
        let json = |text: &str| Payload::json_string(text.to_owned().into()).expect("UTF-8");
        let accepts = |parts: Vec<Payload>| check_payload(&Payload::join(parts)).is_ok();
        assert!(accepts(vec![r#"{"a":""#.into(), base64(), r#"","b":"#.into(), json("\n\"é"), "}".into()]));
        assert!(!accepts(vec![r#"{"a":"#.into(), base64(), "}".into()]));
        assert!(!accepts(vec![r#"{"a":"\"#.into(), base64(), r#""}"#.into()]));
        assert!(!accepts(vec!["[\"".into(), vec![0xC3].into(), base64(), "\"]".into()]));
        assert!(!accepts(vec![base64(), "1".into()]));
    }

    #[test]
    fn a_rope_may_be_as_deep_as_a_text_and_no_deeper() {
        for (depth, is_json) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(Machine::accepts(&rope(text.as_bytes(), vec![depth, 7])), is_json);
        }
        let rows = format!("[{}0]", "1,".repeat(LONG));
        let deep = "[".repeat(MAX_DEPTH) + &rows + &"]".repeat(MAX_DEPTH);
        assert!(!Machine::accepts(&rope(deep.as_bytes(), vec![MAX_DEPTH])));
    }

    #[test]
    fn what_is_no_json_is_refused_as_if_it_were_gathered() {
        let text = b"{\"a\": [1, 2,]}";
        let refused = check_payload(&rope(text, vec![3, 9])).expect_err("a comma too many");
        assert_eq!(refused.to_string(), check(text, &Options::default()).expect_err("likewise").to_string());
    }

    #[test]
    fn an_outline_leaves_long_segments_of_values_out_and_knows_which_values_are_whole() {
        let long = || Payload::from("x".repeat(LONG));
        let parts = ["{\"a\":\"1".into(), long(), "2\",\"b\":\"3\",\"".into(), long(), "\":[\"".into()];
        let rest = [long(), long(), "\",\"\\".into(), "n".into(), "\"]}".into()];
        let outline = Outline::of(&Payload::join(parts.into_iter().chain(rest))).expect("JSON");
        let root = outline.root();
        let shown =
            |node: Node| (String::from_utf8(node.raw().to_vec()).expect("UTF-8"), outline.has_whole(&node));
        let under_long_key = root.get(&"x".repeat(LONG)).expect("keys are whole");
        let found = [root.get("a"), root.get("b"), under_long_key.index(0), under_long_key.index(1)];
        assert_eq!(
            found.map(|node| shown(node.expect("there"))),
            [("\"12\"", false), ("\"3\"", true), ("\"\"", false), ("\"\\n\"", true)]
                .map(|(raw, is_whole)| (raw.to_owned(), is_whole))
        );
        assert!(!outline.has_whole(&root));
    }

    #[test]
    fn an_outline_of_what_lies_in_one_piece_is_all_of_it() {
        let text = bytes::Bytes::from(format!("[\"{}\"]", "x".repeat(LONG)));
        let outline = Outline::of(&text.clone().into()).expect("JSON");
        assert!(outline.has_whole(&outline.root()));
        assert_eq!(outline.root().raw().as_ptr(), text.as_ptr());
    }
}
