//! Takes everything that looks like a credential out of a text that others will see.

/// What stands in place of a credential.
const MASK: &str = "***";

/// Shortest value after a word such as `api_key=` that is taken for a credential.
const VALUE_BYTES_MIN: usize = 6;

/// Starts of credentials, whatever stands before them.
const PREFIXES: [&str; 9] = [
    "sk-", "sk_", "AIza", "AKIA", "ASIA", "ya29.", "gsk_", "xai-", "eyJ",
];

/// Words that a credential follows, in lower case.
const WORDS: [&str; 12] = [
    "bearer",
    "basic",
    "api_key",
    "api-key",
    "apikey",
    "access_token",
    "subscription-key",
    "token",
    "password",
    "secret",
    "key provided",
    "key",
];

/// The text with credentials masked: `sk-..`, `Bearer ..`, `api_key=..`, JSON web tokens, AWS and
/// Google keys, and ARNs, which name accounts.
pub fn scrub(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(ch) = rest.chars().next() {
        let at_start = !before.is_ascii_alphanumeric();
        let masked = if at_start { credential(rest) } else { None };
        if let Some((kept, len)) = masked {
            clean.push_str(&rest[..kept]);
            clean.push_str(MASK);
            rest = &rest[len..];
            before = '*';
            continue;
        }
        clean.push(ch);
        before = ch;
        rest = &rest[ch.len_utf8()..];
    }
    clean
}

/// A credential at the start of `text`: bytes to keep of it and its length.
fn credential(text: &str) -> Option<(usize, usize)> {
    for prefix in PREFIXES {
        if let Some(value) = text.strip_prefix(prefix) {
            let len = token_len(value);
            if len >= 4 {
                return Some((prefix.len(), prefix.len() + len));
            }
        }
    }
    if text.starts_with("arn:") {
        let value = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ','));
        return Some((4, value.map(str::len).next().unwrap_or(4)));
    }
    let word = WORDS.iter().find(|word| {
        let start = text.as_bytes().get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    })?;
    let after = &text[word.len()..];
    let separators = |c: char| matches!(c, ':' | '=' | '"' | '\'' | '\\' | ' ');
    let value = after.trim_start_matches(separators);
    let gap = &after[..after.len() - value.len()];
    // After a bare space only these two are followed by a credential; elsewhere it is prose.
    let scheme = matches!(*word, "bearer" | "basic");
    let assigned = gap.contains(['=', ':']);
    if gap.is_empty() || !(assigned || scheme) {
        return None;
    }
    let kept = word.len() + gap.len();
    if let Some((inner_kept, len)) = scheme_value(value) {
        return Some((kept + inner_kept, kept + len));
    }
    let len = token_len(value);
    (len >= VALUE_BYTES_MIN).then_some((kept, kept + len))
}

/// `Bearer x` after `token: `.
fn scheme_value(text: &str) -> Option<(usize, usize)> {
    let rest = text
        .strip_prefix("Bearer ")
        .or_else(|| text.strip_prefix("Basic "))?;
    let kept = text.len() - rest.len();
    let len = token_len(rest);
    (len > 0).then_some((kept, kept + len))
}

/// Length of the run of characters that credentials are made of, asterisks of a provider's own
/// masking included. A full stop at the end belongs to the sentence.
fn token_len(text: &str) -> usize {
    let is_part = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '.' | '+' | '/' | '=' | '~')
    };
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text[..end].trim_end_matches('.').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_and_prose_stays() {
        let cases = [
            (
                "Incorrect API key provided: sk-proj-ab**cd. You can find it at https://x.y.",
                "Incorrect API key provided: ***. You can find it at https://x.y.",
            ),
            ("use sk-ant-api03-AbC_d-9 now", "use sk-*** now"),
            (
                "Authorization: Bearer abc.def-1",
                "Authorization: Bearer ***",
            ),
            (
                "authorization: bearer aGVsbG8=",
                "authorization: bearer ***",
            ),
            ("GET /v1?api_key=abcdef123&x=1", "GET /v1?api_key=***&x=1"),
            (r#"{"api-key": "0123456789"}"#, r#"{"api-key": "***"}"#),
            (
                r#"{\"token\":\"Bearer zzz\"}"#,
                r#"{\"token\":\"Bearer ***\"}"#,
            ),
            ("AKIAIOSFODNN7EXAMPLE here", "AKIA*** here"),
            ("key AIzaSyA1234567 is bad", "key AIza*** is bad"),
            (
                "arn:aws:bedrock:us-east-1:123456789012:x is not allowed",
                "arn:*** is not allowed",
            ),
            ("jwt eyJhbGciOi.eyJz.sig, next", "jwt eyJ***, next"),
        ];
        for (text, expected) in cases {
            assert_eq!(scrub(text), expected);
        }
        for prose in [
            "the key must be set",
            "too many tokens: 12 > 8",
            "task-force and risk-averse",
            "max_tokens is too large: 99999. This model supports at most 16384",
            "maximum context length is 8192 tokens",
            "Bearer of bad news é漢",
            "",
        ] {
            assert_eq!(scrub(prose), prose);
        }
    }
}
