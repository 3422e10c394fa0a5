//! Model names with one `*`.

/// What the `*` of a pattern stands for in a name: empty when the pattern has none and is the
/// name itself, `None` when it does not match.
pub fn capture<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    match pattern.split_once('*') {
        None => (pattern == name).then_some(""),
        Some((start, end)) => name.strip_prefix(start)?.strip_suffix(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        assert_eq!(
            capture("anthropic/*", "anthropic/claude-x"),
            Some("claude-x")
        );
        assert_eq!(capture("*", "anything/at-all"), Some("anything/at-all"));
        assert_eq!(capture("a*z", "abcz"), Some("bc"));
        assert_eq!(capture("a*a", "a"), None);
        assert_eq!(capture("gpt-4o", "gpt-4o"), Some(""));
        assert_eq!(capture("gpt-4o", "gpt-4o-mini"), None);
        assert_eq!(capture("openai/*", "anthropic/x"), None);
    }
}
