//! Where the gateway may reach on a caller's behalf: the public internet, and what the operator
//! names. Everything else is somebody's inside: the machine itself, its network, the metadata
//! service of its cloud.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Network;

/// Hosts and networks that may be reached although they are not public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Names, in lower case.
    pub hosts: Vec<String>,
    /// Networks.
    pub networks: Vec<Network>,
}

impl Reach {
    /// Why an address must not be connected to, under the name by which it was found.
    pub fn refuses(&self, host: &str, address: IpAddr) -> Option<&'static str> {
        let class = refused(address)?;
        let named = self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        let within = self.networks.iter().any(|own| own.contains(address));
        (!named && !within).then_some(class)
    }
}

/// What an address is that is no public one; `None` for those that are.
pub fn refused(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

/// First address, length of the prefix, what they are.
type Block<T> = (T, u32, &'static str);

const BLOCKS_V4: [Block<[u8; 4]>; 17] = [
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "a carrier's own"),
    ([127, 0, 0, 0], 8, "loopback"),
    // Azure's metadata and health service lies among public addresses.
    ([168, 63, 129, 16], 32, "a cloud's metadata"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "reserved"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 31, 196, 0], 24, "reserved"),
    ([192, 88, 99, 0], 24, "reserved"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "for benchmarks"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    let is_in = |(first, prefix, _): &&Block<[u8; 4]>| {
        let differ = u32::from(address) ^ u32::from_be_bytes(*first);
        differ.leading_zeros() >= *prefix
    };
    BLOCKS_V4.iter().find(is_in).map(|(_, _, class)| *class)
}

const BLOCKS_V6: [Block<u16>; 4] = [
    (0xfc00, 7, "private"),
    (0xfe80, 10, "link-local"),
    (0xfec0, 10, "private"),
    (0xff00, 8, "multicast"),
];

fn refused_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, third, ..] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    let [.., seventh, eighth] = address.segments();
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => return Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => return Some("loopback"),
        // Translated to IPv4 on the way: what counts is where that ends.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => return refused_v4(embedded(seventh, eighth)),
        [0x2002, ..] => return refused_v4(embedded(second, third)),
        // Teredo, benchmarks, ORCHID and their like; documentation.
        [0x2001, 0..=0x01ff, ..] => return Some("reserved"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => return Some("documentation"),
        _ => {}
    }
    let is_in = |(block, prefix, _): &&Block<u16>| {
        let differ = first ^ block;
        differ.leading_zeros() >= *prefix
    };
    let found = BLOCKS_V6.iter().find(is_in).map(|(_, _, class)| *class);
    // What else is outside of 2000::/3 is nobody's yet.
    let is_unicast = first >> 13 == 1;
    found.or((!is_unicast).then_some("reserved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        let inside = [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::ffff:0:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "4000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ];
        for text in inside {
            assert!(refused(text.parse().unwrap()).is_some(), "{text}");
        }
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "168.63.129.17",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:4860:4860::8888",
            "2002:808:808::1",
            "2606:4700::1111",
        ];
        for text in public {
            assert_eq!(refused(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn what_the_operator_names_is_reached() {
        let reach = Reach {
            hosts: vec!["images.internal".into()],
            networks: vec![Network::parse("10.1.0.0/16").unwrap()],
        };
        let is_reached =
            |host: &str, text: &str| reach.refuses(host, text.parse().unwrap()).is_none();
        assert!(is_reached("Images.Internal", "192.168.0.7"));
        assert!(is_reached("x.test", "10.1.2.3"));
        assert!(is_reached("x.test", "::ffff:10.1.2.3"));
        assert!(is_reached("x.test", "8.8.8.8"));
        assert!(!is_reached("x.images.internal", "192.168.0.7"));
        assert!(!is_reached("x.test", "10.2.0.1"));
        assert!(!is_reached("x.test", "127.0.0.1"));
    }
}
