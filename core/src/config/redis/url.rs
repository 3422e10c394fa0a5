//! `redis://user:password@host:port/database`.

use crate::config::percent::decode;
use crate::ids::Secret;

/// A URL, taken apart.
pub(super) struct RedisUrl {
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) database: Option<u8>,
}

/// Why a text is no URL of a Redis server, and what would be one. Never shows the text, which may
/// hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRedisUrl {
    /// Not `redis` or `rediss`.
    #[error("expected a URL that begins with `redis://` or `rediss://` (TLS)")]
    Scheme,
    /// Empty or with letters that no host has.
    #[error(
        "expected a host name or address after `://`; letters of a password such as `/` and \
             `@` are written as %2F and %40"
    )]
    Host,
    /// Not 1 to 65535.
    #[error("expected a port from 1 to 65535 after the host")]
    Port,
    /// Not 0 to 255.
    #[error("expected nothing after the host, or the number of a database from 0 to 255")]
    Database,
    /// `%` without two hexadecimal digits, or not UTF-8.
    #[error("user or password is not percent-encoded text")]
    Encoding,
    /// A parameter after `?` that is not read.
    #[error("of the parameters after `?` only `db` is read")]
    Parameter,
}

/// Takes a URL apart.
pub(super) fn parse(text: &str) -> Result<RedisUrl, BadRedisUrl> {
    let (scheme, rest) = text.trim().split_once("://").ok_or(BadRedisUrl::Scheme)?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "redis" => false,
        "rediss" => true,
        _ => return Err(BadRedisUrl::Scheme),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains('@') {
        // Cut through a password.
        return Err(BadRedisUrl::Host);
    }
    let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let decoded = |part: &str| match part {
        "" => Ok(None),
        _ => decode(part).map(Some).ok_or(BadRedisUrl::Encoding),
    };
    let (host, port) = split_port(address)?;
    Ok(RedisUrl {
        tls,
        username: decoded(user)?,
        password: decoded(password)?.map(Secret::new),
        host: host.to_owned(),
        port,
        database: database(path, query)?,
    })
}

fn split_port(address: &str) -> Result<(&str, Option<u16>), BadRedisUrl> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(BadRedisUrl::Host)?;
            let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
            if !is_v6 || !(after.is_empty() || after.starts_with(':')) {
                return Err(BadRedisUrl::Host);
            }
            (host, after.strip_prefix(':'))
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if host.is_empty() || !host.chars().all(is_letter) {
        return Err(BadRedisUrl::Host);
    }
    let number = |port: &str| port.parse().ok().filter(|port: &u16| *port > 0);
    match port {
        None | Some("") => Ok((host, None)),
        Some(port) => Ok((host, Some(number(port).ok_or(BadRedisUrl::Port)?))),
    }
}

/// From the path, or from `?db=`.
fn database(path: &str, query: &str) -> Result<Option<u8>, BadRedisUrl> {
    let mut written = Some(path).filter(|path| !path.is_empty());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let number = pair.strip_prefix("db=").ok_or(BadRedisUrl::Parameter)?;
        written = Some(number);
    }
    let number = written.map(|number| number.parse().map_err(|_| BadRedisUrl::Database));
    number.transpose()
}
