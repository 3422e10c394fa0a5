//! What a budget does when it is used up under a running stream, and when other nodes cannot be
//! asked for its rights.

use serde_json::{Map, Value};

/// Where a record's policy is kept: in `metadata`, as LiteLLM keeps limits that have no column.
pub const ON_EXHAUSTED: &str = "on_exhausted";
/// The same for [`Degraded`].
pub const DEGRADED: &str = "degraded_policy";

/// What happens to a stream that runs when its budget has no room for more of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It ends with an error in the caller's dialect.
    #[default]
    Cut,
    /// It runs to its end; rights of others are asked for while it does.
    Finish,
    /// It runs to its end, and nothing is asked of others for it: what they have left is for new
    /// requests.
    RefuseOnly,
}

/// What a node does while it cannot reach those who share a budget with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Degraded {
    /// It spends the rights that it has.
    #[default]
    LeaseOnly,
    /// It refuses.
    FailClosed,
    /// It spends more than it has rights for, and counts it: no bound holds.
    FailOpen,
}

impl OnExhausted {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Cut, Self::Finish, Self::RefuseOnly];
    /// Their words.
    pub const WORDS: [&'static str; 3] = ["cut", "finish", "refuse_only"];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// The one with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }
}

impl Degraded {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::LeaseOnly, Self::FailClosed, Self::FailOpen];
    /// Their words.
    pub const WORDS: [&'static str; 3] = ["lease_only", "fail_closed", "fail_open"];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// The one with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }
}

/// Both, for one budget or for all that say nothing themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// For streams that run.
    pub on_exhausted: OnExhausted,
    /// While others are out of reach.
    pub degraded: Degraded,
}

/// What a record says of both; `None` is what holds for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnPolicy {
    /// For streams that run.
    pub on_exhausted: Option<OnExhausted>,
    /// While others are out of reach.
    pub degraded: Option<Degraded>,
}

impl OwnPolicy {
    /// Whether the words of a record's metadata are known.
    ///
    /// # Errors
    /// What is wrong, with the name of the field.
    pub fn check(metadata: &Map<String, Value>) -> Result<(), String> {
        let given = |name: &str| metadata.get(name).filter(|value| !value.is_null());
        for (name, words) in [
            (ON_EXHAUSTED, OnExhausted::WORDS),
            (DEGRADED, Degraded::WORDS),
        ] {
            let known = |value: &Value| value.as_str().is_some_and(|word| words.contains(&word));
            if given(name).is_some_and(|value| !known(value)) {
                return Err(format!("{name} must be one of {}", words.join(", ")));
            }
        }
        Ok(())
    }

    /// Out of a record's metadata. A word that is none says nothing; routes refuse it.
    pub fn of(metadata: &Map<String, Value>) -> Self {
        let word = |name: &str| metadata.get(name).and_then(Value::as_str);
        Self {
            on_exhausted: word(ON_EXHAUSTED).and_then(OnExhausted::parse),
            degraded: word(DEGRADED).and_then(Degraded::parse),
        }
    }

    /// What holds where `all` holds for those that say nothing.
    #[must_use]
    pub fn or(self, all: Policy) -> Policy {
        Policy {
            on_exhausted: self.on_exhausted.unwrap_or(all.on_exhausted),
            degraded: self.degraded.unwrap_or(all.degraded),
        }
    }

    /// As one number, for an atomic.
    pub(crate) fn pack(self) -> u8 {
        let streams = self.on_exhausted.map_or(0, |one| one as u8 + 1);
        let degraded = self.degraded.map_or(0, |one| one as u8 + 1);
        streams | degraded << 4
    }

    /// Reverse of [`Self::pack`].
    pub(crate) fn unpack(bits: u8) -> Self {
        let at = |bits: u8| usize::from(bits).checked_sub(1);
        Self {
            on_exhausted: at(bits & 0xf).and_then(|at| OnExhausted::ALL.get(at).copied()),
            degraded: at(bits >> 4).and_then(|at| Degraded::ALL.get(at).copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_says_one_or_both_or_nothing() {
        for (metadata, expected) in [
            (json!({}), OwnPolicy::default()),
            (
                json!({"on_exhausted": "finish", "degraded_policy": "fail_closed"}),
                OwnPolicy {
                    on_exhausted: Some(OnExhausted::Finish),
                    degraded: Some(Degraded::FailClosed),
                },
            ),
            (
                json!({"on_exhausted": "refuse_only", "degraded_policy": "never"}),
                OwnPolicy {
                    on_exhausted: Some(OnExhausted::RefuseOnly),
                    degraded: None,
                },
            ),
        ] {
            let own = OwnPolicy::of(metadata.as_object().unwrap());
            assert_eq!(own, expected);
            assert_eq!(OwnPolicy::unpack(own.pack()), own);
        }
        let all = Policy {
            on_exhausted: OnExhausted::Finish,
            degraded: Degraded::FailOpen,
        };
        assert_eq!(OwnPolicy::default().or(all), all);
    }
}
