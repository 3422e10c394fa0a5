//! Heads of requests and answers as both protocol versions need them.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// `Host` / `:authority`.
    pub authority: String,
    /// End-to-end headers without `host` and `content-length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Room for the headers of a usual answer.
const HEADERS_USUAL: usize = 24;

/// Final head of an answer.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Status, 200 or more.
    pub status: StatusCode,
    /// Headers, those of the connection included.
    pub headers: HeaderMap,
}

impl ResponseHead {
    /// A head without headers.
    pub fn new(status: StatusCode) -> Self {
        Self::with_room(status, HEADERS_USUAL)
    }

    /// A head with room for so many headers.
    pub fn with_room(status: StatusCode, headers: usize) -> Self {
        Self {
            status,
            headers: HeaderMap::with_capacity(headers),
        }
    }

    /// Sets a header; an empty value leaves it out.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        if !value.is_empty() {
            self.headers.insert(name, value);
        }
    }
}

impl From<ResponseHead> for pingora_http::ResponseHeader {
    fn from(head: ResponseHead) -> Self {
        let mut parts = http::Response::new(()).into_parts().0;
        parts.status = head.status;
        parts.headers = head.headers;
        parts.into()
    }
}

/// Headers that belong to one connection and are never passed on (RFC 9110, 7.6.1), including
/// those that `Connection` names.
pub fn is_hop_by_hop(name: &HeaderName, headers: &HeaderMap) -> bool {
    const NAMES: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    if NAMES.contains(&name.as_str()) || name == http::header::TRAILER {
        return true;
    }
    lists(headers, &http::header::CONNECTION, name.as_str())
}

/// Whether one of the lists under `header` names `token`.
pub(super) fn lists(headers: &HeaderMap, header: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(header).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}
