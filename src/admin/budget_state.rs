//! How budgets that nodes share stand: rights by region and node, what is on its way, the bound.

use axum::Json;
use axum::extract::State;
use meridian_core::budget::policy::Policy;
use meridian_core::error::GatewayError;
use meridian_core::escrow::Actor;
use meridian_core::ids::KeyHash;
use meridian_core::meters::{Routed, RoutedKind, Window, WindowName};
use meridian_core::money::NanoUsd;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;
use serde_json::{Value, json};

use super::access::{AdminAccess, PathParameter, ViewerAccess};
use super::body::{JsonBody, RawBody};
use super::reply::AdminError;
use super::state::AdminState;
use crate::escrow::Proof;

type Answer = Result<Json<Value>, AdminError>;

/// Seconds after which the task is asked again.
const RETRY_S: u64 = 1;

/// GET /budget/state: every shared budget that requests of this node use.
pub(super) async fn all(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    show(&state, None).await
}

/// GET /budget/state/{id}: the budgets of one scope, `kind:id`.
pub(super) async fn one(
    _: ViewerAccess,
    State(state): State<AdminState>,
    PathParameter(scope): PathParameter,
) -> Answer {
    let name = scope.as_deref().and_then(name_of);
    let Some(name) = name else {
        let routed = RoutedKind::ALL.map(RoutedKind::label).join(", ");
        let kinds = ScopeKind::ALL.map(ScopeKind::label).join(", ");
        return Err(bad(
            "scope",
            format!("expected `installation` or kind:id, with a kind of {kinds}, {routed}"),
        ));
    };
    show(&state, Some(name)).await
}

async fn show(state: &AdminState, name: Option<WindowName>) -> Answer {
    let Some(rights) = state.rights() else {
        return Ok(Json(alone(state, name)));
    };
    rights.show(name).await.map(Json).ok_or_else(away)
}

/// How budgets stand on a node that shares them with nobody; those of one scope if it is named.
fn alone(state: &AdminState, name: Option<WindowName>) -> Value {
    let (all, now) = (state.rules().config.meridian.budget_policy, state.now());
    let meters = name.and_then(|name| {
        if let Some(kind) = RoutedKind::of_label(&name.kind) {
            let of = Routed::new(kind, name.id);
            return state.registry().routed().get(&of).cloned();
        }
        let kind = ScopeKind::of_label(&name.kind)?;
        let scope = Scope::new(kind, name.id);
        state.registry().meters_of(&scope, now)
    });
    let windows = meters.map(|meters| Window::limited(&meters, now));
    let windows = windows.unwrap_or_default();
    let bounds = windows.iter().map(|window| over(window, now));
    let bound = bounds.fold([NanoUsd::ZERO; 2], |[a, b], [c, d]| {
        [a.saturating_add(c), b.saturating_add(d)]
    });
    let shown = windows.iter().map(|window| one_alone(window, all, now));
    json!({
        "actor": null,
        "region": null,
        "coordination": "alone",
        "nodes": [],
        "links": [],
        "out_of_reach": [],
        "configured_otherwise": [],
        "fencing": null,
        "bound": bound_of(bound),
        "budgets": shown.collect::<Vec<_>>(),
        "why": "this node has a store of its own: its counters have all rights, and a budget is \
            shown where its scope is named",
    })
}

fn one_alone(window: &Window, all: Policy, now: WallMs) -> Value {
    let (name, policy) = (window.name(), window.policy(all));
    let (settled, used) = window.committed(now);
    json!({
        "scope": {
            "kind": name.kind,
            "id": name.id,
            "model": name.model,
            "limit": name.limit,
        },
        "resets_at": window.resets_at(now).map(|at| at.to_iso()),
        "limit": window.limit(now).map(NanoUsd::dollars),
        "used": settled.dollars(),
        "reserved_here": used.saturating_sub(settled).dollars(),
        "on_exhausted": policy.on_exhausted.word(),
        "degraded_policy": policy.degraded.word(),
        "bound": bound_of(over(window, now)),
    })
}

/// What is settled over a budget, and what running requests hold over it.
fn over(window: &Window, now: WallMs) -> [NanoUsd; 2] {
    let limit = window.limit(now).unwrap_or_default();
    let (settled, used) = window.committed(now);
    let metering = settled.saturating_sub(limit).max(NanoUsd::ZERO);
    let overdraft = used.saturating_sub(settled.max(limit));
    [metering, overdraft.max(NanoUsd::ZERO)]
}

