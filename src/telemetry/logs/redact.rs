//! Takes what looks like a credential out of a finished log line.
//!
//! Belt and braces: secrets are kept out by type (`meridian_core::ids::Secret`); this catches what
//! libraries print (request lines, headers, URLs, error texts). Works on lines that are plain,
//! JSON (values end at an escaped quote) or percent-encoded.

/// What stands where a credential stood.
const MASK: &str = "***";

/// Credentials that begin in a known way, and how long the rest must be to count as one.
const PREFIXES: [(&str, usize); 5] = [
    ("sk-", 1),
    ("AIza", 20),
    ("ya29.", 10),
    ("eyJ", 20),
    ("AKIA", 12),
];

/// Names whose value is a credential, in lower case with `-` for `_`.
const NAMES: [&str; 19] = [
    "api-key",
    "apikey",
    "authorization",
    "x-goog-api-key",
    "subscription-key",
    "access-token",
    "refresh-token",
    "auth-token",
    "security-token",
    "password",
    "passwd",
    "client-secret",
    "secret",
    "secret-access-key",
    "master-key",
    "salt-key",
    "private-key",
    "cookie",
    "key",
];

/// Schemes that stand between a name and its credential, or before one without a name.
const SCHEMES: [&str; 3] = ["bearer", "basic", "token"];

/// The line without credentials; borrowed when it has none.
pub(super) fn redact(line: &str) -> std::borrow::Cow<'_, str> {
    let mut clean = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < line.len() {
        match secret_at(line, at) {
            Some((start, end)) => {
                clean.push_str(&line[copied..start]);
                clean.push_str(MASK);
                copied = end;
                at = end;
            }
            None => at += char_len(line, at),
        }
    }
    if copied == 0 {
        return line.into();
    }
    clean.push_str(&line[copied..]);
    clean.into()
}

fn char_len(line: &str, at: usize) -> usize {
    line[at..].chars().next().map_or(1, char::len_utf8)
}

/// The span of the credential that `at` announces.
fn secret_at(line: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &line[at..];
    match rest.as_bytes()[0].to_ascii_lowercase() {
        b's' | b'a' | b'y' | b'e' | b'b' | b'x' | b'r' | b'p' | b'c' | b'm' | b'k' | b't' => {}
        b':' if rest.starts_with("://") => return url_credentials(line, at + 3),
        _ => return None,
    }
    if let Some(end) = prefixed(line, at) {
        return Some((at, end));
    }
    if !starts_word(line, at) {
        return None;
    }
    scheme(line, at).or_else(|| named(line, at))
}

