//! Names and ids of tools within a provider's limits.

use std::borrow::Cow;

use crate::translate::text::Text;

/// What a provider allows in the name of a tool, or in the id of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameRule {
    /// Signs beside letters and digits.
    pub(super) signs: &'static str,
    /// Whether a digit or a sign may come first.
    pub(super) any_first: bool,
    /// Most characters.
    pub(super) chars_max: usize,
}

impl NameRule {
    fn allows(self, name: &str) -> bool {
        let first = name.chars().next();
        let first_fits = first.is_some_and(|sign| sign.is_ascii_alphabetic() || sign == '_');
        let fits = |sign: char| sign.is_ascii_alphanumeric() || self.signs.contains(sign);
        (first_fits || self.any_first && first.is_some())
            && name.len() <= self.chars_max
            && name.chars().all(fits)
    }

    /// The same name within the rule, the same every time: what does not fit becomes `_`, and a
    /// checksum of the whole keeps different names different.
    pub(super) fn fitted<'n>(self, name: &'n str) -> Cow<'n, str> {
        if self.allows(name) {
            return Cow::Borrowed(name);
        }
        let fits = |sign: char| sign.is_ascii_alphanumeric() || self.signs.contains(sign);
        let mut fitted = String::new();
        if !name.starts_with(|sign: char| sign.is_ascii_alphabetic() || sign == '_') {
            fitted.push('_');
        }
        fitted.extend(name.chars().map(|sign| if fits(sign) { sign } else { '_' }));
        fitted.truncate(self.chars_max.saturating_sub(9));
        Cow::Owned(format!("{fitted}_{:08x}", crc32fast::hash(name.as_bytes())))
    }
}

/// Names of the tools of one request, and how they were changed.
#[derive(Debug)]
pub(super) struct ToolNames {
    rule: NameRule,
    /// (Sent, the caller's own).
    pub(super) changed: Vec<(String, String)>,
}

impl ToolNames {
    pub(super) fn new(rule: NameRule) -> Self {
        let changed = Vec::new();
        Self { rule, changed }
    }

    /// The name to send.
    pub(super) fn sent<'t>(&mut self, own: &'t Text<'_>) -> Text<'t> {
        let clear = own.clear();
        let fitted = self.rule.fitted(&clear);
        if fitted == clear {
            return own.borrowed();
        }
        let sent = fitted.into_owned();
        if !self.changed.iter().any(|(known, _)| *known == sent) {
            self.changed.push((sent.clone(), clear.into_owned()));
        }
        Text::plain(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: NameRule = NameRule {
        signs: "_-",
        any_first: true,
        chars_max: 16,
    };

    #[test]
    fn names_are_fitted_once_and_stay_apart() {
        let mut names = ToolNames::new(RULE);
        assert_eq!(names.sent(&Text::from("get_x-1")).clear(), "get_x-1");
        let (a, b) = (Text::from("a.b"), Text::from("a/b"));
        let (sent_a, sent_b) = (names.sent(&a), names.sent(&b));
        assert_ne!(sent_a, sent_b);
        assert_eq!(names.sent(&a), sent_a);
        assert_eq!(names.changed.len(), 2);
        assert!(names.changed.iter().all(|(sent, _)| RULE.allows(sent)));
        let long = Text::from("mcp__server__a_tool_with_a_long_name");
        let mut names = ToolNames::new(RULE);
        assert!(names.sent(&long).clear().len() <= 16);
        let strict = NameRule {
            any_first: false,
            ..RULE
        };
        assert!(strict.allows(&strict.fitted("1st")) && strict.allows(&strict.fitted("")));
    }
}
