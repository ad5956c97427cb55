//! By what two versions of a resource are told apart (RFC 9110, section 8.8).

use std::time::Duration;

use mcpgateway_engine::http::{HeaderMap, HeaderValue};

/// A date is as good as a strong validator if the resource was that old when it was sent.
const OLD_ENOUGH: Duration = Duration::from_secs(1);

/// What a reply says about the version that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Validators {
    pub(super) etag: Option<HeaderValue>,
    pub(super) last_modified: Option<HeaderValue>,
    is_old: bool,
}

impl Validators {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let date = |name| {
            let text = headers.get(name)?.to_str().ok()?;
            httpdate::parse_http_date(text).ok()
        };
        let age = date("date").zip(date("last-modified")).map(|(sent, changed)| sent.duration_since(changed));
        Self {
            etag: headers.get("etag").cloned(),
            last_modified: headers.get("last-modified").cloned(),
            is_old: age.is_some_and(|age| age.is_ok_and(|age| age >= OLD_ENOUGH)),
        }
    }

    /// Those that were kept with a body.
    pub(super) fn kept(etag: Option<HeaderValue>, last_modified: Option<HeaderValue>) -> Self {
        Self { etag, last_modified, is_old: false }
    }

    /// What a request for a range of the same version has in `If-Range`; `None` if nothing tells two versions
    /// apart for certain.
    pub(super) fn if_range(&self) -> Option<&HeaderValue> {
        match &self.etag {
            Some(etag) => Some(etag).filter(|etag| !etag.as_bytes().starts_with(b"W/")),
            None => self.last_modified.as_ref().filter(|_| self.is_old),
        }
    }

    /// Whether a reply with `other` may have the same version: nothing it says is to the contrary.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        let agree = |ours: &Option<HeaderValue>, theirs: &Option<HeaderValue>| {
            ours.is_none() || theirs.is_none() || ours == theirs
        };
        agree(&self.etag, &other.etag)
            && (self.etag.is_some() && other.etag.is_some()
                || agree(&self.last_modified, &other.last_modified))
    }

    /// Whether a reply with `other` is certain to have the same version.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.if_range().is_some() && self.if_range() == other.if_range()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators(headers: &[(&'static str, &'static str)]) -> Validators {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        Validators::of(&map)
    }

    const DATE: (&str, &str) = ("date", "Mon, 20 Oct 2025 10:00:00 GMT");

    #[test]
    fn only_what_tells_versions_apart_for_certain_is_asked_by() {
        let asked = |headers: &[_]| validators(headers).if_range().cloned();
        assert_eq!(asked(&[("etag", "\"a\"")]).expect("strong"), "\"a\"");
        assert_eq!(asked(&[("etag", "W/\"a\""), ("last-modified", DATE.1), DATE]), None);
        assert_eq!(asked(&[("last-modified", DATE.1), DATE]), None);
        let older = "Mon, 20 Oct 2025 09:59:59 GMT";
        assert_eq!(asked(&[("last-modified", older), DATE]).expect("old enough"), older);
        assert_eq!(asked(&[("last-modified", older)]), None);
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn another_etag_is_another_version_and_none_says_nothing() {
        let (a, b) = (validators(&[("etag", "\"a\"")]), validators(&[("etag", "\"b\"")]));
        assert!(a.is(&a) && a.may_be(&a) && !a.is(&b) && !a.may_be(&b));
        let none = validators(&[]);
        assert!(a.may_be(&none) && !a.is(&none) && !none.is(&none));
    }
}
