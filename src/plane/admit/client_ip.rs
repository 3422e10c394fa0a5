//! Whose address is it: the connection's, or one that a trusted proxy wrote down.

use std::net::IpAddr;

use http::HeaderMap;
use meridian_core::config::TrustedProxies;

/// Entries of `X-Forwarded-For` that are looked at, from the right.
const HOPS_MAX: usize = 32;

/// The client's address. `peer` is who opened the connection.
pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let written = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = written
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','))
        .map(|hop| hop.trim().parse::<IpAddr>())
        .take(HOPS_MAX);
    match trusted {
        TrustedProxies::Count(0) => peer,
        TrustedProxies::Count(count) => match hops.nth(*count as usize - 1) {
            Some(Ok(address)) => address,
            _ => peer,
        },
        TrustedProxies::Networks(networks) => {
            let is_proxy = |address: IpAddr| networks.iter().any(|one| one.contains(address));
            let mut client = peer;
            while is_proxy(client) {
                match hops.next() {
                    Some(Ok(address)) => client = address,
                    _ => break,
                }
            }
            client
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::config::Network;

    use super::*;

    fn client(trusted: &TrustedProxies, forwarded: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        of("10.0.0.1".parse().unwrap(), &headers, trusted).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let forwarded = "6.6.6.6, 1.2.3.4, 10.0.0.2";
        assert_eq!(client(&TrustedProxies::Count(0), forwarded), "10.0.0.1");
        assert_eq!(client(&TrustedProxies::Count(2), forwarded), "1.2.3.4");
        assert_eq!(client(&TrustedProxies::Count(9), forwarded), "10.0.0.1");
        let inside = TrustedProxies::Networks(vec![Network::parse("10.0.0.0/8").unwrap()]);
        assert_eq!(client(&inside, forwarded), "1.2.3.4");
        assert_eq!(client(&inside, "junk"), "10.0.0.1");
    }
}
