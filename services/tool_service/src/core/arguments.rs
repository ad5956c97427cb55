//! What a tool is called with: a JSON object that is sent from where it lies.

use mcpgateway_engine::json;
use mcpgateway_engine::{Error, ErrorKind, Payload, Result, runtime};

/// Texts below this many bytes are checked where they are: a thread for them would take longer.
const CHECK_IN_PLACE: u64 = 64 << 10;

/// The arguments of a call, as the text of a JSON object.
#[derive(Clone, Debug)]
pub enum Arguments {
    /// Known to be one.
    Checked(Payload),
    /// To be checked before it is sent, as whatever else it were would be read as part of the message around it.
    Unchecked(Payload),
}

impl Arguments {
    /// No arguments at all.
    #[must_use]
    pub fn none() -> Self {
        Self::Checked("{}".into())
    }

    /// The object, checked if it was not, and left where it lies.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it is no JSON object; those of [`Payload::into_bytes`] when it is a rope that
    /// is none, and has to be gathered to say why.
    pub async fn into_json(self) -> Result<Payload> {
        match self {
            Self::Checked(object) => Ok(object),
            Self::Unchecked(text) if text.len() < CHECK_IN_PLACE => checked(text),
            Self::Unchecked(text) => runtime::blocking(move || checked(text)).await?,
        }
    }
}

fn checked(text: Payload) -> Result<Payload> {
    let no_object = || Error::invalid_request("the arguments of a tool are a JSON object: pass one");
    let first = text.clone().into_frames().flatten().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(b'{') {
        return Err(no_object());
    }
    json::check_payload(&text).map_err(|cause| match cause.kind() {
        ErrorKind::Json(_) => no_object().with_source(cause),
        _ => cause,
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_would_end_the_message_around_it_is_refused() {
        for text in ["", "[]", "1", "{", r#"{},"method":"x""#, r"{}} {", "{\"a\":NaN}"] {
            let refused = Arguments::Unchecked(text.into()).into_json().await.expect_err(text);
            assert_eq!(*refused.kind(), ErrorKind::InvalidRequest, "{text}");
        }
    }

    #[tokio::test]
    async fn a_large_object_is_checked_where_it_lies() {
        let text = bytes::Bytes::from(format!(r#" {{"a":"{}"}}"#, "x".repeat(1 << 20)));
        let checked = Arguments::Unchecked(text.clone().into()).into_json().await.expect("an object");
        assert_eq!(checked.as_bytes().map(|bytes| bytes.as_ptr()), Some(text.as_ptr()));
    }

    #[tokio::test]
    async fn a_rope_is_checked_where_it_lies_and_refused_if_it_is_no_object() {
        let large = bytes::Bytes::from(vec![b'x'; 1 << 20]);
        let rope = |before: &'static str, behind: &'static str| {
            Arguments::Unchecked(Payload::join([before.into(), large.clone().into(), behind.into()]))
        };
        let checked = rope(" {\"a\":\"", "\"}").into_json().await.expect("an object");
        assert_eq!(checked.into_frames().nth(1).map(|frame| frame.as_ptr()), Some(large.as_ptr()));
        for (before, behind) in [("[\"", "\"]"), ("{\"a\":", "}"), ("{\"a\":\"", "\"},\"method\":\"x\"")] {
            let refused = rope(before, behind).into_json().await.expect_err(before);
            assert_eq!(*refused.kind(), ErrorKind::InvalidRequest, "{before}");
        }
    }
}
