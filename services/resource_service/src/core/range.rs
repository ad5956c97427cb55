//! Byte ranges (RFC 9110, section 14).

use mcpgateway_engine::http::HeaderMap;
use mcpgateway_engine::{Error, Result};

/// Which bytes of a resource a reply has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) start: u64,
    /// The first byte after them.
    pub(super) end: u64,
    /// Bytes of the whole resource, if the server knows.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// What the header `Content-Range` of a reply with status 206 says.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        let mut values = headers.get_all("content-range").iter();
        let text = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        };
        text.and_then(Self::parse).ok_or_else(|| {
            Error::invalid_reply(
                "the server sent a part of the resource without saying which (Content-Range)",
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.trim().split_once('-')?;
        let (start, last) = (number(first)?, number(last)?);
        let end = last.checked_add(1)?;
        let total = match total.trim() {
            "*" => None,
            total => Some(number(total)?),
        };
        let holds = start < end && total.is_none_or(|total| end <= total);
        (holds && unit.eq_ignore_ascii_case("bytes")).then_some(Self { start, end, total })
    }
}

/// The value of a header `Range` that asks for the bytes from `start` to before `end`.
pub(super) fn asking_for(start: u64, end: Option<u64>) -> String {
    match end {
        Some(end) => format!("bytes={start}-{}", end.saturating_sub(1)),
        None => format!("bytes={start}-"),
    }
}

/// Digits alone: `u64::from_str` would take a sign, too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_only_if_it_can_be_one() {
        let range = |start, end, total| Some(ContentRange { start, end, total });
        assert_eq!(ContentRange::parse("bytes 0-4/10"), range(0, 5, Some(10)));
        assert_eq!(ContentRange::parse("Bytes 5-9/10"), range(5, 10, Some(10)));
        assert_eq!(ContentRange::parse("bytes 5-9/*"), range(5, 10, None));
        for wrong in [
            "",
            "bytes",
            "bytes */10",
            "bytes 0-4",
            "bytes 4-0/10",
            "bytes 0-10/10",
            "bytes -4/10",
            "bytes +0-4/10",
            "bytes 0-18446744073709551615/*",
            "items 0-4/10",
            "bytes 0-4/ten",
            "bytes a-b/10",
            "bytes=0-4/10",
        ] {
            assert_eq!(ContentRange::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_for_ends_with_its_last_byte() {
        assert_eq!(
            (asking_for(0, Some(10)), asking_for(7, None)),
            ("bytes=0-9".to_owned(), "bytes=7-".to_owned())
        );
    }
}
