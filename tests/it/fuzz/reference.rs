//! What should be decided, from the documents alone: exact paths, one credential, deny by default.

use super::mutate::{Probe, Who};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Everybody,
    AnyKey,
    /// Administrators, and of them the master key is the only one here.
    Admin,
}

/// The decision behind a status.
pub(super) fn class_of(status: u16) -> &'static str {
    match status {
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        500.. => "crash",
        _ => "passed",
    }
}

/// The decision that a request deserves.
pub(super) fn decide(probe: &Probe) -> &'static str {
    let Some(path) = meant_path(&probe.target) else {
        return "404";
    };
    let Some((methods, door)) = route(&path) else {
        return "404";
    };
    if !methods.contains(&probe.method) {
        return "405";
    }
    if door == Door::Everybody {
        return "passed";
    }
    let narrow_path = matches!(path.as_str(), "/v1/models" | "/models");
    match (caller(probe), door) {
        (Who::Nobody, _) => "401",
        (Who::Master, _) => "passed",
        (Who::Narrow, _) if !narrow_path => "403",
        (Who::Key | Who::Narrow, Door::Admin) => "401",
        (Who::Key | Who::Narrow, _) => "passed",
    }
}

/// The path a request means: escapes of unreserved characters are spelling (RFC 3986, 6.2.2.2),
/// everything else is another path.
fn meant_path(target: &str) -> Option<String> {
    let target = target.strip_prefix("http://localhost").unwrap_or(target);
    let path = target.split('?').next()?;
    let mut meant = String::new();
    let mut rest = path;
    while let Some(letter) = rest.chars().next() {
        let escaped = rest.strip_prefix('%').and_then(|hex| hex.get(..2));
        let value = escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match value.map(char::from) {
            Some(plain) if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => {
                meant.push(plain);
                rest = &rest[3..];
            }
            _ => {
                meant.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    Some(meant)
}

fn route(path: &str) -> Option<(&'static [&'static str], Door)> {
    const POST: &[&str] = &["POST"];
    const GET: &[&str] = &["GET"];
    const PROBE: &[&str] = &["GET", "HEAD", "OPTIONS"];
    Some(match path {
        "/v1/chat/completions" | "/chat/completions" => (POST, Door::AnyKey),
        "/v1/messages" | "/v1/embeddings" => (POST, Door::AnyKey),
        "/v1/models" | "/models" | "/key/list" | "/spend/logs" => (GET, Door::AnyKey),
        "/key/generate" | "/key/block" | "/global/spend/reset" => (POST, Door::Admin),
        "/global/spend" => (GET, Door::Admin),
        "/health/liveliness" | "/health/readiness" => (PROBE, Door::Everybody),
        _ => return with_a_name(path),
    })
}

/// Paths with a model in them, which may hold slashes and no odd characters.
fn with_a_name(path: &str) -> Option<(&'static [&'static str], Door)> {
    const AROUND: [(&str, &str, &[&str]); 6] = [
        ("/openai/deployments/", "/chat/completions", &["POST"]),
        ("/openai/deployments/", "/completions", &["POST"]),
        ("/engines/", "/chat/completions", &["POST"]),
        ("/engines/", "/completions", &["POST"]),
        ("/v1/models/", "", &["GET"]),
        ("/models/", "", &["GET"]),
    ];
    let plain =
        |step: &str| !matches!(step, "" | "." | "..") && !step.contains(['\\', '?', '#', '%', ';']);
    let is_name = |name: &str| {
        let name = decoded(name).unwrap_or_default();
        name.split('/').all(plain) && !name.contains(char::is_control)
    };
    let found = AROUND.iter().find(|(prefix, suffix, _)| {
        let rest = path.strip_prefix(prefix);
        rest.and_then(|rest| rest.strip_suffix(suffix))
            .is_some_and(is_name)
    });
    let found = found.map(|(_, _, methods)| (*methods, Door::AnyKey));
    found.or_else(|| with_a_key(path))
}

/// `PUT /key/{digest}`: an id holds no slash.
fn with_a_key(path: &str) -> Option<(&'static [&'static str], Door)> {
    let id = decoded(path.strip_prefix("/key/")?)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:=+@,".contains(&byte);
    let is_id = id.bytes().all(plain) && !id.bytes().all(|byte| byte == b'.');
    is_id.then_some((&["PUT"][..], Door::Admin))
}

/// A name with its escapes undone once; a name may need them (`%3A`, `%2F`).
fn decoded(name: &str) -> Option<String> {
    let mut pieces = name.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// LiteLLM's order of headers: the first that is there decides, the others are not looked at.
fn caller(probe: &Probe) -> Who {
    const ORDER: [&str; 6] = [
        "x-litellm-api-key",
        "authorization",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
    ];
    let first = |name: &&str| probe.carried.iter().find(|(carrier, _)| carrier == name);
    ORDER
        .iter()
        .find_map(first)
        .map_or(Who::Nobody, |(_, who)| *who)
}
