//! Which addresses are not of the public internet, by the registries of special-purpose addresses that IANA keeps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of version 4 that a stranger's URL has no business with: base, bits, and what they are.
const SPECIAL_V4: [(Ipv4Addr, u32, &str); 17] = [
    (Ipv4Addr::UNSPECIFIED, 8, "unspecified, or this host"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private network"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "behind a carrier's NAT"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's metadata"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local, where clouds keep their metadata"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private network"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private network"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::BROADCAST, 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The same of version 6. What is outside of `2000::/3` is refused anyway: this is for its name.
const SPECIAL_V6: [(Ipv6Addr, u32, &str); 15] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::UNSPECIFIED, 96, "an address of version 4 inside of one of version 6"),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, "an address of version 4 inside of one of version 6"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "a local NAT64"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "for discarding"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "a private network"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What a network without version 4 reaches version 4 by (RFC 6052).
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const SIX_TO_FOUR: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const TEREDO: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);

/// What `address` is, if it is not one of the public internet.
pub(super) fn special_purpose(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) if is_in(address, NAT64) => special_v4(last_bits(address)),
        IpAddr::V6(address) => special_v6(address),
    }
}

/// The address of version 4 that a packet to `address` ends at, where that is written inside of it.
pub(super) fn tunnelled_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address.to_canonical() {
        IpAddr::V6(address) if is_in(address, NAT64) => Some(last_bits(address)),
        IpAddr::V6(address) if is_in(address, SIX_TO_FOUR) => {
            let [_, _, a, b, c, d, ..] = address.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(address) if is_in(address, TEREDO) => Some(!last_bits(address)),
        _ => None,
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let is_in = |base: Ipv4Addr, bits: u32| (address.to_bits() ^ base.to_bits()).leading_zeros() >= bits;
    SPECIAL_V4.iter().find(|(base, bits, _)| is_in(*base, *bits)).map(|(.., name)| *name)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let special = SPECIAL_V6.iter().find(|(base, bits, _)| is_in(address, (*base, *bits)));
    special
        .map(|(.., name)| *name)
        .or_else(|| (!is_in(address, GLOBAL_UNICAST)).then_some("not a public address"))
}

fn is_in(address: Ipv6Addr, (base, bits): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ base.to_bits()).leading_zeros() >= bits
}

/// The address of version 4 in the last 32 bits.
fn last_bits(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_last_of_each_network_are_special_and_their_neighbours_are_not() {
        for (inside, outside) in [
            (&["0.0.0.0", "0.255.255.255"][..], &["1.0.0.0"][..]),
            (&["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0"]),
            (&["100.64.0.0", "100.127.255.255"], &["100.63.255.255", "100.128.0.0"]),
            (&["127.0.0.0", "127.255.255.255"], &["126.255.255.255", "128.0.0.0"]),
            (&["168.63.129.16"], &["168.63.129.15", "168.63.129.17"]),
            (&["169.254.0.0", "169.254.169.254", "169.254.255.255"], &["169.253.255.255", "169.255.0.0"]),
            (&["172.16.0.0", "172.31.255.255"], &["172.15.255.255", "172.32.0.0"]),
            (&["192.0.0.0", "192.0.0.192", "192.0.0.255", "192.0.2.0"], &["191.255.255.255", "192.0.1.0"]),
            (&["192.88.99.1", "192.168.0.0", "192.168.255.255"], &["192.167.255.255", "192.169.0.0"]),
            (&["198.18.0.0", "198.19.255.255"], &["198.17.255.255", "198.20.0.0"]),
            (&["198.51.100.0", "203.0.113.255"], &["198.51.101.0", "203.0.114.0"]),
            (&["224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.255"], &["223.255.255.255"]),
            (&["::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:0:7f00:1"], &["::ffff:8.8.8.8"]),
            (&["64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::8.8.8.8"], &["64:ff9b::8.8.8.8"]),
            (&["2001::", "2001:1ff:ffff::", "2001:2::1", "2001:db8::1"], &["2001:200::", "2001:db9::"]),
            (&["2002::", "2002:808:808::", "2002:ffff::"], &["2003::1"]),
            (&["3fff::1", "3fff:fff::1", "5f00::1", "100::1", "4000::"], &["3fff:1000::1", "3ffe::1"]),
            (&["fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1"], &["2606:4700::1111"]),
        ] {
            let special = |text: &&str| special_purpose(text.parse().expect("an address")).is_some();
            assert!(inside.iter().all(special), "{inside:?}");
            assert!(!outside.iter().any(special), "{outside:?}");
        }
    }

    #[test]
    fn where_a_tunnel_ends_is_read_from_its_address() {
        let end = |text: &str| tunnelled_v4(text.parse().expect("an address")).map(|end| end.to_string());
        assert_eq!(end("64:ff9b::8.8.4.4").as_deref(), Some("8.8.4.4"));
        assert_eq!(end("2002:a00:1::9").as_deref(), Some("10.0.0.1"));
        assert_eq!(end("2001:0:4136:e378:8000:63bf:3fff:fdd2").as_deref(), Some("192.0.2.45"));
        assert_eq!(end("2606:4700::1111"), None);
        assert_eq!(end("8.8.8.8"), None);
    }
}
