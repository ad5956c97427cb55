//! What an agent says of itself, and which of its interfaces is used.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpgateway_engine::http::{HeaderMap, redacted_url};
use mcpgateway_engine::json::{Document, Kind, Node};
use mcpgateway_engine::{Error, Result};

use super::operation::Endpoint;
use super::protocol::{Binding, Version};
use super::view::text_at;

/// Where agents have their card (RFC 8615).
const WELL_KNOWN: &str = "/.well-known/agent-card.json";
/// How long a card is believed that does not say for how long.
const FRESH: Duration = Duration::from_secs(300);
/// The longest that a card is believed without asking.
const MOST_FRESH: Duration = Duration::from_secs(24 * 3600);

/// The card of an agent. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Card {
    document: Document,
    interfaces: Arc<[Interface]>,
}

/// A way to talk to an agent, as its card has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Interface {
    /// The URL.
    pub url: String,
    /// The binding, such as `JSONRPC`; there are others than those of [`Binding`].
    pub binding: String,
    /// The version, such as `1.0`.
    pub version: String,
    /// What it calls the caller's part of it.
    pub tenant: Option<String>,
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface")
            .field("url", &redacted_url(&self.url))
            .field("binding", &self.binding)
            .field("version", &self.version)
            .field("tenant", &self.tenant)
            .finish()
    }
}

impl Card {
    /// The card that `document` is, of either generation.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidReply`](mcpgateway_engine::ErrorKind::InvalidReply) when it is none.
    pub fn new(document: Document) -> Result<Self> {
        let root = document.root();
        if root.kind() != Kind::Object || root.repeats_a_key() {
            return Err(Error::invalid_reply("the agent card is no JSON object, or has the same key twice"));
        }
        let interfaces = match root.get("supportedInterfaces") {
            Some(list) => list.elements().filter_map(|node| Interface::modern(&node)).collect(),
            None => Interface::of_old_card(&root),
        };
        Ok(Self { document, interfaces })
    }

    /// All of it.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The ways to talk to the agent, in its order.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The first interface that is spoken here, of this version and binding if they are given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidReply`](mcpgateway_engine::ErrorKind::InvalidReply) when there is none.
    pub fn select(&self, version: Option<Version>, binding: Option<Binding>) -> Result<Endpoint> {
        let wanted = |interface: &Interface| {
            let endpoint = interface.endpoint()?;
            let fits = version.is_none_or(|version| version == endpoint.version)
                && binding.is_none_or(|binding| binding == endpoint.binding);
            fits.then_some(endpoint)
        };
        self.interfaces.iter().find_map(wanted).ok_or_else(|| {
            let offered: Vec<String> = self.interfaces.iter().take(10).map(Interface::described).collect();
            let asked = version.map_or("1.0 or 0.3", Version::as_str);
            let over = binding.map_or("JSONRPC or HTTP+JSON", Binding::as_str);
            let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
            Error::invalid_reply(format!(
                "the agent card has no interface of A2A {asked} over {over}: it has {offered}"
            ))
        })
    }
}

impl Interface {
    fn modern(node: &Node) -> Option<Self> {
        Some(Self {
            url: text_at(node, "url")?.into_owned(),
            binding: text_at(node, "protocolBinding")?.into_owned(),
            version: text_at(node, "protocolVersion").unwrap_or_default().into_owned(),
            tenant: text_at(node, "tenant")
                .filter(|tenant| !tenant.is_empty())
                .map(std::borrow::Cow::into_owned),
        })
    }

    /// The main interface of a card of 0.3, and its others.
    fn of_old_card(root: &Node) -> Arc<[Self]> {
        let version = text_at(root, "protocolVersion").unwrap_or("0.3.0".into()).into_owned();
        let interface = |node: &Node, binding: &str| {
            let binding = text_at(node, binding).unwrap_or("JSONRPC".into()).into_owned();
            let url = text_at(node, "url")?.into_owned();
            Some(Self { url, binding, version: version.clone(), tenant: None })
        };
        let others = root.get("additionalInterfaces").into_iter().flat_map(|list| list.elements());
        let others = others.filter_map(|node| interface(&node, "transport"));
        let main = interface(root, "preferredTransport");
        let is_other = |other: &Self| main.as_ref() != Some(other);
        main.iter().cloned().chain(others.filter(is_other)).collect()
    }

    fn endpoint(&self) -> Option<Endpoint> {
        let (url, tenant) = (self.url.clone(), self.tenant.clone());
        let (version, binding) = (Version::of(&self.version)?, Binding::of(&self.binding)?);
        Some(Endpoint { url, version, binding, tenant })
    }

    fn described(&self) -> String {
        let shown =
            |text: &str| text.chars().filter(|shown| !shown.is_control()).take(40).collect::<String>();
        format!("{} over {}", shown(&self.version), shown(&self.binding))
    }
}

/// Where the card of the agent at `url` is: there, if it names a JSON file, else at the well-known place below.
pub(super) fn card_url(url: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, query)| (base, query));
    let question = if query.is_empty() { String::new() } else { format!("?{query}") };
    let is_file =
        std::path::Path::new(base).extension().is_some_and(|kind| kind.eq_ignore_ascii_case("json"));
    let place = if is_file { "" } else { WELL_KNOWN };
    format!("{}{place}{question}", base.trim_end_matches('/'))
}