/// `sk-...` and its like, kept apart from words such as `task-12`.
fn prefixed(line: &str, at: usize) -> Option<usize> {
    let (prefix, least) = PREFIXES
        .iter()
        .find(|(prefix, _)| line[at..].starts_with(prefix))?;
    let body = at + prefix.len();
    let end = body + token_len(&line[body..]);
    let clear = starts_word(line, at) || (end - body >= 16 && has_digit(&line[body..end]));
    (end - body >= *least && clear).then_some(end)
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// `Bearer x` without a name before it.
fn scheme(line: &str, at: usize) -> Option<(usize, usize)> {
    let scheme = SCHEMES[..2]
        .iter()
        .find(|scheme| starts_with_word(&line[at..], scheme))?;
    let after = at + scheme.len();
    let gap = separators_len(&line[after..], " +");
    let start = after + gap;
    let end = start + value_len(&line[start..]);
    // "bearer of bad news" is no credential; "Bearer sk-x" and "Basic dXNlcjpw" are.
    let body = &line[start..end];
    (gap > 0 && (body.len() >= 16 || has_digit(body) || body.contains('-'))).then_some((start, end))
}

/// `name: value`, `"name":"value"`, `name=value`, `name=Bearer value`.
fn named(line: &str, at: usize) -> Option<(usize, usize)> {
    let name = NAMES
        .iter()
        .filter(|name| is_name(&line[at..], name))
        .max_by_key(|name| name.len())?;
    let after = at + name.len();
    let gap = separators_len(&line[after..], "\"'\\ :=>,");
    let separators = &line[after..after + gap];
    // A pair in a debug print has a quote, a comma and a quote between name and value.
    let pair = separators.contains(',') && separators.contains('"');
    let assigns = pair
        || [":", "=", "%3"]
            .iter()
            .any(|sign| separators.contains(sign));
    // What follows the colon of a JSON name at once is no text: number, null, object.
    if separators.ends_with("\":") {
        return None;
    }
    // A bare "key" is only one in a query string: it is an everyday word.
    let in_query = || at > 0 && matches!(line.as_bytes()[at - 1], b'?' | b'&');
    if !assigns || (*name == "key" && !in_query()) {
        return None;
    }
    let mut start = after + gap;
    if line[start..].starts_with("Some(") {
        start += "Some(".len();
        start += separators_len(&line[start..], "\"\\");
    }
    if let Some(scheme) = SCHEMES
        .iter()
        .find(|scheme| starts_with_word(&line[start..], scheme))
    {
        start += scheme.len();
        start += separators_len(&line[start..], " +");
    }
    let end = start + value_len(&line[start..]);
    let masked = &line[start..end];
    let nothing = masked.is_empty() || masked.starts_with(MASK) || is_absent(masked);
    (!nothing).then_some((start, end))
}

/// Words that say that there is no value.
fn is_absent(value: &str) -> bool {
    matches!(value, "null" | "None" | "true" | "false" | "Sensitive")
}

/// `user:password@` of a URL.
fn url_credentials(line: &str, start: usize) -> Option<(usize, usize)> {
    let authority = &line[start..];
    let end = authority.find(|it: char| it.is_whitespace() || "/?#\"'\\<>".contains(it));
    let authority = &authority[..end.unwrap_or(authority.len())];
    let at_sign = authority.rfind('@')?;
    Some((start, start + at_sign))
}

/// Whether the text begins with a name, `_` and `-` being the same, and does not go on as a word.
fn is_name(text: &str, name: &str) -> bool {
    let Some(head) = text.as_bytes().get(..name.len()) else {
        return false;
    };
    let same = head.iter().zip(name.bytes()).all(|(left, right)| {
        let left = left.to_ascii_lowercase();
        left == right || (left == b'_' && right == b'-')
    });
    same && !text[name.len()..].starts_with(is_word)
}

fn starts_with_word(text: &str, word: &str) -> bool {
    let head = text.as_bytes().get(..word.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
        && !text[word.len()..].starts_with(|it: char| is_word(it) && it != '_')
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

/// Whether a word can begin here: after no letter or digit, or after an escape (`\n`, `%20`).
fn starts_word(line: &str, at: usize) -> bool {
    let before = &line.as_bytes()[..at];
    match before {
        [.., b'\\', b'n' | b't' | b'r'] => true,
        [.., b'%', first, second] if first.is_ascii_hexdigit() && second.is_ascii_hexdigit() => {
            true
        }
        [.., last] => !last.is_ascii_alphanumeric(),
        [] => true,
    }
}

fn token_len(text: &str) -> usize {
    let end = text.find(|it: char| !(is_word(it) || it == '.' || it == '~'));
    let token = &text[..end.unwrap_or(text.len())];
    // Our own masked form, `sk-...wxyz`, and a full stop after the token stay.
    if token.starts_with("...") {
        return 0;
    }
    token.trim_end_matches('.').len()
}

fn value_len(text: &str) -> usize {
    let ends = |it: char| it.is_whitespace() || "\"'\\,;&)}]<>".contains(it);
    text.find(ends).unwrap_or(text.len())
}

/// Length of the run of separators, percent-encoded ones included.
fn separators_len(text: &str, separators: &str) -> usize {
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let encoded = text.get(at..at + 3).unwrap_or_default();
        if ["%20", "%22", "%3A", "%3a", "%3D", "%3d"].contains(&encoded) {
            at += encoded.len();
        } else if separators.contains(next) {
            at += next.len_utf8();
        } else {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_in_every_dress() {
        for line in [
            "got sk-CANARY7 from a client",
            "Authorization: Bearer CANARY7-x, Host: x",
            "Authorization: Basic CANARY7eHh4",
            r#"{"message":"x-api-key: CANARY7"}"#,
            r#"{"message":"{\"api_key\":\"CANARY7\",\"model\":\"m\"}"}"#,
            r#"{"message":"line one\nsk-CANARY7"}"#,
            r#"[("x-api-key", "CANARY7"), ("host", "a")]"#,
            r#"{"headers":"[(\"x-api-key\", \"CANARY7\")]"}"#,
            r#"api_key: Some("CANARY7"), model"#,
            "GET /v1beta/models?alt=sse&key=CANARY7 HTTP/1.1",
            "GET /v1?api-key=CANARY7&b=1",
            "Bearer%20sk-CANARY7",
            "postgres://user:CANARY7@db/x",
            "redis://:CANARY7@10.0.0.1:6379",
            "OPENAI_API_KEY=CANARY7",
            "x-goog-api-key=\"CANARY7\"",
            "AIzaCANARY7CANARY7CANARY7CANARY7",
            "eyJhbGciOiJIUzI1NiJ9.CANARY7.CANARY7",
            "master_key: CANARY7",
            "Proxy-Authorization: Bearer CANARY7",
            "bearer sk-ant-CANARY7",
            "bearer  xCANARY7",
            "tasksk-CANARY7CANARY7CANARY7",
        ] {
            let clean = redact(line);
            assert!(!clean.contains("CANARY7"), "{clean}");
            assert!(clean.contains(MASK), "{clean}");
        }
    }

    #[test]
    fn what_surrounds_a_credential_stays() {
        let line = r#"{"api_key":"abc","model":"gpt","n":1} sk-x."#;
        assert_eq!(
            redact(line),
            r#"{"api_key":"***","model":"gpt","n":1} ***."#
        );
        let line = "https://u:p@example.com/v1?key=k1&x=2 é";
        assert_eq!(redact(line), "https://***@example.com/v1?key=***&x=2 é");
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for line in [
            "task-12 wrote disk-usage for risk-7",
            "key_alias=team-a api_key_alias=\"blue\" max_budget=3",
            "Received API Key = sk-...wxyz, Key Hash (Token) =88dc28d0",
            "the key: it is missing",
            "a basic check, a bearer of news",
            r#"{"api_key":null,"token_type":"x","password":12,"secret":{"a":1}}"#,
            "https://example.com/a@b",
            "http://[::1]:4000/é?model=x",
            "expected Authorization header",
            "",
        ] {
            assert_eq!(redact(line), line);
        }
    }

    #[test]
    fn no_cut_of_a_line_panics() {
        let line = "é Authorization: Bearer%20sk-é \\n x-api-key\\\":\"ü\" ://ö:p@ü ?key=é";
        for start in (0..=line.len()).filter(|at| line.is_char_boundary(*at)) {
            for end in (start..=line.len()).filter(|at| line.is_char_boundary(*at)) {
                redact(&line[start..end]);
            }
        }
    }
}