fn bound_of([metering, overdraft]: [NanoUsd; 2]) -> Value {
    json!({
        "total_nano_usd": metering.saturating_add(overdraft).0,
        "metering": metering.dollars(),
        "overdraft": overdraft.dollars(),
    })
}

/// POST /meridian/rights: what another node says. Only what it has signed is read.
pub(super) async fn frame(State(state): State<AdminState>, RawBody(body): RawBody) -> Json<Value> {
    if let Some(rights) = state.rights() {
        rights.hear(body.to_vec());
    }
    Json(json!({}))
}

/// POST /budget/write_off: a node is lost with its disk. What it held counts as spent; with `anew`
/// it is made anew where budgets are at home here.
pub(super) async fn write_off(
    _: AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let actor = fields.text("actor").value();
    let anew = fields.flag("anew").value().unwrap_or(false);
    fields.finish()?;
    let actor = actor.as_deref().unwrap_or_default().parse::<Actor>();
    let actor = actor.map_err(|error| bad("actor", error.to_string()))?;
    let Some(rights) = state.rights() else {
        return Err(bad("actor", "this node shares no budgets".to_owned()));
    };
    rights
        .write_off(actor, anew)
        .await
        .map(Json)
        .ok_or_else(away)
}

/// POST /budget/region_lost: a region is gone for good (`proof` is `dead`, as it is without) or cut
/// off and perhaps alive (`fence`). What it held, or cannot spend any more, is made anew at home.
pub(super) async fn region_lost(
    _: AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let region = fields.text("region").value();
    let proof = fields.text("proof").value();
    fields.finish()?;
    let proof = Proof::parse(proof.as_deref().unwrap_or("dead"));
    let proof = proof.ok_or_else(|| bad("proof", "expected `dead` or `fence`".to_owned()))?;
    let Some(rights) = state.rights() else {
        return Err(bad("region", "this node shares no budgets".to_owned()));
    };
    let lost = rights.call_lost(region.unwrap_or_default(), proof).await;
    let lost = lost.ok_or_else(away)?;
    lost.map(Json).map_err(|why| bad("region", why.to_string()))
}

/// A key, `installation`, or `kind:id`; members are `team_member:team/user`, keys may be in clear.
fn name_of(text: &str) -> Option<WindowName> {
    let named = |kind: &str, id: String| WindowName {
        kind: kind.to_owned(),
        id,
        model: None,
        limit: None,
    };
    if text == "installation" {
        return Some(named("", text.to_owned()));
    }
    if text.starts_with("sk-") || KeyHash::from_hex(text).is_some() {
        return name_of(&format!("key:{text}"));
    }
    let (kind, id) = text.split_once(':')?;
    if RoutedKind::of_label(kind).is_some() {
        return Some(named(kind, id.to_owned()));
    }
    let kind = ScopeKind::of_label(kind)?;
    let member = |make: fn(&str, &str) -> Scope| {
        let (group, user) = id.split_once('/')?;
        Some(make(group, user).id)
    };
    let id = match kind {
        ScopeKind::Key if id.starts_with("sk-") => KeyHash::of_secret(id).to_string(),
        ScopeKind::TeamMember => member(Scope::team_member)?,
        ScopeKind::OrganizationMember => member(Scope::organization_member)?,
        _ => id.to_owned(),
    };
    Some(named(kind.label(), id))
}

fn bad(field: &str, message: String) -> AdminError {
    GatewayError::BadField {
        field: field.to_owned(),
        message,
    }
    .into()
}

fn away() -> AdminError {
    GatewayError::Overloaded {
        what: "The task that shares budgets",
        retry_after_s: RETRY_S,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_named_as_people_write_them() {
        let id = |text: &str| name_of(text).map(|name| (name.kind, name.id));
        let pair = |kind: &str, id: &str| Some((kind.to_owned(), id.to_owned()));
        assert_eq!(id("installation"), pair("", "installation"));
        assert_eq!(id("team:a:b"), pair("team", "a:b"));
        let hash = KeyHash::of_secret("sk-1").to_string();
        for key in ["key:sk-1", "sk-1", &hash] {
            assert_eq!(id(key), pair("key", &hash));
        }
        let member = Scope::team_member("t", "u").id;
        assert_eq!(id("team_member:t/u"), pair("team_member", &member));
        assert_eq!(id("team_member:t"), None);
        assert_eq!(id("planet:x"), None);
        assert_eq!(id("provider:openai"), pair("provider", "openai"));
    }
}