/// A card, and until when it is believed.
#[derive(Clone, Debug)]
pub(super) struct KeptCard {
    pub(super) card: Card,
    /// What asks for it only if it changed.
    pub(super) etag: Option<String>,
    until: Instant,
}

impl KeptCard {
    pub(super) fn new(card: Card, headers: &HeaderMap) -> Self {
        let etag = headers.get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Self { card, etag, until: Instant::now() + freshness(headers) }
    }

    /// The same card, which the agent says has not changed.
    pub(super) fn renewed(self, headers: &HeaderMap) -> Self {
        Self { until: Instant::now() + freshness(headers), ..self }
    }

    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

/// For how long what came with these headers holds (RFC 9111, section 5.2).
fn freshness(headers: &HeaderMap) -> Duration {
    let control = headers.get("cache-control").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let directives = || control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    if directives().any(|directive| directive == "no-cache" || directive == "no-store") {
        return Duration::ZERO;
    }
    let seconds = directives().find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok());
    seconds.map_or(FRESH, Duration::from_secs).min(MOST_FRESH)
}

#[cfg(test)]
mod tests {
    use mcpgateway_engine::ErrorKind;
    use mcpgateway_engine::http::parse_headers;
    use mcpgateway_engine::json::Options;

    use super::*;

    fn card(text: &'static str) -> Result<Card> {
        Card::new(Document::parse(text.into(), &Options::default()).expect("JSON"))
    }

    fn endpoint(url: &str, version: Version, binding: Binding, tenant: Option<&str>) -> Endpoint {
        Endpoint { url: url.into(), version, binding, tenant: tenant.map(Into::into) }
    }

    #[test]
    fn the_first_interface_that_is_spoken_is_used() {
        let card = card(
            r#"{"supportedInterfaces":[
                {"url":"http://a","protocolBinding":"GRPC","protocolVersion":"1.0"},
                {"url":"http://b","protocolBinding":"HTTP+JSON","protocolVersion":"1.0.1","tenant":"t"},
                {"url":"http://c","protocolBinding":"JSONRPC","protocolVersion":"0.3"},{}]}"#,
        )
        .expect("a card");
        let selected = |version, binding| card.select(version, binding).map_err(|error| error.to_string());
        let b = endpoint("http://b", Version::V1_0, Binding::HttpJson, Some("t"));
        assert_eq!(selected(None, None), Ok(b.clone()));
        assert_eq!(selected(Some(Version::V1_0), None), Ok(b));
        let c = endpoint("http://c", Version::V0_3, Binding::JsonRpc, None);
        assert_eq!(selected(None, Some(Binding::JsonRpc)), Ok(c));
        let refused = selected(Some(Version::V0_3), Some(Binding::HttpJson)).expect_err("not there");
        assert!(refused.contains("1.0 over GRPC, 1.0.1 over HTTP+JSON, 0.3 over JSONRPC"), "{refused}");
    }

    #[test]
    fn cards_of_the_old_generation_are_read() {
        let card = card(
            r#"{"url":"http://a","preferredTransport":"HTTP+JSON","protocolVersion":"0.3.0","additionalInterfaces":
                [{"url":"http://a","transport":"HTTP+JSON"},{"url":"http://b","transport":"JSONRPC"}]}"#,
        )
        .expect("a card");
        assert_eq!(card.interfaces().len(), 2);
        let selected = card.select(None, None).expect("spoken");
        assert_eq!(selected, endpoint("http://a", Version::V0_3, Binding::HttpJson, None));
        let least = self::card(r#"{"url":"http://a"}"#).and_then(|card| card.select(None, None));
        assert_eq!(least.expect("spoken"), endpoint("http://a", Version::V0_3, Binding::JsonRpc, None));
    }

    #[test]
    fn what_is_no_card_is_refused() {
        for text in ["[]", r#"{"url":"http://a","url":"http://b"}"#] {
            assert_eq!(*card(text).expect_err(text).kind(), ErrorKind::InvalidReply);
        }
        let empty = card("{}").expect("an object");
        assert_eq!(*empty.select(None, None).expect_err("nothing").kind(), ErrorKind::InvalidReply);
    }

    #[test]
    fn the_card_is_at_its_well_known_place_or_where_the_caller_says() {
        for (url, expected) in [
            ("http://h", "http://h/.well-known/agent-card.json"),
            ("http://h/a/?k=1", "http://h/a/.well-known/agent-card.json?k=1"),
            ("http://h/cards/a.json", "http://h/cards/a.json"),
        ] {
            assert_eq!(card_url(url), expected);
        }
    }

    #[test]
    fn a_card_is_believed_for_as_long_as_it_says() {
        let of = |value: &'static str| {
            freshness(&parse_headers([("cache-control", value.as_bytes())]).expect("a header")).as_secs()
        };
        assert_eq!(["public, max-age=7", "no-cache, max-age=7", "max-age=x"].map(of), [7, 0, 300]);
        assert_eq!(of("max-age=99999999"), 24 * 3600);
    }
}
