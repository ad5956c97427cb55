//! Keeps requests to a stranger's URL out of the network that this process is in.
//!
//! A URL may name an internal address in many ways, and a name may lead to another address each time it is
//! asked for. So what is judged is the address that is about to be connected to: each that a name has, at
//! the time of the connection, which then goes to one that was judged.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use url::{Host, Url};

use super::address::{special_purpose, tunnelled_v4};
use crate::error::{Error, ErrorKind, Phase, Result};

/// Bits of `::ffff:0:0/96`, where addresses of version 4 are written as ones of version 6.
const MAPPED_BITS: u8 = 96;

/// Which addresses requests may go to: those of the public internet, and others as its lists say.
///
/// It holds for all requests of a client that has one, or only for those whose URL came from a peer: see
/// [`only_from_peers`](Self::only_from_peers). A client without one guards the latter by the default guard.
///
/// What is refused unless it is allowed: loopback, private, link-local (with the metadata of clouds), carrier
/// NAT, multicast, documentation, benchmark and reserved networks, and addresses of version 6 that lead to
/// one of them.
///
/// With a proxy it is the proxy that connects. Then all addresses that this process finds for the host have
/// to pass before the proxy is asked, and what the proxy finds is for the proxy to judge.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Guard {
    rules: Arc<Rules>,
    only_from_peers: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

#[derive(Debug, PartialEq, Eq)]
enum Rule {
    Network(IpNet),
    /// A name, in the form that a URL has it.
    Host(String),
    /// All names that end so, with a dot at the beginning.
    Below(String),
}

/// Where a request goes, and what judges the addresses found for it.
#[derive(Clone, Copy)]
pub(super) struct Guarded<'a> {
    pub(super) guard: &'a Guard,
    pub(super) host: GuardedHost<'a>,
}

/// A host as a URL has it.
#[derive(Clone, Copy)]
pub(super) enum GuardedHost<'a> {
    Name(&'a str),
    Address(IpAddr),
}

impl<'a> Guarded<'a> {
    /// A request to `url`; `None` if it has no host.
    pub(super) fn new(guard: &'a Guard, url: &'a Url) -> Option<Self> {
        let host = match url.host()? {
            Host::Domain(name) => GuardedHost::Name(name),
            Host::Ipv4(address) => GuardedHost::Address(address.into()),
            Host::Ipv6(address) => GuardedHost::Address(address.into()),
        };
        Some(Self { guard, host })
    }

    /// Refuse what needs no look at its addresses, as it is one, or has a name that says enough.
    pub(super) fn check_host(&self) -> Result<()> {
        match self.host {
            GuardedHost::Name(name) => self.guard.check_name(name),
            GuardedHost::Address(address) => self.guard.check(&address.to_string(), address),
        }
    }

    /// Whether `address`, which is one of the host's, passes.
    pub(super) fn permits(&self, address: IpAddr) -> bool {
        match self.host {
            GuardedHost::Name(name) => self.guard.permits(name, address),
            GuardedHost::Address(_) => self.guard.permits("", address),
        }
    }
}

/// Where the URL of a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GivenBy {
    #[default]
    Caller,
    Peer,
}

