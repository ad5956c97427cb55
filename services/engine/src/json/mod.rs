//! JSON outside the GIL, by SIMD.

use simd_json::{Node, Tape};

use crate::error::{Error, ErrorKind, Phase, Result, Sent};

/// Arrays and objects may be nested this deep.
pub const MAX_DEPTH: usize = 1024;

/// Check that `bytes` are JSON (RFC 8259), nested at most [`MAX_DEPTH`] deep.
///
/// # Errors
/// [`ErrorKind::InvalidReply`] when they are not.
pub fn validate(bytes: &[u8]) -> Result<()> {
    // The parser writes into its input, which may be shared: it gets a copy of its own.
    let deepest = match parse_depth(&mut bytes.to_vec()) {
        // Numbers of any size are JSON, but not all are numbers that the parser can hold.
        Err(cause) if *cause.error() == simd_json::ErrorType::InvalidNumber => {
            parse_depth(&mut with_short_numbers(bytes))
        }
        parsed => parsed,
    };
    match deepest {
        Ok(deepest) if deepest <= MAX_DEPTH => Ok(()),
        Ok(_) => Err(invalid("the reply is JSON nested deeper than 1024 arrays and objects")),
        Err(cause) => Err(invalid("the reply is not JSON").with_source(cause)),
    }
}

fn parse_depth(scratch: &mut [u8]) -> simd_json::Result<usize> {
    simd_json::to_tape(scratch).map(|tape| depth(&tape))
}

/// `text` with the digits of its numbers cut to what every parser can hold: as valid as it was.
fn with_short_numbers(text: &[u8]) -> Vec<u8> {
    const ENOUGH: usize = 18;
    let mut short = Vec::with_capacity(text.len());
    let (mut in_string, mut is_escaped, mut digits, mut in_exponent) = (false, false, 0, false);
    for &byte in text {
        digits = if byte.is_ascii_digit() && !in_string { digits + 1 } else { 0 };
        in_exponent = !in_string
            && (matches!(byte, b'e' | b'E') || (in_exponent && matches!(byte, b'+' | b'-' | b'0'..=b'9')));
        in_string ^= byte == b'"' && !is_escaped;
        is_escaped = in_string && byte == b'\\' && !is_escaped;
        if digits <= if in_exponent { 1 } else { ENOUGH } {
            short.push(byte);
        }
    }
    short
}

fn invalid(subject: &str) -> Error {
    Error::new(ErrorKind::InvalidReply, subject).with_phase(Phase::Parse).with_sent(Sent::Yes)
}

/// How many arrays and objects are open at the deepest place.
fn depth(tape: &Tape<'_>) -> usize {
    let (mut open_until, mut deepest) = (Vec::new(), 0);
    for (position, node) in tape.0.iter().enumerate() {
        while open_until.last().is_some_and(|end| *end <= position) {
            open_until.pop();
        }
        if let Node::Array { count, .. } | Node::Object { count, .. } = node {
            open_until.push(position + 1 + count);
            deepest = deepest.max(open_until.len());
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_not() {
        assert!(validate(br#"{"a": [1, 2.5, "\u00e9", null, true]}"#).is_ok());
        for digits in [20, 30, 400, 10_000] {
            let many = "7".repeat(digits);
            for text in [
                many.clone(),
                format!("-{many}"),
                format!("[1.{many}]"),
                format!("1e{many}"),
                format!("{{\"{many}\":1E-{many}}}"),
            ] {
                assert!(validate(text.as_bytes()).is_ok(), "{digits} digits");
            }
            assert!(validate(format!("0{many}").as_bytes()).is_err());
            assert!(validate(format!("[{many}.]").as_bytes()).is_err());
        }
        for text in ["", "{", "[1,]", "nul", "{\"a\":1}}", "\"\u{1}\"", "NaN", r#""\ud800""#, "\u{feff}1"] {
            assert_eq!(*validate(text.as_bytes()).expect_err(text).kind(), ErrorKind::InvalidReply);
        }
    }

    #[test]
    fn depth_is_bounded() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested =
                |depth: usize| format!("[1,{}1{},[2]]", open.repeat(depth - 1), close.repeat(depth - 1));
            assert!(validate(nested(MAX_DEPTH).as_bytes()).is_ok());
            assert!(validate(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        }
    }
}
