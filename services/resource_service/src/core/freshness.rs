//! How long a reply may be kept, and for whom (RFC 9111).

use std::time::{Duration, SystemTime};

use mcpgateway_engine::http::HeaderMap;

use super::resource::Scope;

/// Nobody says for certain what holds in more than a year.
const MOST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a reply says about keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Freshness {
    /// Whether it may be kept at all.
    pub(super) may_be_kept: bool,
    /// How long it need not be asked for again; `None` if the reply does not say.
    pub(super) fresh_for: Option<Duration>,
    pub(super) scope: Scope,
}

impl Freshness {
    /// What the headers of a reply say; `has_credentials` is whether its request had some.
    pub(super) fn of(headers: &HeaderMap, has_credentials: bool) -> Self {
        let (mut may_be_kept, mut is_public, mut is_private) = (true, false, false);
        let (mut max_age, mut is_to_be_asked) = (None, false);
        for directive in directives(headers) {
            let (name, value) = directive.split_once('=').unwrap_or((&directive, ""));
            match name.trim() {
                "no-store" => may_be_kept = false,
                "no-cache" => is_to_be_asked = true,
                "private" => is_private = true,
                "public" => is_public = true,
                "max-age" => max_age = seconds(value).or(Some(Duration::ZERO)),
                _ => {}
            }
        }
        // What else would have to be the same for the same reply is not known.
        if headers.get_all("vary").iter().any(|value| value.as_bytes().contains(&b'*')) {
            may_be_kept = false;
        }
        let is_varied = headers.contains_key("vary");
        let is_shared = is_public || (max_age.is_some() && !has_credentials);
        let scope = if is_shared && !is_private && !is_varied { Scope::Public } else { Scope::Private };
        let stated = max_age.map(|age| age.saturating_sub(age_of(headers))).or_else(|| until_expiry(headers));
        let fresh_for = if is_to_be_asked { Some(Duration::ZERO) } else { stated };
        Self { may_be_kept, fresh_for: fresh_for.map(|time| time.min(MOST)), scope }
    }
}

fn directives(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all("cache-control").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|directive| directive.trim().to_ascii_lowercase())
}

fn seconds(text: &str) -> Option<Duration> {
    text.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// How long ago the origin sent it to the cache that sent it to us.
fn age_of(headers: &HeaderMap) -> Duration {
    headers.get("age").and_then(|value| seconds(value.to_str().ok()?)).unwrap_or_default()
}

fn until_expiry(headers: &HeaderMap) -> Option<Duration> {
    let expires = headers.get("expires")?;
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let sent =
        headers.get("date").and_then(|value| date(value.to_str().ok()?)).unwrap_or_else(SystemTime::now);
    // What is no date has expired (RFC 9111, section 5.3).
    let expires = expires.to_str().ok().and_then(date).unwrap_or(SystemTime::UNIX_EPOCH);
    Some(expires.duration_since(sent).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpgateway_engine::http::HeaderValue;

    fn freshness(
        headers: &[(&'static str, &'static str)],
        has_credentials: bool,
    ) -> (bool, Option<u64>, Scope) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let Freshness { may_be_kept, fresh_for, scope } = Freshness::of(&map, has_credentials);
        (may_be_kept, fresh_for.map(|time| time.as_secs()), scope)
    }

    #[test]
    fn a_reply_is_kept_as_long_as_it_says() {
        use Scope::{Private, Public};
        let date = ("date", "Mon, 20 Oct 2025 10:00:00 GMT");
        for (headers, expected) in [
            (&[][..], (true, None, Private)),
            (&[("cache-control", "max-age=60")], (true, Some(60), Public)),
            (&[("cache-control", "max-age=60, private")], (true, Some(60), Private)),
            (&[("cache-control", "Public"), ("cache-control", "MAX-AGE=\"5\"")], (true, Some(5), Public)),
            (&[("cache-control", "max-age=60"), ("age", "50")], (true, Some(10), Public)),
            (&[("cache-control", "max-age=60"), ("age", "70")], (true, Some(0), Public)),
            (&[("cache-control", "no-cache, max-age=60")], (true, Some(0), Public)),
            (&[("cache-control", "no-store, max-age=60")], (false, Some(60), Public)),
            (&[("cache-control", "max-age=soon")], (true, Some(0), Public)),
            (&[("cache-control", "max-age=60"), ("vary", "accept")], (true, Some(60), Private)),
            (&[("vary", "*")], (false, None, Private)),
            (&[date, ("expires", "Mon, 20 Oct 2025 10:00:30 GMT")], (true, Some(30), Private)),
            (&[date, ("expires", "0")], (true, Some(0), Private)),
        ] {
            assert_eq!(freshness(headers, false), expected, "{headers:?}");
        }
        assert_eq!(freshness(&[("cache-control", "max-age=9")], true), (true, Some(9), Private));
        assert_eq!(freshness(&[("cache-control", "public, max-age=9")], true), (true, Some(9), Public));
    }
}
