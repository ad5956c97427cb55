//! What of a request may be shown: neither credentials in its URL, nor what its headers say.

use std::fmt;

use http::HeaderMap;
use url::Url;

/// `url` without userinfo, query and fragment, for people to read; of what is no URL with a path, nothing but its
/// scheme.
#[must_use]
pub fn redacted_url(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if url.cannot_be_a_base() => format!("{}:…", url.scheme()),
        Ok(url) => redacted(&url),
        Err(_) => "…".to_owned(),
    }
}

/// `url` without userinfo, query and fragment.
pub(super) fn redacted(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}://{}{port}{}{query}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Shows the names of headers.
#[derive(Clone, Copy)]
pub struct HeaderNames<'a>(pub &'a HeaderMap);

impl fmt::Debug for HeaderNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys().map(http::HeaderName::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::Client;
    use crate::http::{ClientOptions, Request};

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("https://user:canary@h:8443/a/b?key=canary#canary", "https://h:8443/a/b?…"),
            ("http://h", "http://h/"),
            ("file:///a/b", "file:///a/b"),
            ("data:text/plain,canary", "data:…"),
            ("canary", "…"),
        ] {
            assert_eq!(redacted_url(url), shown);
        }
    }

    #[test]
    fn no_secret_is_in_what_debugging_prints() {
        let canary = || HeaderValue::from_static("canary");
        let options = ClientOptions {
            headers: HeaderMap::from_iter([(http::header::AUTHORIZATION, canary())]),
            proxy: Some("http://user:canary@proxy:1".to_owned()),
            ..ClientOptions::default()
        };
        let client = Client::new(options.clone()).expect("these can hold");
        let request = Request::new("POST", "http://user:canary@h/?key=canary").expect("a URL");
        let request = request.header("x-api-key", b"canary").expect("a header");
        let shown = [
            format!("{options:?}"),
            format!("{client:?}"),
            format!("{request:?} {:?}", request.template()),
            format!("{:?}", HeaderNames(&options.headers)),
        ];
        for text in shown {
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
