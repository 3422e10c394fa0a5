//! `allowed_routes` of a key, worked out once into a set of targets.

use super::{Access, ROWS, Route, Row, Target};
use crate::endpoint::Dialect;

/// A set of targets. What an entry allows, it allows under all names of the same operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteSet([u64; WORDS]);

const WORDS: usize = 6;

impl RouteSet {
    /// Targets that it can tell apart.
    pub const TARGETS_MAX: usize = WORDS * 64;
    /// No route.
    pub const NONE: Self = Self([0; WORDS]);
    /// Every route.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// What a key's `allowed_routes` allow: everything when empty, else the union of its entries.
    /// An entry is a group name (`llm_api_routes`), a path, the head of one (`/key` for
    /// `/key/info`) or a wildcard (`/key/*`, `/v1/chat*`). An entry that names nothing allows
    /// nothing.
    pub fn of_entries(entries: &[String]) -> Self {
        if entries.is_empty() {
            return Self::ALL;
        }
        let union = |set: Self, entry: &String| set.union(Self::of_entry(entry));
        entries.iter().fold(Self::NONE, union)
    }

    /// The targets for which `wanted` holds.
    pub fn of_rows(wanted: impl Fn(&Row) -> bool) -> Self {
        let rows = ROWS.iter().filter(|row| wanted(row));
        rows.fold(Self::NONE, |set, row| set.with(row.target))
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    /// Whether everything in it is in `other` as well.
    pub fn is_within(self, other: Self) -> bool {
        self.union(other) == other
    }

    fn with(mut self, target: Target) -> Self {
        let index = target.index();
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
        self
    }

    /// Whether the target is in it.
    pub fn contains(self, target: Target) -> bool {
        let index = target.index();
        let word = self.0.get(index / 64).copied().unwrap_or(0);
        word >> (index % 64) & 1 == 1
    }

    fn of_entry(entry: &str) -> Self {
        Self::of_rows(|row| match entry.starts_with('/') {
            true => row.paths.iter().any(|path| covers(entry, path)),
            false => in_group(entry, row.target, row.access),
        })
    }
}

/// LiteLLM's route groups, over our table.
fn in_group(group: &str, target: Target, access: Access) -> bool {
    let listing = matches!(
        target,
        Target::Own(Route::Models | Route::Model | Route::SupportedParams)
    );
    let dialect = match target {
        Target::Inference(endpoint) => Some(endpoint.dialect()),
        Target::Own(_) => None,
    };
    match group {
        "llm_api_routes" => dialect.is_some() || listing,
        "openai_routes" => dialect == Some(Dialect::OpenAi) || listing,
        "anthropic_routes" => dialect == Some(Dialect::Anthropic),
        "info_routes" => is_info(target),
        "management_routes" => is_management(target),
        "spend_tracking_routes" => named(target, "/spend"),
        "global_spend_tracking_routes" => named(target, "/global"),
        "public_routes" => access == Access::Public,
        "master_key_only_routes" => access == Access::MasterKey,
        _ => false,
    }
}

fn is_info(target: Target) -> bool {
    use Route as R;
    matches!(
        target,
        Target::Own(
            R::KeyInfo
                | R::KeyInfoV2
                | R::TeamRead
                | R::TeamList
                | R::TeamListV2
                | R::UserRead
                | R::UserInfoV2
                | R::OrganizationRead
                | R::KeyList
                | R::KeyHealth
                | R::Models
                | R::Model
                | R::ModelInfo
                | R::ModelInfoV2
                | R::ModelGroupInfo
                | R::Health
                | R::HealthBacklog
                | R::ReadinessDetails
        )
    )
}

/// Heads of the paths that people and money are managed under.
const MANAGED: [&str; 8] = [
    "/key",
    "/team",
    "/user",
    "/organization",
    "/budget",
    "/customer",
    "/end_user",
    "/tag",
];

fn is_management(target: Target) -> bool {
    MANAGED.iter().any(|head| named(target, head))
        || matches!(
            target,
            Target::Own(
                Route::KeyInfoV2
                    | Route::TeamListV2
                    | Route::UserInfoV2
                    | Route::ReloadModelCostMap
                    | Route::ModelNew
                    | Route::ModelUpdate
                    | Route::ModelPatch
                    | Route::ModelDelete
            )
        )
}

fn named(target: Target, head: &str) -> bool {
    let mut rows = ROWS.iter().filter(|row| row.target == target);
    rows.any(|row| row.paths.iter().any(|path| covers(head, path)))
}

/// Whether the entry is the path, a head of it in whole steps, or a wildcard over it.
fn covers(entry: &str, path: &str) -> bool {
    if entry == "/" || path == "/" {
        return entry == path || entry == "/*";
    }
    let entry = entry.strip_suffix('/').unwrap_or(entry);
    let mut steps = path.split('/');
    for wanted in entry.split('/') {
        let Some(step) = steps.next() else {
            return false;
        };
        if let Some(head) = wanted.strip_suffix('*') {
            return step.starts_with(head);
        }
        let both_parameters = wanted.starts_with('{') && step.starts_with('{');
        if wanted != step && !both_parameters {
            return false;
        }
    }
    true
}
