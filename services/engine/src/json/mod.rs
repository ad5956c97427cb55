//! JSON outside the GIL, by SIMD.

use crate::error::{Error, ErrorKind, Phase, Result, Sent};

/// Check that `bytes` are JSON.
///
/// # Errors
/// [`ErrorKind::InvalidReply`] when they are not.
pub fn validate(bytes: &[u8]) -> Result<()> {
    // The parser writes into its input, which may be shared: it gets a copy of its own.
    let mut scratch = bytes.to_vec();
    simd_json::to_tape(&mut scratch).map(drop).map_err(|cause| {
        Error::new(ErrorKind::InvalidReply, "the reply is not JSON")
            .with_phase(Phase::Parse)
            .with_sent(Sent::Yes)
            .with_source(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_not() {
        assert!(validate(br#"{"a": [1, 2.5, "\u00e9", null, true]}"#).is_ok());
        for text in ["", "{", "[1,]", "nul", "{\"a\":1}}", "\"\u{1}\""] {
            assert_eq!(*validate(text.as_bytes()).expect_err(text).kind(), ErrorKind::InvalidReply);
        }
    }
}
