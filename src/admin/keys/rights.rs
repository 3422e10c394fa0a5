//! What a caller may do to a key, and how much it may give it: never more than it has itself.

use axum::http::StatusCode;
use meridian_core::auth::{Action, Power, Rights, Role, exceeds, fill, writable};
use meridian_core::config::NewKeys;
use meridian_core::key::KeyRecord;
use meridian_core::record::{RecordKind, Team, User};
use meridian_core::routes::RouteSet;
use serde_json::Map;

use super::super::access::Caller;
use super::super::authorize::{KeySite, check_fields, may, must_exist, too_much};
use super::super::draft::find;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::super::teams::guard;
use super::{all_of, find as find_key};
use crate::store::KeyQuery;

/// Team of LiteLLM's session keys; there is no record of it.
const DASHBOARD_TEAM: &str = "litellm-dashboard";

/// Lets a caller make this key, or says why not. What a caller without all rights leaves out, it
/// gets from its own key.
pub(super) async fn admit_new(
    state: &AdminState,
    caller: &Caller,
    record: &mut KeyRecord,
    names: &[String],
) -> Result<(), AdminError> {
    let site = site_of(state, record).await?;
    let power = may(caller, Action::Create, &site.object())?;
    check_fields(RecordKind::Key, power, names.iter().map(String::as_str))?;
    check_new(power, record, &state.rules().config.new_keys)?;
    check_member(power, record, &site)?;
    if power == Power::Proxy {
        check_admin_routes(state, caller, record).await?;
    } else {
        guard_metadata(record, &Map::new(), power)?;
        for ceiling in ceilings(state, caller, record).await? {
            fill(record, &ceiling.key);
            check_within(record, &ceiling)?;
        }
    }
    check_allocation(state, record, &site).await
}