impl Guard {
    /// A guard with these exceptions: networks (`10.0.0.0/8`), addresses, hosts (`agent.example`) or all hosts
    /// below one (`*.example`). What is on both lists is refused. A host that is allowed may have any address
    /// that is not denied.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when an entry is none of these.
    pub fn new<'a>(
        allow: impl IntoIterator<Item = &'a str>,
        deny: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let allow = allow.into_iter().map(Rule::parse).collect::<Result<_>>()?;
        let deny = deny.into_iter().map(Rule::parse).collect::<Result<_>>()?;
        Ok(Self { rules: Arc::new(Rules { allow, deny }), only_from_peers: false })
    }

    /// The same guard for URLs that came from a peer alone: in a card, a part, a link or a redirect.
    #[must_use]
    pub fn only_from_peers(mut self) -> Self {
        self.only_from_peers = true;
        self
    }

    /// Whether a connection to `address`, which is one of `host`, may be made.
    ///
    /// # Errors
    /// [`ErrorKind::AddressRefused`], with the reason.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<()> {
        let address = address.to_canonical();
        self.judge(host, address).map_err(|why| refused(host, address, why))
    }

    /// Refuse a name that is denied, or is this host's by definition.
    fn check_name(&self, name: &str) -> Result<()> {
        if matches(&self.rules.deny, name) {
            return Err(refusal(format!("{name} is refused by the guard: it is on the deny list")));
        }
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        if is_localhost(name) && !loopback.iter().any(|address| self.permits(name, *address)) {
            return self.check(name, loopback[0]);
        }
        Ok(())
    }

    /// Whether `address`, which is one of `host`, passes.
    pub(super) fn permits(&self, host: &str, address: IpAddr) -> bool {
        self.judge(host, address.to_canonical()).is_ok()
    }

    /// Whether it holds for URLs from there.
    pub(super) fn is_for(&self, given_by: GivenBy) -> bool {
        given_by == GivenBy::Peer || !self.only_from_peers
    }

    /// Whether both let the same addresses pass.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules) || self.rules == other.rules
    }

    fn judge(&self, host: &str, address: IpAddr) -> Result<(), &'static str> {
        let Rules { allow, deny } = &*self.rules;
        let leads_to = tunnelled_v4(address).map(IpAddr::V4);
        let denied = |address: IpAddr| contains(deny, address);
        if matches(deny, host) || denied(address) || leads_to.is_some_and(denied) {
            return Err("it is on the deny list");
        }
        if matches(allow, host) || contains(allow, address) {
            return Ok(());
        }
        special_purpose(address).map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("allow", &self.rules.allow)
            .field("deny", &self.rules.deny)
            .field("only_from_peers", &self.only_from_peers)
            .finish()
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(network) = bare.parse::<IpNet>() {
            return Ok(Self::network(network));
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::network(address.into()));
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        match Host::parse(name) {
            Ok(Host::Domain(name)) if name.contains('*') => Err(no_rule(text)),
            Ok(Host::Domain(name)) if below => Ok(Self::Below(format!(".{}", without_dot(&name)))),
            Ok(Host::Domain(name)) => Ok(Self::Host(without_dot(&name).to_owned())),
            Ok(Host::Ipv4(address)) if !below => Ok(Self::network(IpAddr::V4(address).into())),
            _ => Err(no_rule(text)),
        }
    }

    /// A network in the version that its addresses are judged in.
    fn network(network: IpNet) -> Self {
        if let IpNet::V6(mapped) = network
            && let Some(bits) = mapped.prefix_len().checked_sub(MAPPED_BITS)
            && let Some(base) = mapped.addr().to_ipv4_mapped()
            && let Ok(network) = Ipv4Net::new(base, bits)
        {
            return Self::Network(network.into());
        }
        Self::Network(network)
    }
}

fn no_rule(text: &str) -> Error {
    Error::invalid_request(format!(
        "the guard's entry {text:?} is neither a network, an address nor a host: pass such as \"10.0.0.0/8\", \
         \"agent.example\" or \"*.example\", without scheme and port"
    ))
}

fn contains(rules: &[Rule], address: IpAddr) -> bool {
    rules.iter().any(|rule| matches!(rule, Rule::Network(network) if network.contains(&address)))
}

fn matches(rules: &[Rule], host: &str) -> bool {
    let host = without_dot(host);
    rules.iter().any(|rule| match rule {
        Rule::Network(_) => false,
        Rule::Host(name) => name == host,
        Rule::Below(end) => host.ends_with(end.as_str()),
    })
}

/// `agent.example.` is the same host as `agent.example`.
fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Names that are this host's by definition (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = without_dot(name);
    name == "localhost" || name.ends_with(".localhost")
}

fn refused(host: &str, address: IpAddr, why: &str) -> Error {
    let address = address.to_string();
    let of_host = if host == address { String::new() } else { format!(", an address of {host},") };
    refusal(format!("{address}{of_host} is refused by the guard: {why}"))
}

