//! JSON documents of any length in the shapes that agents send.
//!
//! A document is an opening bracket, a shared block of elements over and over, one last element
//! stretched to what is left, and a closing bracket. So its length is exactly the one asked for
//! (or the shortest document of its shape, if that is longer), and 256 MiB cost no generation.

use std::fmt::Write;
use std::sync::OnceLock;

use bytes::Bytes;

use super::source::{Rope, SplitMix64};

/// Elements are generated until a block has this length; it is what one frame carries.
const BLOCK_LENGTH: usize = 1 << 20;

/// Numbers in one embedding.
const DIMENSIONS: usize = 1_024;

/// The shortest number of an embedding: `-0.1`.
const SHORTEST_NUMBER: usize = 4;

/// Bytes of an embedding inside a block: numbers of ten characters, as float32 vectors have.
const EMBEDDING_LENGTH: usize = DIMENSIONS * (10 + 1) + 1;

/// More digits than this would only be rounded away: a double holds 15.
const MOST_DIGITS: u32 = 15;

/// What stretches the last element: plain ASCII, so that it may be cut anywhere.
const FILLER: &str = "All that was asked has been done, and the agent adds a few words more. ";

/// Contents of JSON strings, escaped as a peer may escape them: plain, non-ASCII, short escapes,
/// `\u` escapes with a surrogate pair.
const TEXTS: [&str; 6] = [
    r"What will the weather be in Zürich tomorrow?",
    r"Cloudy, 14 °C, rain from 16:00 on. 東京 stays dry: 22 °C ☀ and a light wind from the south.",
    r#"The report says:\n\t\"revenue grew by 12 %\"\nand names no reason; see C:\\reports\\2026."#,
    r"caf\u00e9, na\u00efve, \ud83d\ude80 and 🚀 are the same to a reader of JSON.",
    r"ok",
    r"I compared the three offers. The first is the cheapest but ships in six weeks; the second costs eight per cent more and ships at once; the third includes the service contract that the other two leave out. Since the line stands still until the part arrives, the second is the one to take, and the contract can be signed later without a surcharge.",
];

/// What a document is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One long string with an escape here and there.
    Text,
    /// Messages as A2A has them: role and parts with text, some of it non-ASCII or escaped.
    Messages,
    /// Arrays of 1,024 numbers; below 5 KiB, one shorter array.
    Embeddings,
    /// Records of id, name, score, active and created.
    Table,
}

impl Shape {
    /// Every shape, in the order of its declaration.
    pub const ALL: [Shape; 4] = [Shape::Text, Shape::Messages, Shape::Embeddings, Shape::Table];

    /// The shape that a URL calls `name`.
    pub fn from_name(name: &str) -> Option<Shape> {
        Shape::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// The shape's name in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Text => "text",
            Shape::Messages => "messages",
            Shape::Embeddings => "embeddings",
            Shape::Table => "table",
        }
    }

    fn brackets(self) -> (&'static str, &'static str) {
        match self {
            Shape::Text => ("\"", "\""),
            _ => ("[", "]"),
        }
    }

    /// The element `index` of a block, with what separates it from the next.
    fn element(self, index: usize) -> String {
        let text = TEXTS[index % TEXTS.len()];
        match self {
            Shape::Text => format!(r"{index:06} {FILLER}{FILLER}\n"),
            Shape::Messages => message(index, text) + ",",
            Shape::Embeddings => embedding(index, EMBEDDING_LENGTH) + ",",
            Shape::Table => record(index, text) + ",",
        }
    }

    /// The element that ends a document: of `length` bytes, or the shortest there is.
    fn last_element(self, length: usize) -> String {
        match self {
            Shape::Text => filler(length),
            Shape::Messages => stretch(length, |text| message(0, text)),
            Shape::Embeddings => embedding(0, length),
            Shape::Table => stretch(length, |text| record(0, text)),
        }
    }

    /// The room to leave for the last element.
    fn shortest_last_element(self) -> usize {
        match self {
            Shape::Embeddings => DIMENSIONS * (SHORTEST_NUMBER + 1) + 1,
            _ => self.last_element(0).len(),
        }
    }

    fn block(self) -> &'static Block {
        static BLOCKS: [OnceLock<Block>; Shape::ALL.len()] = [const { OnceLock::new() }; Shape::ALL.len()];
        BLOCKS[self as usize].get_or_init(|| Block::new(self))
    }
}

/// A document of `shape`: `length` bytes, or the shortest there is if that is longer.
pub fn document(shape: Shape, length: u64) -> Rope {
    let (open, close) = shape.brackets();
    let inner = length.saturating_sub(2);
    let block = shape.block();
    let whole = block.whole_elements(inner.saturating_sub(shape.shortest_last_element() as u64));
    let rest = usize::try_from(inner - whole).expect("less than one element is left");
    Rope::default().then(open).repeat(block.bytes.clone(), whole).then(shape.last_element(rest)).then(close)
}

/// Elements one after the other, and where each of them ends.
struct Block {
    bytes: Bytes,
    ends: Vec<usize>,
}

impl Block {
    fn new(shape: Shape) -> Self {
        let mut text = String::with_capacity(BLOCK_LENGTH + EMBEDDING_LENGTH);
        let mut ends = Vec::new();
        while text.len() < BLOCK_LENGTH {
            text.push_str(&shape.element(ends.len()));
            ends.push(text.len());
        }
        Self { bytes: text.into(), ends }
    }

