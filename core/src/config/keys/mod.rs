//! Every key that a configuration may hold, what it may be, and what it does in this version.
//!
//! One table, read by the audit (`meridian check`) and by the reference in
//! `docs/CONFIGURATION.md`. Names and meanings are LiteLLM's public configuration surface.

mod general;
mod meridian;
mod mistaken;
mod model_info;
mod models;
mod router;
mod settings;

pub(super) use mistaken::UNREAD_VARIABLES;
pub use mistaken::{MISTAKEN, Mistaken};
pub(super) use models::BODY_FIELDS;

/// A mapping whose keys are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The file itself.
    Top,
    /// One entry of `model_list`.
    Model,
    /// `model_list[].litellm_params`.
    Params,
    /// `model_list[].model_info`.
    ModelInfo,
    /// One entry of `credential_list`.
    Credential,
    /// `litellm_settings`.
    Settings,
    /// `general_settings`.
    General,
    /// `router_settings`.
    Router,
    /// `routing_strategy_args`.
    StrategyArgs,
    /// One entry of `router_settings.routing_groups`.
    RoutingGroup,
    /// `router_settings.retry_policy`, and each value of `model_group_retry_policy`.
    RetryPolicy,
    /// `router_settings.allowed_fails_policy`.
    AllowedFails,
    /// `litellm_settings.default_key_generate_params`.
    KeyDefaults,
    /// `litellm_settings.default_internal_user_params`.
    UserDefaults,
    /// `litellm_settings.default_team_params`.
    TeamDefaults,
    /// `litellm_settings.upperbound_key_generate_params`.
    KeyBounds,
    /// `litellm_settings.key_generation_settings`.
    KeyGeneration,
    /// One kind of key in it.
    KeyKind,
    /// `litellm_settings.cache_params`.
    Cache,
    /// `meridian`: settings that LiteLLM does not have.
    Meridian,
    /// `meridian.tls`.
    Tls,
    /// `meridian.price_map`.
    PriceMap,
    /// `meridian.regions`.
    Regions,
    /// `meridian.cooldown`.
    Cooldown,
    /// `meridian.affinity`.
    Affinity,
    /// `meridian.hedge`.
    Hedge,
    /// `meridian.probes`.
    Probes,
    /// `meridian.response_cache`.
    ResponseCache,
}

impl Section {
    /// Every section, in the order of the reference.
    pub const ALL: [Self; 28] = [
        Self::Top,
        Self::Model,
        Self::Params,
        Self::ModelInfo,
        Self::Credential,
        Self::Settings,
        Self::General,
        Self::Router,
        Self::StrategyArgs,
        Self::RoutingGroup,
        Self::RetryPolicy,
        Self::AllowedFails,
        Self::KeyDefaults,
        Self::UserDefaults,
        Self::TeamDefaults,
        Self::KeyBounds,
        Self::KeyGeneration,
        Self::KeyKind,
        Self::Cache,
        Self::Meridian,
        Self::Tls,
        Self::PriceMap,
        Self::Regions,
        Self::Cooldown,
        Self::Affinity,
        Self::Hedge,
        Self::Probes,
        Self::ResponseCache,
    ];

