//! Small HTTP requests for the gateway's own needs (price maps, tokens), on Pingora's connector.

mod call;

pub use call::{Called, Request, call};

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Uri, header};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};
use thiserror::Error;

/// Redirects followed, to the same scheme only.
const REDIRECTS_MAX: usize = 3;
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;
/// Longest connection attempt, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds of one GET, redirects included.
#[derive(Clone, Copy, Debug)]
pub struct GetLimits {
    /// Largest body.
    pub body_bytes_max: usize,
    /// Longest time from start to the last byte.
    pub timeout: Duration,
}

/// Why a GET gave no body.
#[derive(Debug, Error)]
pub enum GetError {
    /// Not an http or https URL with a host, or one with a user name in it.
    #[error("not a usable url: {0}")]
    BadUrl(String),
    /// The host has no address.
    #[error("{host} cannot be resolved: {reason}")]
    Dns {
        /// Name looked up.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The connection or the exchange on it failed.
    #[error("{0}")]
    Transport(#[from] Box<pingora_core::Error>),
    /// The address is one that must not be reached.
    #[error("{host} is at an address that must not be reached ({class})")]
    Refused {
        /// Name looked up.
        host: String,
        /// What the address is.
        class: &'static str,
    },
    /// The answer is neither 200 nor a redirect.
    #[error("status {0}")]
    Status(u16),
    /// A redirect without, or with an unusable, `Location`, or to another scheme.
    #[error("redirect cannot be followed: {0}")]
    BadRedirect(String),
    /// More redirects than are followed.
    #[error("more than {REDIRECTS_MAX} redirects")]
    TooManyRedirects,
    /// The body is encoded although no encoding was offered.
    #[error("body has content-encoding {0}")]
    Encoded(String),
    /// The body is above the limit.
    #[error("body is larger than {0} bytes")]
    TooLarge(usize),
    /// The time is up.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// Fetches a URL: status 200 and the whole body, or an error. Certificates are verified.
pub async fn get(connector: &Connector, url: &str, limits: GetLimits) -> Result<Bytes, GetError> {
    let fetched = get_within(connector, url, limits, &Within::Anywhere).await?;
    Ok(fetched.body)
}

/// Which addresses a GET may reach. Each redirect is asked about anew.
pub enum Within<'a> {
    /// All: the URL is the operator's.
    Anywhere,
    /// A caller's URL: what this says of a name and an address of it is why it must not be
    /// reached. A name that has any such address is not reached at all.
    Caller(&'a (dyn Fn(&str, IpAddr) -> Option<&'static str> + Sync)),
}

/// What a GET gave.
#[derive(Debug)]
pub struct Fetched {
    /// The answer's `content-type`; empty where it has none.
    pub content_type: String,
    /// The whole body.
    pub body: Bytes,
}

/// As [`get`], within bounds and with what the server says of the body.
pub async fn get_within(
    connector: &Connector,
    url: &str,
    limits: GetLimits,
    within: &Within<'_>,
) -> Result<Fetched, GetError> {
    let followed = follow(connector, url, limits.body_bytes_max, within);
    tokio::time::timeout(limits.timeout, followed)
        .await
        .unwrap_or(Err(GetError::Timeout(limits.timeout)))
}

async fn follow(
    connector: &Connector,
    url: &str,
    bytes_max: usize,
    within: &Within<'_>,
) -> Result<Fetched, GetError> {
    let mut target = Target::parse(url)?;
    for _ in 0..=REDIRECTS_MAX {
        let mut session = send(connector, &target, within).await?;
        let head = session.response_header().ok_or(GetError::Status(0))?;
        match head.status {
            StatusCode::OK => {
                let said = head.headers.get(header::CONTENT_TYPE);
                let said = said.and_then(|value| value.to_str().ok());
                let content_type = said.unwrap_or_default().to_owned();
                let body = read_body(&mut session, bytes_max).await?;
                return Ok(Fetched { content_type, body });
            }
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => target = target.redirected(head)?,
            status => return Err(GetError::Status(status.as_u16())),
        }
        // The rest of the answer is not wanted.
        session.shutdown().await;
    }
    Err(GetError::TooManyRedirects)
}

/// One request up to its response head.
async fn send(
    connector: &Connector,
    target: &Target,
    within: &Within<'_>,
) -> Result<HttpSession, GetError> {
    let mut session = connect(connector, target, within).await?;
    let mut head = RequestHeader::build("GET", target.path.as_bytes(), Some(5))?;
    head.insert_header(header::HOST, target.authority.as_str())?;
    head.insert_header(header::USER_AGENT, "meridian")?;
    head.insert_header(header::ACCEPT, "application/json, */*")?;
    head.insert_header(header::ACCEPT_ENCODING, "identity")?;
    session.write_request_header(Box::new(head)).await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    Ok(session)
}

async fn connect(
    connector: &Connector,
    target: &Target,
    within: &Within<'_>,
) -> Result<HttpSession, GetError> {
    let dns = |reason: String| GetError::Dns {
        host: target.host.clone(),
        reason,
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(|error| dns(error.to_string()))?
        .collect();
    if let Within::Caller(refuses) = within {
        let mut ips = addresses.iter().map(SocketAddr::ip);
        if let Some(class) = ips.find_map(|ip| refuses(&target.host, ip)) {
            let host = target.host.clone();
            return Err(GetError::Refused { host, class });
        }
    }
    let mut failure = dns("no address".to_owned());
    // What was looked at is what is connected to: the name is not asked for again.
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let mut peer = HttpPeer::new(address, target.tls, target.host.clone());
        peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
        match connector.get_http_session(&peer).await {
            Ok((session, _)) => return Ok(session),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

async fn read_body(session: &mut HttpSession, bytes_max: usize) -> Result<Bytes, GetError> {
    let head = session.response_header().ok_or(GetError::Status(0))?;
    if let Some(encoding) = head.headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        return Err(GetError::Encoded(encoding));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_response_body().await? {
        if chunk.len() > bytes_max.saturating_sub(body.len()) {
            return Err(GetError::TooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    tls: bool,
    /// Host and port as the URL has them.
    authority: String,
    /// Name or address without brackets.
    host: String,
    port: u16,
    /// Path and query.
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, GetError> {
        // Credentials in a URL would end up in messages: the text is cut out of the error.
        let bad = || GetError::BadUrl(url.rsplit('@').next().unwrap_or_default().to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(bad());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            tls,
            authority: authority.as_str().to_owned(),
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: path.to_owned(),
        })
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    fn redirected(&self, head: &ResponseHeader) -> Result<Self, GetError> {
        let location = head.headers.get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let location = location.unwrap_or_default();
        let bad = || GetError::BadRedirect(location.rsplit('@').next().unwrap_or("").to_owned());
        let url = match location {
            _ if location.starts_with("//") => format!("{}:{location}", self.scheme()),
            _ if location.starts_with('/') => {
                format!("{}://{}{location}", self.scheme(), self.authority)
            }
            _ => location.to_owned(),
        };
        let target = Self::parse(&url).map_err(|_| bad())?;
        if target.tls != self.tls {
            return Err(bad());
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests;
