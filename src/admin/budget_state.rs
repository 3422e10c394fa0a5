//! How budgets that nodes share stand: rights by region and node, what is on its way, the bound.

use axum::Json;
use axum::extract::State;
use meridian_core::error::GatewayError;
use meridian_core::escrow::Actor;
use meridian_core::ids::KeyHash;
use meridian_core::meters::WindowName;
use meridian_core::scope::{Scope, ScopeKind};
use serde_json::{Value, json};

use super::access::{AdminAccess, PathParameter, ViewerAccess};
use super::body::{JsonBody, RawBody};
use super::reply::AdminError;
use super::state::AdminState;

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
        let kinds = ScopeKind::ALL.map(ScopeKind::label).join(", ");
        return Err(bad(
            "scope",
            format!("expected `installation` or kind:id, with a kind of {kinds}"),
        ));
    };
    show(&state, Some(name)).await
}

async fn show(state: &AdminState, name: Option<WindowName>) -> Answer {
    let Some(rights) = state.rights() else {
        return Ok(Json(json!({
            "actor": null,
            "region": null,
            "coordination": "alone",
            "nodes": [],
            "links": [],
            "bound": null,
            "budgets": [],
            "why": "this node has a store of its own: its counters have all rights",
        })));
    };
    rights.show(name).await.map(Json).ok_or_else(away)
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

/// POST /budget/region_lost: a region is gone for good, and what it held is made anew at home.
pub(super) async fn region_lost(
    _: AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let region = fields.text("region").value();
    fields.finish()?;
    let Some(rights) = state.rights() else {
        return Err(bad("region", "this node shares no budgets".to_owned()));
    };
    let lost = rights.call_lost(region.unwrap_or_default()).await;
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
    }
}