    /// Where it is in the file.
    pub fn path(self) -> &'static str {
        match self {
            Self::Top => "top level",
            Self::Model => "model_list[]",
            Self::Params => "model_list[].litellm_params",
            Self::ModelInfo => "model_list[].model_info",
            Self::Credential => "credential_list[]",
            Self::Settings => "litellm_settings",
            Self::General => "general_settings",
            Self::Router => "router_settings",
            Self::StrategyArgs => "router_settings.routing_strategy_args",
            Self::RoutingGroup => "router_settings.routing_groups[]",
            Self::RetryPolicy => "router_settings.retry_policy",
            Self::AllowedFails => "router_settings.allowed_fails_policy",
            Self::KeyDefaults => "litellm_settings.default_key_generate_params",
            Self::UserDefaults => "litellm_settings.default_internal_user_params",
            Self::TeamDefaults => "litellm_settings.default_team_params",
            Self::KeyBounds => "litellm_settings.upperbound_key_generate_params",
            Self::KeyGeneration => "litellm_settings.key_generation_settings",
            Self::KeyKind => "litellm_settings.key_generation_settings.*",
            Self::Cache => "litellm_settings.cache_params",
            Self::Meridian => "meridian",
            Self::Tls => "meridian.tls",
            Self::PriceMap => "meridian.price_map",
            Self::Regions => "meridian.regions",
            Self::Cooldown => "meridian.cooldown",
            Self::Affinity => "meridian.affinity",
            Self::Hedge => "meridian.hedge",
            Self::Probes => "meridian.probes",
            Self::ResponseCache => "meridian.response_cache",
        }
    }

    /// Its keys.
    pub fn keys(self) -> &'static [Key] {
        match self {
            Self::Top => settings::TOP,
            Self::Model => models::MODEL,
            Self::Params => models::PARAMS,
            Self::ModelInfo => model_info::MODEL_INFO,
            Self::Credential => settings::CREDENTIAL,
            Self::Settings => settings::SETTINGS,
            Self::General => general::GENERAL,
            Self::Router => router::ROUTER,
            Self::StrategyArgs => router::STRATEGY_ARGS,
            Self::RoutingGroup => router::ROUTING_GROUP,
            Self::RetryPolicy => router::RETRY_POLICY,
            Self::AllowedFails => router::ALLOWED_FAILS,
            Self::KeyDefaults => settings::KEY_DEFAULTS,
            Self::UserDefaults => settings::USER_DEFAULTS,
            Self::TeamDefaults => settings::TEAM_DEFAULTS,
            Self::KeyBounds => settings::KEY_BOUNDS,
            Self::KeyGeneration => settings::KEY_GENERATION,
            Self::KeyKind => settings::KEY_KIND,
            Self::Cache => settings::CACHE,
            Self::Meridian => meridian::MERIDIAN,
            Self::Tls => meridian::TLS,
            Self::PriceMap => meridian::PRICE_MAP,
            Self::Regions => meridian::REGIONS,
            Self::Cooldown => meridian::COOLDOWN,
            Self::Affinity => meridian::AFFINITY,
            Self::Hedge => meridian::HEDGE,
            Self::Probes => meridian::PROBES,
            Self::ResponseCache => meridian::RESPONSE_CACHE,
        }
    }

    /// The row of a key: an exact one, else one that ends in `*`.
    pub fn find(self, name: &str) -> Option<&'static Key> {
        let rows = self.keys();
        let by_pattern = || rows.iter().find(|row| row.matches(name));
        rows.iter().find(|row| row.name == name).or_else(by_pattern)
    }

    /// The known key that a mistyped one resembles most.
    pub fn nearest(self, name: &str) -> Option<&'static str> {
        let allowed = (name.len() / 3).min(3);
        let near = |row: &&Key| row.name.len().abs_diff(name.len()) <= allowed;
        let exact = self
            .keys()
            .iter()
            .filter(|row| !row.name.contains('*'))
            .filter(near);
        exact
            .map(|row| (edit_distance(name, row.name), row.name))
            .filter(|&(distance, _)| distance <= allowed)
            .min()
            .map(|(_, name)| name)
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written in YAML; a `*` at an end stands for any letters.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What it does.
    pub effect: Effect,
}

impl Key {
    fn matches(&self, name: &str) -> bool {
        match (self.name.strip_prefix('*'), self.name.strip_suffix('*')) {
            (Some(rest), Some(_)) => name.contains(rest.trim_end_matches('*')),
            (None, Some(start)) => name.starts_with(start),
            (Some(end), None) => name.ends_with(end),
            (None, None) => self.name == name,
        }
    }
}