/// What the configuration says about who makes keys, and for whom.
fn check_new(power: Power, record: &KeyRecord, rules: &NewKeys) -> Result<(), AdminError> {
    if rules.only_of_teams && record.team_id.is_none() {
        let text = "Keys without a team are disabled (general_settings.default_team_disabled). \
            Pass a team_id.";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    if rules.none_by_organizations && power == Power::Organization {
        let text = "Organization admins may not make keys \
            (general_settings.disable_key_generate_for_org_admin).";
        return Err(AdminError::detail(StatusCode::FORBIDDEN, text));
    }
    Ok(())
}

/// Lets a caller turn one key into another.
pub(super) async fn admit_change(
    state: &AdminState,
    caller: &Caller,
    action: Action,
    (before, after): (&KeyRecord, &mut KeyRecord),
    names: &[String],
) -> Result<(), AdminError> {
    let power = may(caller, action, &KeySite::of(state, before).await?.object())?;
    check_fields(RecordKind::Key, power, names.iter().map(String::as_str))?;
    let moved = before.team_id != after.team_id
        || before.user_id != after.user_id
        || before.organization_id != after.organization_id;
    let site = match moved {
        true => {
            let site = site_of(state, after).await?;
            let there = may(caller, Action::Create, &site.object())?;
            check_member(there, after, &site)?;
            site
        }
        false => KeySite::of(state, after).await?,
    };
    if before.extra.get("budget_id") != after.extra.get("budget_id") {
        check_budget(state, after).await?;
    }
    if power == Power::Proxy {
        check_admin_routes(state, caller, after).await?;
    } else {
        guard_metadata(after, &before.metadata, power)?;
        let grows = exceeds(&Rights::of_key(after), &Rights::of_key(before)).is_some();
        // A new value is a clear key in the caller's hands, whoever had the old one.
        if grows || moved || action == Action::Rotate {
            for ceiling in ceilings(state, caller, after).await? {
                check_within(after, &ceiling)?;
            }
        }
    }
    check_allocation(state, after, &site).await
}

/// Lets a caller do something to a key that changes none of its fields.
pub(super) async fn admit(
    state: &AdminState,
    caller: &Caller,
    action: Action,
    key: &KeyRecord,
) -> Result<Power, AdminError> {
    let site = KeySite::of(state, key).await?;
    may(caller, action, &site.object())
}

/// Where a key would be; what it names must be there.
async fn site_of(state: &AdminState, record: &KeyRecord) -> Result<KeySite, AdminError> {
    let site = KeySite::of(state, record).await?;
    if let (Some(team), None) = (&record.team_id, &site.team)
        && team != DASHBOARD_TEAM
    {
        let text =
            format!("Team doesn't exist in db. Team={team}. Create team via `/team/new` call.");
        return Err(AdminError::detail(StatusCode::NOT_FOUND, text));
    }
    if let Some(organization) = &record.organization_id {
        must_exist(state, RecordKind::Organization, organization).await?;
    }
    check_budget(state, record).await?;
    Ok(site)
}

async fn check_budget(state: &AdminState, record: &KeyRecord) -> Result<(), AdminError> {
    let budget = record.extra.get("budget_id");
    match budget.and_then(|id| id.as_str()) {
        Some(id) => must_exist(state, RecordKind::Budget, id).await,
        None => Ok(()),
    }
}

/// A team's key belongs to a member of the team, or to nobody.
fn check_member(power: Power, record: &KeyRecord, site: &KeySite) -> Result<(), AdminError> {
    let (Some(team), Some(user), Some(team_id)) = (&site.team, &record.user_id, &record.team_id)
    else {
        return Ok(());
    };
    let mut members = team.members_with_roles.iter();
    let is_member = members.any(|one| one.user_id.as_ref() == Some(user));
    if is_member || power == Power::Proxy {
        return Ok(());
    }
    let text = format!("User={user} not assigned to team={team_id}");
    Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
}

fn guard_metadata(
    record: &mut KeyRecord,
    before: &Map<String, serde_json::Value>,
    power: Power,
) -> Result<(), AdminError> {
    match writable(RecordKind::Key, power) {
        Some(allowed) => guard(&mut record.metadata, before, allowed),
        None => Ok(()),
    }
}

/// More than this a caller does not have to give.
struct Ceiling {
    /// As a key, to fill up what a request leaves out.
    key: KeyRecord,
    of: &'static str,
}

/// The caller's key and, where the new key is outside of it, the caller's team.
async fn ceilings(
    state: &AdminState,
    caller: &Caller,
    wanted: &KeyRecord,
) -> Result<Vec<Ceiling>, AdminError> {
    let Some(hash) = caller.key_hash() else {
        return Ok(Vec::new());
    };
    let own = find_key(state, &hash).await?;
    // A key that was deleted meanwhile gives nothing away.
    let own = own.ok_or_else(|| too_much("the key", "a deleted key"))?;
    let mut all = Vec::new();
    if own.team_id != wanted.team_id
        && let Some(id) = &own.team_id
        && let Some(team) = find::<Team>(state, id).await?
    {
        let key = of_team(&team, &own);
        let of = "the team of the calling key";
        all.push(Ceiling { key, of });
    }
    let of = "the calling key";
    all.insert(0, Ceiling { key: own, of });
    Ok(all)
}

/// A team's rights in the shape of a key.
fn of_team(team: &Team, key: &KeyRecord) -> KeyRecord {
    let bounds = &team.bounds;
    KeyRecord {
        models: team.models.clone(),
        aliases: team.model_aliases.clone(),
        allowed_routes: Vec::new(),
        allowed_regions: team.allowed_regions.clone(),
        max_budget: bounds.max_budget,
        budget_duration: bounds.budget_duration.clone(),
        budget_reset_at: bounds.budget_reset_at,
        model_max_budget: bounds.model_max_budget.clone(),
        tpm_limit: bounds.tpm_limit,
        rpm_limit: bounds.rpm_limit,
        max_parallel_requests: bounds.max_parallel_requests,
        metadata: team.metadata.clone(),
        expires: None,
        ..key.clone()
    }
}

fn check_within(record: &KeyRecord, ceiling: &Ceiling) -> Result<(), AdminError> {
    match exceeds(&Rights::of_key(record), &Rights::of_key(&ceiling.key)) {
        None => Ok(()),
        Some(field) => Err(too_much(field, ceiling.of)),
    }
}

/// A key of an administrator that is bound to some routes makes no key of an administrator that
/// reaches further. Inference is everybody's.
async fn check_admin_routes(
    state: &AdminState,
    caller: &Caller,
    record: &KeyRecord,
) -> Result<(), AdminError> {
    let own = match caller.key_hash() {
        Some(hash) => find_key(state, &hash).await?,
        None => None,
    };
    let (Some(own), Some(user)) = (own, &record.user_id) else {
        return Ok(());
    };
    if own.allowed_routes.is_empty() {
        return Ok(());
    }
    let user = find::<User>(state, user).await?;
    let role = user.and_then(|user| Role::parse(user.user_role.as_deref()?));
    if !matches!(role, Some(Role::ProxyAdmin | Role::ProxyAdminViewer)) {
        return Ok(());
    }
    let inference = RouteSet::of_entries(&["llm_api_routes".to_owned()]);
    let reach = Rights::of_key(&own).routes.union(inference);
    match Rights::of_key(record).routes.is_within(reach) {
        true => Ok(()),
        false => Err(too_much("allowed_routes", "the calling key")),
    }
}

/// Rates that are guaranteed to keys of a team are not more than the team's together.
async fn check_allocation(
    state: &AdminState,
    record: &KeyRecord,
    site: &KeySite,
) -> Result<(), AdminError> {
    let (Some(team), Some(team_id)) = (&site.team, &record.team_id) else {
        return Ok(());
    };
    let limits = [
        (
            "TPM",
            "tpm_limit_type",
            record.tpm_limit,
            team.bounds.tpm_limit,
        ),
        (
            "RPM",
            "rpm_limit_type",
            record.rpm_limit,
            team.bounds.rpm_limit,
        ),
    ];
    for (name, kind, own, most) in limits {
        let guaranteed = |key: &KeyRecord| {
            let kind = key.metadata.get(kind).and_then(|kind| kind.as_str());
            kind == Some("guaranteed_throughput")
        };
        let (Some(own), Some(most), true) = (own, most, guaranteed(record)) else {
            continue;
        };
        let query = KeyQuery {
            team_id: Some(team_id.clone()),
            ..KeyQuery::default()
        };
        let keys = all_of(state, query).await?;
        let others = keys.iter();
        let others = others.filter(|key| key.token != record.token && guaranteed(key));
        let limit = |key: &KeyRecord| match name {
            "TPM" => key.tpm_limit.unwrap_or(0),
            _ => key.rpm_limit.unwrap_or(0),
        };
        let allocated = others.map(limit).fold(0u64, u64::saturating_add);
        if allocated.saturating_add(own) > most {
            let text = format!(
                "Allocated {name} limit={allocated} + Key {name} limit={own} is greater than team \
                 {name} limit={most}"
            );
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
    }
    Ok(())
}
