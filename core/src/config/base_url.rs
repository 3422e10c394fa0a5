//! Base URLs of upstreams, taken apart once.

use std::fmt;

/// `http://` or `https://`, host, port and path prefix; never credentials, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// Name or address; an IPv6 address without brackets; lower case.
    pub host: String,
    /// Explicit or the scheme's own.
    pub port: u16,
    /// Path prefix: empty, or from `/` without one at the end.
    pub path: String,
}

/// Why a text is no base URL, and what would be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// No `http://` or `https://`.
    #[error("expected a URL that begins with `https://` or `http://`")]
    Scheme,
    /// `user:password@`.
    #[error("a URL must not hold credentials; write `api_key`")]
    Credentials,
    /// `?` or `#`.
    #[error("a base URL has no `?` and no `#`; for Azure write `api_version`")]
    Query,
    /// Empty or with letters that no host has.
    #[error("expected a host name or address after `://`")]
    Host,
    /// Not 1 to 65535.
    #[error("expected a port from 1 to 65535")]
    Port,
    /// Control characters or blanks, or too long.
    #[error("a URL has no blanks or control characters and at most 2048 characters")]
    Letters,
}

/// Longest URL.
const URL_BYTES_MAX: usize = 2_048;

impl BaseUrl {
    /// Takes a URL apart.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let text = text.trim();
        let is_visible = |c: char| c.is_ascii_graphic();
        if text.len() > URL_BYTES_MAX || !text.chars().all(is_visible) {
            return Err(BadUrl::Letters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(BadUrl::Scheme),
        };
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        if authority.contains('@') {
            return Err(BadUrl::Credentials);
        }
        if rest.contains(['?', '#']) {
            return Err(BadUrl::Query);
        }
        let (host, port) = split_port(authority)?;
        let default_port = if tls { 443 } else { 80 };
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(default_port),
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// `host` or `host:port`, as the `Host` header carries it.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || address.is_ok_and(|address| address.is_loopback())
    }

    /// Cuts an ending off the path; says whether it was there.
    pub(super) fn cut(&mut self, ending: &str) -> bool {
        let Some(rest) = self.path.strip_suffix(ending) else {
            return false;
        };
        self.path.truncate(rest.len());
        true
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), BadUrl> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(BadUrl::Host)?;
            let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
            let port = after.strip_prefix(':');
            if !is_v6 || (port.is_none() && !after.is_empty()) {
                return Err(BadUrl::Host);
            }
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_v6 = authority.starts_with('[');
    if host.is_empty() || (!is_v6 && !host.chars().all(in_name)) {
        return Err(BadUrl::Host);
    }
    let Some(port) = port.filter(|port| !port.is_empty()) else {
        return Ok((host, None));
    };
    let digits = port.chars().all(|c| c.is_ascii_digit());
    let number = port
        .parse()
        .ok()
        .filter(|&number: &u16| digits && number > 0);
    Ok((host, Some(number.ok_or(BadUrl::Port)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_put_together_again() {
        for (text, host, port, path, shown) in [
            (
                "https://api.openai.com/v1",
                "api.openai.com",
                443,
                "/v1",
                "",
            ),
            (
                "https://X.Example.com:8443/a/b/",
                "x.example.com",
                8443,
                "/a/b",
                "https://x.example.com:8443/a/b",
            ),
            ("http://127.0.0.1:8000", "127.0.0.1", 8000, "", ""),
            ("http://[::1]:8000/v1", "::1", 8000, "/v1", ""),
            ("http://h:80/", "h", 80, "", "http://h"),
        ] {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.path.as_str()),
                (host, port, path)
            );
            assert_eq!(url.to_string(), if shown.is_empty() { text } else { shown });
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_the_reason() {
        for (text, why) in [
            ("api.openai.com/v1", BadUrl::Scheme),
            ("ftp://host", BadUrl::Scheme),
            ("https://", BadUrl::Host),
            ("https://a b/", BadUrl::Letters),
            ("https://user:pass@host/v1", BadUrl::Credentials),
            ("https://host/v1?api-version=1", BadUrl::Query),
            ("https://host:0", BadUrl::Port),
            ("https://host:65536", BadUrl::Port),
            ("https://host:+80", BadUrl::Port),
            ("https://[::1", BadUrl::Host),
            ("https://[zz]", BadUrl::Host),
            ("https://host\n/", BadUrl::Letters),
            ("https://h\u{f6}st/", BadUrl::Letters),
        ] {
            assert_eq!(BaseUrl::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |text| BaseUrl::parse(text).unwrap().is_loopback();
        assert!(is("http://localhost:1") && is("http://127.8.0.1") && is("http://[::1]"));
        assert!(!is("http://10.0.0.1") && !is("http://localhost.example.com"));
    }
}
