//! Which models a scope may use (names, access groups, wildcards), and which body fields a caller.

use std::sync::Arc;

use crate::error::GatewayError;

mod fields;

pub use fields::{FieldRule, field_rule};

/// What is known of a model that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct ModelFacts<'a> {
    /// The name asked for.
    pub name: &'a str,
    /// Access groups that hold it (`model_info.access_groups`).
    pub groups: &'a [String],
    /// Providers of its deployments: `openai/*` allows `gpt-4o` when one of them is `openai`.
    pub providers: &'a [String],
}

impl<'a> ModelFacts<'a> {
    /// A model of which only the name is known.
    pub fn named(name: &'a str) -> Self {
        Self {
            name,
            groups: &[],
            providers: &[],
        }
    }
}

/// A parsed `models` list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ModelRules {
    /// Every model: the list is empty or says `*` or `all-proxy-models`.
    All,
    /// Whatever the key's team may use: `all-team-models`.
    Team,
    /// Only these.
    Listed(Arc<Listed>),
}

/// Names and wildcards of a list. Keys with equal lists can share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// Names of models and access groups, sorted.
    exact: Box<[Box<str>]>,
    /// Patterns with `*`.
    wildcards: Box<[Box<str>]>,
    /// The list as its owner wrote it, for the refusal.
    written: Box<[String]>,
}

impl ModelRules {
    /// Parses a scope's list. `no-default-models` adds nothing, so alone it allows nothing.
    /// `all-team-models` without a team (`has_team`) has nothing to inherit and adds nothing.
    pub fn parse(models: &[String], has_team: bool) -> Self {
        let has = |name: &str| models.iter().any(|model| model == name);
        if models.is_empty() || has("*") || has("all-proxy-models") {
            return Self::All;
        }
        if has_team && has("all-team-models") {
            return Self::Team;
        }
        let special =
            |model: &&String| matches!(model.as_str(), "no-default-models" | "all-team-models");
        let plain = models.iter().filter(|model| !special(model));
        let (wildcards, exact): (Vec<&String>, Vec<&String>) =
            plain.partition(|model| model.contains('*'));
        let boxed = |list: Vec<&String>| -> Vec<Box<str>> {
            list.into_iter().map(|name| name.as_str().into()).collect()
        };
        let mut exact = boxed(exact);
        exact.sort_unstable();
        Self::Listed(Arc::new(Listed {
            exact: exact.into(),
            wildcards: boxed(wildcards).into(),
            written: models.into(),
        }))
    }

    /// Whether the model may be used. [`Self::Team`] says yes: the team's own rules decide next.
    pub fn allows(&self, model: ModelFacts<'_>) -> bool {
        match self {
            Self::All | Self::Team => true,
            Self::Listed(listed) => listed.allows(model),
        }
    }

