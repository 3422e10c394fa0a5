//! What a request's head says before anything is decided.

use http::{HeaderMap, HeaderValue};
use memchr::memmem;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;

/// Up to so many headers it costs less to look at each of them than to hash the name.
const HEADERS_FEW: usize = 24;

/// The first value of a header, whatever the case of `name`. Some twenty names are asked for in
/// every request, and most of them are in none.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    if headers.len() > HEADERS_FEW {
        return headers.get(name);
    }
    let is_it = |found: &str| found.len() == name.len() && found.eq_ignore_ascii_case(name);
    let mut all = headers.iter();
    all.find(|(found, _)| is_it(found.as_str()))
        .map(|(_, value)| value)
}

/// The path that is asked for. A target that is neither a path nor a URL has none; pingora shows
/// it as `/`.
pub(super) fn path_of(request: &RequestHeader) -> &str {
    let target = request.raw_path();
    let is_url = || memmem::find(target, b"://").is_some();
    match target.first() {
        Some(b'/') => request.uri.path(),
        Some(_) if is_url() => request.uri.path(),
        _ => "",
    }
}

/// Both framings at once is how requests are smuggled; pingora drops the length silently.
pub(super) fn is_smuggling(session: &ServerSession) -> bool {
    let Some(session) = session.as_http1() else {
        return false;
    };
    if session
        .req_header()
        .headers
        .get(http::header::TRANSFER_ENCODING)
        .is_none()
    {
        return false;
    }
    let raw = session.get_headers_raw_bytes().to_ascii_lowercase();
    raw.windows(16).any(|window| window == b"\ncontent-length:")
}

/// Codex tries a WebSocket first and goes on with HTTP after a 426.
pub(super) fn wants_upgrade(session: &ServerSession) -> bool {
    let upgrade = session.get_header(http::header::UPGRADE);
    upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_among_few_and_among_many_and_the_first_one_counts() {
        let mut headers = HeaderMap::new();
        headers.append("x-two", HeaderValue::from_static("first"));
        headers.append("x-two", HeaderValue::from_static("second"));
        for more in [0, 2 * HEADERS_FEW] {
            for number in 0..more {
                let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
                headers.insert(name, HeaderValue::from_static("other"));
            }
            let found = |name| header(&headers, name).and_then(|value| value.to_str().ok());
            assert_eq!(found("x-two"), Some("first"));
            assert_eq!(found("X-Two"), Some("first"));
            assert_eq!(found("x-tw"), None);
            assert_eq!(found("x-twp"), None);
        }
    }
}