    /// The longest run of whole elements, over and over, within `room` bytes.
    fn whole_elements(&self, room: u64) -> u64 {
        let length = self.bytes.len() as u64;
        let rest = room % length;
        let fitting = self.ends.partition_point(|end| *end as u64 <= rest);
        let cut = fitting.checked_sub(1).map_or(0, |last| self.ends[last]);
        room - rest + cut as u64
    }
}

fn message(index: usize, text: &str) -> String {
    let role = if index.is_multiple_of(2) { "agent" } else { "user" };
    format!(
        r#"{{"kind":"message","messageId":"message-{index:06}","role":"{role}","parts":[{{"kind":"text","text":"{text}"}}]}}"#
    )
}

fn record(index: usize, name: &str) -> String {
    let word = SplitMix64::new(index as u64).next_word();
    let (score, active) = (word % 10_000, word & (1 << 40) == 0);
    let (day, hour, minute) = (word % 28 + 1, word % 24, word % 60);
    format!(
        r#"{{"id":{index},"name":"{name}","score":0.{score:04},"active":{active},"created":"2026-03-{day:02}T{hour:02}:{minute:02}:00Z"}}"#
    )
}

/// An array of `length` bytes: 1,024 numbers, or as many as fit, all of about the same length.
fn embedding(seed: usize, length: usize) -> String {
    let count = (length.saturating_sub(1) / (SHORTEST_NUMBER + 1)).clamp(1, DIMENSIONS);
    let characters = length.saturating_sub(count + 1).max(count * SHORTEST_NUMBER);
    let mut random = SplitMix64::new(seed as u64);
    let mut array = String::with_capacity(length);
    for index in 0..count {
        let longer = usize::from(index < characters % count);
        array.push(if index == 0 { '[' } else { ',' });
        push_number(&mut array, random.next_word(), characters / count + longer);
    }
    array.push(']');
    array
}

/// Append a number between -1 and 1 of `length` characters.
fn push_number(array: &mut String, word: u64, length: usize) {
    let sign = if word.is_multiple_of(2) { "" } else { "-" };
    let digits = length - sign.len() - "0.".len();
    let random_digits = u32::try_from(digits).map_or(MOST_DIGITS, |digits| digits.min(MOST_DIGITS));
    let fraction = (word >> 1) % 10_u64.pow(random_digits);
    write!(array, "{sign}0.{fraction:0digits$}").expect("a String takes all that is written");
}

fn stretch(length: usize, element: impl Fn(&str) -> String) -> String {
    element(&filler(length.saturating_sub(element("").len())))
}

fn filler(length: usize) -> String {
    FILLER.chars().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const LENGTHS: [u64; 12] =
        [64, 100, 1_000, 5_000, 5_122, 5_123, 5_124, 16_385, 20_000, 65_536, 1_048_576, 3_333_333];

    fn text_of(shape: Shape, length: u64) -> String {
        let bytes: Vec<u8> = document(shape, length).flat_map(Vec::from).collect();
        String::from_utf8(bytes).unwrap()
    }

    fn parsed(shape: Shape, length: u64) -> Value {
        serde_json::from_str(&text_of(shape, length)).unwrap()
    }

    #[test]
    fn every_document_is_valid_and_as_long_as_asked() {
        for shape in Shape::ALL {
            for length in LENGTHS {
                let text = text_of(shape, length);
                let longest = if length < 200 { length + 1_023 } else { length };
                assert!((length..=longest).contains(&(text.len() as u64)), "{shape:?} {length}");
                assert!(serde_json::from_str::<Value>(&text).is_ok(), "{shape:?} {length}");
            }
        }
    }

    #[test]
    fn a_length_below_the_shortest_document_gives_the_shortest() {
        for shape in Shape::ALL {
            assert_eq!(text_of(shape, 0), text_of(shape, 1));
            assert!(serde_json::from_str::<Value>(&text_of(shape, 0)).is_ok());
        }
    }

    #[test]
    fn a_gibibyte_is_announced_exactly_and_ends_on_a_whole_element() {
        for shape in Shape::ALL {
            assert_eq!(document(shape, 1 << 30).remaining(), 1 << 30);
        }
    }

    #[test]
    fn embeddings_are_rectangular_at_every_length_above_one_array() {
        for length in [5_123, 16_387, 16_388, 50_000, 1_048_576] {
            let rows = parsed(Shape::Embeddings, length);
            for row in rows.as_array().unwrap() {
                let row = row.as_array().unwrap();
                assert_eq!(row.len(), DIMENSIONS, "at {length}");
                assert!(row.iter().all(|number| number.as_f64().unwrap().abs() < 1.0));
            }
        }
    }

    #[test]
    fn messages_have_a_role_and_text_with_all_kinds_of_escapes() {
        let messages = parsed(Shape::Messages, 4_000);
        assert_eq!(messages[1]["role"], "user");
        assert!(messages[0]["parts"][0]["text"].as_str().unwrap().contains("Zürich"));
        assert!(messages[3]["parts"][0]["text"].as_str().unwrap().contains("café, naïve, 🚀 and 🚀"));
    }

    #[test]
    fn records_have_their_five_fields() {
        let records = parsed(Shape::Table, 4_000);
        let record = records[4].as_object().unwrap();
        assert_eq!(record.len(), 5);
        assert_eq!((&record["id"], &record["name"]), (&4.into(), &"ok".into()));
        assert!(record["score"].is_f64() && record["active"].is_boolean());
        assert!(record["created"].as_str().unwrap().starts_with("2026-03-"));
    }

    #[test]
    fn a_shape_is_found_by_its_name_only() {
        assert!(Shape::ALL.iter().all(|shape| Shape::from_name(shape.name()) == Some(*shape)));
        assert_eq!(Shape::from_name("Text"), None);
    }
}