/// What a key does in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It works; the text says what it does and its default.
    Effective(&'static str),
    /// It is read, but not in this version yet; the text says what happens instead.
    NotYet(&'static str),
    /// It has no effect here and needs none; the text says why.
    Ignored(&'static str),
}

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    Any,
    /// `true` or `false`.
    Bool,
    /// Text.
    Text,
    /// Text that is never shown.
    Secret,
    /// A whole number in a range, both ends included.
    Whole(i64, i64),
    /// A number, zero or more.
    Number,
    /// A part of a whole, 0 to 1.
    Share,
    /// Seconds, zero or more, fractions allowed.
    Seconds,
    /// `30d` and its like.
    Duration,
    /// Dollars per unit: a number, a numeric string, or a mapping or list of them.
    Price,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts, or one text.
    Texts,
    /// A list.
    List,
    /// A mapping.
    Map,
    /// A mapping whose keys are in this table.
    Section(Section),
    /// A list of such mappings.
    Sections(Section),
}

impl Kind {
    /// What would be right, for messages and the reference.
    pub fn expected(self) -> String {
        match self {
            Self::Any => "anything".into(),
            Self::Bool => "true or false".into(),
            Self::Text | Self::Secret => "text".into(),
            Self::Whole(min, i64::MAX) => format!("a whole number of at least {min}"),
            Self::Whole(min, max) => format!("a whole number from {min} to {max}"),
            Self::Number => "a number of at least 0".into(),
            Self::Share => "a share from 0 to 1".into(),
            Self::Seconds => "seconds, at least 0".into(),
            Self::Duration => "a duration such as 30s, 15m, 12h, 30d, 2w or 1mo".into(),
            Self::Price => "dollars per unit, at least 0".into(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Texts => "a list of texts".into(),
            Self::List | Self::Sections(_) => "a list".into(),
            Self::Map | Self::Section(_) => "a mapping".into(),
        }
    }
}

/// Whole numbers from zero.
const COUNT: Kind = Kind::Whole(0, i64::MAX);

const fn on(name: &'static str, kind: Kind, what: &'static str) -> Key {
    let effect = Effect::Effective(what);
    Key { name, kind, effect }
}

const fn later(name: &'static str, kind: Kind, instead: &'static str) -> Key {
    let effect = Effect::NotYet(instead);
    Key { name, kind, effect }
}

const fn off(name: &'static str, kind: Kind, why: &'static str) -> Key {
    let effect = Effect::Ignored(why);
    Key { name, kind, effect }
}

/// Letters to change, add, leave out or swap with their neighbour to get from one name to the
/// other; names over 64 letters resemble nothing.
pub(super) fn edit_distance(from: &str, to: &str) -> usize {
    const LETTERS_MAX: usize = 64;
    let (from, to) = (from.as_bytes(), to.as_bytes());
    if from.len().max(to.len()) > LETTERS_MAX {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let change = last[j] + usize::from(letter != other);
            let mut best = change.min(last[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other;
            if swapped {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_finds_the_one_that_was_meant() {
        assert_eq!(Section::General.nearest("mater_key"), Some("master_key"));
        assert_eq!(Section::Router.nearest("num_retires"), Some("num_retries"));
        assert_eq!(Section::Params.nearest("api_bsae"), Some("api_base"));
        assert_eq!(Section::Settings.nearest("something_else"), None);
        assert_eq!(Section::Settings.nearest(&"x".repeat(10_000)), None);
    }

    #[test]
    fn patterns_stand_for_families_of_keys_and_exact_rows_win() {
        let find = |name| Section::Params.find(name).map(|row| row.name);
        assert_eq!(
            find("input_cost_per_token_above_200k_tokens"),
            Some("*cost_per_*")
        );
        assert_eq!(find("aws_other_name"), Some("aws_*"));
        assert_eq!(find("aws_role_name"), Some("aws_role_name"));
        assert_eq!(find("api_key"), Some("api_key"));
        assert_eq!(find("temperature"), None);
    }

    #[test]
    fn no_key_is_listed_twice_in_a_section() {
        for section in Section::ALL {
            let mut names: Vec<_> = section.keys().iter().map(|row| row.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", section.path());
        }
    }
}
