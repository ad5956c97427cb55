//! `data:` URLs (RFC 2397), which are their own resource.

use mcpgateway_engine::{Error, Payload, Result};
use percent_encoding::percent_decode;

/// What a URL without a content type has.
const DEFAULT_TYPE: &str = "text/plain;charset=US-ASCII";

/// The content type and the bytes that `url` says.
///
/// # Errors
/// [`InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when it has no comma, or base64 that is none.
pub(super) fn read(url: &str) -> Result<(String, Payload)> {
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (kind, data) = rest
        .split_once(',')
        .ok_or_else(|| Error::invalid_request("the data: URL has no comma before its data"))?;
    let (kind, is_base64) = match kind.trim().rsplit_once(';') {
        Some((kind, last)) if last.trim().eq_ignore_ascii_case("base64") => (kind, true),
        _ => (kind, false),
    };
    let decoded: Vec<u8> = percent_decode(data.as_bytes()).collect();
    let bytes = if is_base64 {
        base64_simd::forgiving_decode_to_vec(&decoded)
            .map_err(|_| Error::invalid_request("the data: URL says that it is base64, and it is not"))?
    } else {
        decoded
    };
    Ok((content_type(kind.trim()), bytes.into()))
}

fn content_type(kind: &str) -> String {
    match kind {
        "" => DEFAULT_TYPE.to_owned(),
        // With parameters alone it is text.
        kind if kind.starts_with(';') => format!("text/plain{kind}"),
        kind => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_is_decoded_as_it_says() {
        for (url, kind, bytes) in [
            ("data:,a%20b%2C", DEFAULT_TYPE, &b"a b,"[..]),
            ("data:text/html,<p>", "text/html", b"<p>"),
            ("DATA:;charset=utf-8,%C3%BC", "text/plain;charset=utf-8", "ü".as_bytes()),
            ("data:image/png;base64,AAEC", "image/png", &[0, 1, 2]),
            ("data:a/b;x=1; BASE64 ,AA%3D%3D", "a/b;x=1", &[0]),
            ("data:;base64,A A\nE=", DEFAULT_TYPE, &[0, 1]),
            ("data:a/b;base64,AAE#part", "a/b", &[0, 1]),
            ("data:a/b,", "a/b", b""),
            ("data:a/b,x,y", "a/b", b"x,y"),
        ] {
            let (found, body) = read(url).expect(url);
            assert_eq!((found.as_str(), body.into_bytes().expect("small").as_ref()), (kind, bytes), "{url}");
        }
    }

    #[test]
    fn what_is_no_data_is_refused() {
        for url in
            ["data:", "data:a/b", "data:;base64", "data:;base64,A", "data:;base64,AA-_", "data:;base64,%ff"]
        {
            let error = read(url).expect_err(url);
            assert_eq!(*error.kind(), mcpgateway_engine::ErrorKind::InvalidRequest);
        }
    }
}
