//! `postgresql://user:password@host:port/database?sslmode=require`.

use std::time::Duration;

use super::{DatabaseServer, PORT, Password, Read, TlsMode};
use crate::config::percent::decode;
use crate::ids::Secret;

/// A URL, taken apart.
pub(super) struct DatabaseUrl {
    pub(super) server: DatabaseServer,
    pub(super) read: Read,
    /// Parameters that nothing reads.
    pub(super) unread: Vec<String>,
}

/// Why a text is no URL of a Postgres server, and what would be one. Never shows the text, which
/// may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadDatabaseUrl {
    /// Neither `postgres` nor `postgresql`.
    #[error("expected a URL that begins with `postgresql://` or `postgres://`")]
    Scheme,
    /// No user before `@`.
    #[error("expected `user:password@` before the host")]
    User,
    /// Empty or with letters that no host has.
    #[error(
        "expected one host name or address after `@`; letters of a password such as `/` and `@` \
         are written as %2F and %40"
    )]
    Host,
    /// Not 1 to 65535.
    #[error("expected a port from 1 to 65535 after the host")]
    Port,
    /// No name behind the host.
    #[error("expected the name of a database after the host: `/name`")]
    Name,
    /// `%` without two hexadecimal digits, or not UTF-8.
    #[error("user, password, database or a parameter is not percent-encoded text")]
    Encoding,
    /// An unknown word.
    #[error("`sslmode` is one of disable, allow, prefer, require, verify-ca, verify-full")]
    SslMode,
    /// An unknown word.
    #[error("`sslaccept` is one of strict, accept_invalid_certs")]
    SslAccept,
    /// Not a number.
    #[error("`connection_limit` and `pool_timeout` are whole numbers")]
    Number,
}

/// Takes a URL apart.
pub(super) fn parse(text: &str) -> Result<DatabaseUrl, BadDatabaseUrl> {
    let (scheme, rest) = text
        .trim()
        .split_once("://")
        .ok_or(BadDatabaseUrl::Scheme)?;
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(BadDatabaseUrl::Scheme);
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
    if name.contains('@') {
        // Cut through a password.
        return Err(BadDatabaseUrl::Host);
    }
    let (login, address) = authority.rsplit_once('@').ok_or(BadDatabaseUrl::User)?;
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let user = decoded(user)?;
    if user.is_empty() {
        return Err(BadDatabaseUrl::User);
    }
    let password = password.map(decoded).transpose()?;
    let password = password.filter(|text| !text.is_empty());
    let (host, port) = split_port(address)?;
    let mut url = DatabaseUrl {
        server: DatabaseServer {
            host: host.to_owned(),
            port: port.unwrap_or(PORT),
            user,
            password: password.map(|text| Password(Secret::new(text))),
            name: decoded(name)?,
            tls: TlsMode::Prefer,
            root_cert: None,
        },
        read: Read::default(),
        unread: Vec::new(),
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        url.take(name, decoded(value)?)?;
    }
    match () {
        () if url.server.host.is_empty() => Err(BadDatabaseUrl::Host),
        () if url.server.name.is_empty() => Err(BadDatabaseUrl::Name),
        () => Ok(url),
    }
}

impl DatabaseUrl {
    /// Takes a parameter: those of libpq that matter here, and Prisma's, which LiteLLM's users
    /// write.
    fn take(&mut self, name: &str, value: String) -> Result<(), BadDatabaseUrl> {
        let number = |value: &str| value.parse().map_err(|_| BadDatabaseUrl::Number);
        match name {
            "sslmode" => {
                self.server.tls = TlsMode::parse(&value).ok_or(BadDatabaseUrl::SslMode)?;
            }
            "sslrootcert" | "sslcert" => self.server.root_cert = Some(value),
            "sslaccept" => match value.as_str() {
                "strict" => self.server.tls = TlsMode::VerifyFull,
                "accept_invalid_certs" => {}
                _ => return Err(BadDatabaseUrl::SslAccept),
            },
            "host" => self.server.host = value,
            "schema" => self.read.schema = Some(value).filter(|name| !name.is_empty()),
            "connection_limit" => self.read.pool_limit = Some(number(&value)?),
            "pool_timeout" => {
                self.read.pool_wait = Some(Duration::from_secs(u64::from(number(&value)?)));
            }
            // What they ask for is so already: nothing outlives a transaction.
            "pgbouncer"
            | "statement_cache_size"
            | "application_name"
            | "connect_timeout"
            | "socket_timeout" => {}
            other => self.unread.push(other.to_owned()),
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Result<String, BadDatabaseUrl> {
    decode(text).ok_or(BadDatabaseUrl::Encoding)
}

fn split_port(address: &str) -> Result<(&str, Option<u16>), BadDatabaseUrl> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(BadDatabaseUrl::Host)?;
            let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
            if !is_v6 || !(after.is_empty() || after.starts_with(':')) {
                return Err(BadDatabaseUrl::Host);
            }
            (host, after.strip_prefix(':'))
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if !host.chars().all(is_letter) {
        return Err(BadDatabaseUrl::Host);
    }
    let number = |port: &str| port.parse().ok().filter(|port: &u16| *port > 0);
    match port {
        None | Some("") => Ok((host, None)),
        Some(port) => Ok((host, Some(number(port).ok_or(BadDatabaseUrl::Port)?))),
    }
}
