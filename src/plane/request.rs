//! What a request's head says before anything is decided.

use memchr::memmem;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;

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
