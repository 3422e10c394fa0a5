//! What a budget does when it is used up under a running stream, and when other nodes cannot be
//! asked for its rights.

use serde_json::{Map, Value};

use crate::money::NanoUsd;

/// Where a record's policy is kept: in `metadata`, as LiteLLM keeps limits that have no column.
pub const ON_EXHAUSTED: &str = "on_exhausted";
/// The same for [`Degraded`].
pub const DEGRADED: &str = "degraded_policy";
/// The same for [`Policy::overdraft_percent`].
pub const OVERDRAFT: &str = "overdraft_percent";
/// Most of a budget that each node may be allowed beyond its rights, in percent.
pub const OVERDRAFT_PERCENT_MAX: u8 = 50;
/// What it is where nothing is said.
const OVERDRAFT_PERCENT: u8 = 5;
/// [`Policy::finish_tokens`] where nothing is said.
const FINISH_TOKENS: u64 = 65_536;

/// What happens to a stream that runs when its budget has no room for more of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It ends with an error in the caller's dialect.
    #[default]
    Cut,
    /// It runs to its end; rights of others are asked for while it does. What it may take past the
    /// end is bounded.
    Finish,
    /// It is never touched, and nothing is asked of others for it: what they have left is for new
    /// requests.
    RefuseOnly,
}

/// What a node does while it cannot reach those who decide about a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Degraded {
    /// It spends the rights that it has.
    #[default]
    LeaseOnly,
    /// It refuses new requests.
    FailClosed,
    /// It spends more than it has rights for, up to a granted part of the budget.
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

/// What holds for one budget, or for all that say nothing themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For streams that run.
    pub on_exhausted: OnExhausted,
    /// While those who decide are out of reach.
    pub degraded: Degraded,
    /// Of the budget, what each node may spend beyond its rights under [`Degraded::FailOpen`].
    pub overdraft_percent: u8,
    /// Output tokens that a stream without a bound of its own may take past the end of a budget
    /// under [`OnExhausted::Finish`].
    pub finish_tokens: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_exhausted: OnExhausted::default(),
            degraded: Degraded::default(),
            overdraft_percent: OVERDRAFT_PERCENT,
            finish_tokens: FINISH_TOKENS,
        }
    }
}

impl Policy {
    /// What this node may spend beyond its rights in a budget of this size while those who decide
    /// are out of reach: never the whole.
    pub fn overdraft(self, limit: NanoUsd) -> NanoUsd {
        let percent = self.overdraft_percent.min(OVERDRAFT_PERCENT_MAX);
        match self.degraded {
            Degraded::LeaseOnly | Degraded::FailClosed => NanoUsd::ZERO,
            Degraded::FailOpen => NanoUsd(limit.0.max(0) / 100 * i64::from(percent)),
        }
    }
}

/// What a record says; `None` is what holds for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnPolicy {
    /// For streams that run.
    pub on_exhausted: Option<OnExhausted>,
    /// While those who decide are out of reach.
    pub degraded: Option<Degraded>,
    /// As in [`Policy`].
    pub overdraft_percent: Option<u8>,
}

impl OwnPolicy {
    /// Whether what a record's metadata says is known.
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
        if given(OVERDRAFT).is_some_and(|value| percent(value).is_none()) {
            return Err(format!(
                "{OVERDRAFT} must be a whole number from 1 to {OVERDRAFT_PERCENT_MAX}: what each \
                 node may spend beyond its rights, of the budget"
            ));
        }
        Ok(())
    }

    /// Out of a record's metadata. What cannot be read says nothing; routes refuse it.
    pub fn of(metadata: &Map<String, Value>) -> Self {
        let word = |name: &str| metadata.get(name).and_then(Value::as_str);
        Self {
            on_exhausted: word(ON_EXHAUSTED).and_then(OnExhausted::parse),
            degraded: word(DEGRADED).and_then(Degraded::parse),
            overdraft_percent: metadata.get(OVERDRAFT).and_then(percent),
        }
    }

    /// What holds where `all` holds for those that say nothing.
    #[must_use]
    pub fn or(self, all: Policy) -> Policy {
        Policy {
            on_exhausted: self.on_exhausted.unwrap_or(all.on_exhausted),
            degraded: self.degraded.unwrap_or(all.degraded),
            overdraft_percent: self.overdraft_percent.unwrap_or(all.overdraft_percent),
            finish_tokens: all.finish_tokens,
        }
    }

    /// As one number, for an atomic.
    pub(crate) fn pack(self) -> u16 {
        let streams = self.on_exhausted.map_or(0, |one| one as u16 + 1);
        let degraded = self.degraded.map_or(0, |one| one as u16 + 1);
        let percent = u16::from(self.overdraft_percent.unwrap_or(0));
        streams | degraded << 4 | percent << 8
    }

    /// Reverse of [`Self::pack`].
    pub(crate) fn unpack(bits: u16) -> Self {
        let at = |bits: u16| usize::from(bits & 0xf).checked_sub(1);
        let [percent, _] = bits.to_be_bytes();
        Self {
            on_exhausted: at(bits).and_then(|at| OnExhausted::ALL.get(at).copied()),
            degraded: at(bits >> 4).and_then(|at| Degraded::ALL.get(at).copied()),
            overdraft_percent: (percent > 0).then_some(percent),
        }
    }
}

fn percent(value: &Value) -> Option<u8> {
    let percent = u8::try_from(value.as_u64()?).ok()?;
    (1..=OVERDRAFT_PERCENT_MAX)
        .contains(&percent)
        .then_some(percent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_says_all_or_some_or_nothing() {
        let (finish, closed) = (OnExhausted::Finish, Degraded::FailClosed);
        for (metadata, expected) in [
            (json!({}), (None, None, None)),
            (
                json!({"on_exhausted": "finish", "degraded_policy": "fail_closed"}),
                (Some(finish), Some(closed), None),
            ),
            (
                json!({"on_exhausted": "refuse_only", "degraded_policy": "never",
                    "overdraft_percent": 50}),
                (Some(OnExhausted::RefuseOnly), None, Some(50)),
            ),
        ] {
            let own = OwnPolicy::of(metadata.as_object().unwrap());
            let said = (own.on_exhausted, own.degraded, own.overdraft_percent);
            assert_eq!(said, expected);
            assert_eq!(OwnPolicy::unpack(own.pack()), own);
        }
        for bad in [
            json!({"on_exhausted": "never"}),
            json!({"degraded_policy": 1}),
            json!({"overdraft_percent": 51}),
            json!({"overdraft_percent": "5"}),
        ] {
            let error = OwnPolicy::check(bad.as_object().unwrap()).unwrap_err();
            let field = bad.as_object().unwrap().keys().next().unwrap();
            assert!(error.starts_with(field.as_str()), "{error}");
        }
    }

    #[test]
    fn an_overdraft_is_a_part_of_the_budget_and_only_where_it_is_wanted() {
        let all = Policy::default();
        let open = Policy {
            degraded: Degraded::FailOpen,
            ..all
        };
        assert_eq!(all.overdraft(NanoUsd(1_000)), NanoUsd::ZERO);
        assert_eq!(open.overdraft(NanoUsd(1_000)), NanoUsd(50));
        let own = OwnPolicy {
            overdraft_percent: Some(20),
            ..OwnPolicy::default()
        };
        assert_eq!(own.or(open).overdraft(NanoUsd(1_000)), NanoUsd(200));
        let wild = Policy {
            overdraft_percent: 255,
            ..open
        };
        assert_eq!(wild.overdraft(NanoUsd(1_000)), NanoUsd(500));
    }
}