    /// The models of a listing that the caller may use, for `/v1/models`.
    pub fn visible<'a>(
        &self,
        models: impl Iterator<Item = ModelFacts<'a>>,
    ) -> impl Iterator<Item = ModelFacts<'a>> {
        models.filter(|model| self.allows(*model))
    }

    /// As [`Self::allows`], with the refusal that a client sees.
    ///
    /// # Errors
    /// `ModelNotAllowed` naming `scope` (`key`, `team`, `user`, `org`, `project`) and its list.
    pub fn check(&self, scope: &'static str, model: ModelFacts<'_>) -> Result<(), GatewayError> {
        match self {
            Self::Listed(listed) if !listed.allows(model) => Err(GatewayError::ModelNotAllowed {
                scope,
                models: listed.written.to_vec(),
                model: model.name.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Listed {
    fn allows(&self, model: ModelFacts<'_>) -> bool {
        let listed = |name: &str| {
            let found = self.exact.binary_search_by(|entry| (**entry).cmp(name));
            found.is_ok()
        };
        listed(model.name)
            || model.groups.iter().any(|group| listed(group))
            || self.wildcards.iter().any(|pattern| reaches(pattern, model))
    }
}

/// Whether a wildcard covers the name itself or the name under one of its providers.
fn reaches(pattern: &str, model: ModelFacts<'_>) -> bool {
    let under_provider = |provider: &String| {
        let under = |text: &'_ str| -> Option<usize> {
            let rest = text.strip_prefix(provider.as_str())?.strip_prefix('/')?;
            Some(text.len() - rest.len())
        };
        // A name that carries its provider is compared as it is: `openai/o*` is not for
        // `openai/gpt-4o`, although `o*` would match that.
        under(model.name).is_none()
            && under(pattern).is_some_and(|at| glob(&pattern[at..], model.name))
    };
    glob(pattern, model.name) || model.providers.iter().any(under_provider)
}

/// Matches `*` as any run of characters; everything else stands for itself.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, mut pattern)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    // The leftmost place for every middle piece leaves most room for the pieces after it.
    while let Some((piece, rest)) = pattern.split_once('*') {
        let Some(at) = text.find(piece) else {
            return false;
        };
        text = &text[at + piece.len()..];
        pattern = rest;
    }
    text.ends_with(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(models: &[&str]) -> ModelRules {
        let models: Vec<String> = models.iter().map(|&model| model.to_owned()).collect();
        ModelRules::parse(&models, false)
    }

    fn allowed(models: &[&str], name: &str) -> bool {
        rules(models).allows(ModelFacts::named(name))
    }

    #[test]
    fn an_open_list_allows_everything() {
        for open in [&[][..], &["*"], &["all-proxy-models"], &["a", "*"]] {
            assert!(allowed(open, "gpt-4o"), "{open:?}");
        }
    }

    #[test]
    fn names_are_exact_and_case_sensitive() {
        let list = ["z", "gpt-4o", "a"];
        assert!(allowed(&list, "gpt-4o") && allowed(&list, "a") && allowed(&list, "z"));
        for other in ["gpt-4", "gpt-4o-mini", "GPT-4o", " gpt-4o", ""] {
            assert!(!allowed(&list, other), "{other:?}");
        }
    }

    #[test]
    fn special_names_are_not_models() {
        assert!(!allowed(&["no-default-models"], "gpt-4o"));
        assert!(!allowed(&["no-default-models"], "no-default-models"));
        assert!(allowed(&["no-default-models", "gpt-4o"], "gpt-4o"));
        assert!(!allowed(&["all-team-models"], "gpt-4o"));
        let of_team = ModelRules::parse(&["all-team-models".to_owned()], true);
        assert_eq!(of_team, ModelRules::Team);
    }

    #[test]
    fn wildcards_cover_names_and_providers() {
        assert!(allowed(&["openai/*"], "openai/gpt-4o"));
        assert!(!allowed(&["openai/*"], "openai"));
        assert!(allowed(
            &["bedrock/anthropic.*"],
            "bedrock/anthropic.claude-v2:1"
        ));
        assert!(!allowed(
            &["bedrock/anthropic.*"],
            "bedrock/anthropic-claude"
        ));
        let (groups, providers) = ([], ["openai".to_owned()]);
        let plain = ModelFacts {
            name: "gpt-4o",
            groups: &groups,
            providers: &providers,
        };
        assert!(rules(&["openai/*"]).allows(plain));
        assert!(rules(&["openai/gpt-*"]).allows(plain));
        assert!(!rules(&["openai/o*"]).allows(plain));
        assert!(!rules(&["azure/*"]).allows(plain));
        assert!(!rules(&["openai/gpt-4o"]).allows(plain));
        let prefixed = ModelFacts {
            name: "openai/gpt-4o",
            ..plain
        };
        assert!(rules(&["openai/gpt-*"]).allows(prefixed));
        assert!(!rules(&["openai/o*"]).allows(prefixed));
    }

    #[test]
    fn access_groups_stand_for_their_models() {
        let groups = ["beta".to_owned()];
        let model = ModelFacts {
            name: "gpt-4o",
            groups: &groups,
            providers: &[],
        };
        assert!(rules(&["beta"]).allows(model));
        assert!(!rules(&["gamma"]).allows(model));
    }

    #[test]
    fn a_listing_shows_what_may_be_used() {
        let all = ["gpt-4o", "o3", "claude"].map(ModelFacts::named);
        let rules = rules(&["gpt-*", "claude"]);
        let names: Vec<_> = rules
            .visible(all.into_iter())
            .map(|model| model.name)
            .collect();
        assert_eq!(names, ["gpt-4o", "claude"]);
    }

    #[test]
    fn a_glob_is_what_a_brute_force_says_it_is() {
        fn slow(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|at| slow(rest, &text[at..])),
                Some((first, rest)) => text.first() == Some(first) && slow(rest, &text[1..]),
            }
        }
        let words = |letters: &[char], longest: usize| {
            let mut all = vec![String::new()];
            let mut from = 0;
            for _ in 0..longest {
                let until = all.len();
                for at in from..until {
                    all.extend(
                        letters
                            .iter()
                            .map(|letter| format!("{}{letter}", all[at]))
                            .collect::<Vec<_>>(),
                    );
                }
                from = until;
            }
            all
        };
        for pattern in words(&['a', 'b', '*'], 4) {
            for text in words(&['a', 'b'], 4) {
                let expected = slow(pattern.as_bytes(), text.as_bytes());
                assert_eq!(glob(&pattern, &text), expected, "{pattern} {text}");
            }
        }
    }

    #[test]
    fn the_refusal_is_litellms() {
        let error = rules(&["a"])
            .check("key", ModelFacts::named("b"))
            .unwrap_err();
        let text = "key not allowed to access model. This key can only access models=['a']. \
                    Tried to access b";
        assert_eq!(error.to_string(), text);
        let reply = error.reply();
        assert_eq!(
            (reply.status, reply.kind.as_str()),
            (403, "key_model_access_denied")
        );
        assert_eq!(reply.param.as_deref(), Some("model"));
    }
}