fn refusal(subject: String) -> Error {
    Error::new(ErrorKind::AddressRefused, subject).with_phase(Phase::Connect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str], deny: &[&str]) -> Guard {
        Guard::new(allow.iter().copied(), deny.iter().copied()).expect("valid entries")
    }

    fn permits(guard: &Guard, host: &str, address: &str) -> bool {
        guard.permits(host, address.parse().expect("an address"))
    }

    #[test]
    fn an_exception_holds_for_its_network_or_host_alone() {
        let guard = guard(
            &["10.1.0.0/16", "::ffff:10.9.0.0/112", "fd00::/8", "agent.example", "*.Pod.Example."],
            &[],
        );
        for (host, address) in [
            ("10.1.2.3", "10.1.2.3"),
            ("other.example", "::ffff:10.1.2.3"),
            ("other.example", "10.9.1.1"),
            ("other.example", "fd12::1"),
            ("agent.example", "127.0.0.1"),
            ("agent.example.", "127.0.0.1"),
            ("a.b.pod.example", "::1"),
            ("other.example", "8.8.8.8"),
        ] {
            assert!(permits(&guard, host, address), "{host} {address}");
        }
        for (host, address) in [
            ("10.2.0.1", "10.2.0.1"),
            ("other.example", "64:ff9b::10.1.2.3"),
            ("other.example", "2002:a01:203::1"),
            ("pod.example", "::1"),
            ("agent.example.org", "::1"),
            ("xagent.example", "::1"),
        ] {
            assert!(!permits(&guard, host, address), "{host} {address}");
        }
    }

    #[test]
    fn what_is_denied_is_denied_whatever_else_holds_and_however_it_is_written() {
        let guard =
            guard(&["0.0.0.0/0", "::/0", "*.example"], &["8.8.8.0/24", "2606:4700::/32", "bad.example"]);
        for (host, address) in [
            ("a.example", "8.8.8.8"),
            ("a.example", "::ffff:8.8.8.8"),
            ("a.example", "64:ff9b::8.8.8.8"),
            ("a.example", "2002:808:808::1"),
            ("a.example", "2606:4700::1111"),
            ("bad.example", "9.9.9.9"),
            ("bad.example.", "9.9.9.9"),
        ] {
            assert!(!permits(&guard, host, address), "{host} {address}");
        }
        assert!(permits(&guard, "a.example", "127.0.0.1") && permits(&guard, "a.test", "::1"));
    }

    #[test]
    fn names_of_this_host_are_refused_before_they_are_looked_up() {
        let check = |guard: &Guard, name| guard.check_name(name);
        for name in ["localhost", "localhost.", "a.b.localhost", "a.localhost."] {
            let error = check(&Guard::default(), name).expect_err(name);
            assert_eq!(*error.kind(), ErrorKind::AddressRefused);
            assert!(check(&guard(&["127.0.0.0/8"], &[]), name).is_ok(), "{name}");
            assert!(check(&guard(&["::1"], &[]), name).is_ok(), "{name}");
        }
        assert!(check(&Guard::default(), "notlocalhost").is_ok());
        assert!(check(&guard(&[], &["*.example"]), "a.example").is_err());
    }

    #[test]
    fn an_entry_that_would_never_hold_is_refused() {
        for entry in
            ["", "http://a", "a:80", "10.0.0.0/33", "10.0.0/8", "*.10.0.0.1", "a/b", "*", "*.", "[::1"]
        {
            let error = Guard::new([entry], []).expect_err(entry);
            assert_eq!(*error.kind(), ErrorKind::InvalidRequest, "{entry}");
        }
        for entry in ["127.1", "0x7f000001", "[::1]", "::1", "10.0.0.0/8", "bücher.example"] {
            assert!(Guard::new([entry], []).is_ok(), "{entry}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_refused_and_why() {
        let refused = |host, address: &str| {
            Guard::default().check(host, address.parse().expect("an address")).expect_err(address).to_string()
        };
        assert_eq!(
            refused("agent.example", "::ffff:127.0.0.1"),
            "127.0.0.1, an address of agent.example, is refused by the guard: loopback"
        );
        assert_eq!(refused("fd00::1", "fd00::1"), "fd00::1 is refused by the guard: a private network");
    }
}
