//! Reading users: info, lists, roles.

use axum::Json;
use axum::extract::State;
use meridian_core::auth::Action;
use meridian_core::record::{Facet, OrganizationMember, RecordKind, User};
use serde_json::{Map, Value, json};

use super::super::access::{AnyKeyAccess, Caller, OwnOrViewerAccess, ViewerAccess};
use super::super::authorize::{absent, may_user};
use super::super::draft::{body_of, every, find, live, named};
use super::super::lists::{Listed, page_of, sorted};
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::rows::{memberships, row_at};
use super::super::state::AdminState;
use super::write::keys_of;
use crate::store::{RecordQuery, RecordSort};

type Answer = Result<Json<Value>, AdminError>;

/// The user that a request names, or the caller's own.
async fn named_user(
    state: &AdminState,
    caller: &Caller,
    query: &Query,
) -> Result<String, AdminError> {
    let own = caller.user_id();
    let id = query.text("user_id").or(own).unwrap_or_default();
    may_user(state, caller, Action::See, &id).await?;
    Ok(id)
}

/// GET /user/info
pub(in crate::admin) async fn info(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let id = named_user(&state, &caller, &query).await?;
    let stored = live(&state, RecordKind::User, &id).await?;
    let keys = keys_of(&state, &id).await?;
    let Some(stored) = stored else {
        // A user of keys that was never made has keys all the same.
        if keys.is_empty() {
            return Err(absent(RecordKind::User, &id));
        }
        return Ok(Json(json!({
            "user_id": id, "user_info": null, "keys": keys, "teams": [],
        })));
    };
    let user: User = body_of(&stored)?;
    let teams = named(&state, RecordKind::Team, &user.teams).await?;
    let teams: Vec<Value> = teams
        .iter()
        .map(|team| Value::Object(row_at(&state, team)))
        .collect();
    Ok(Json(json!({
        "user_id": id, "user_info": with_places(&state, &id, row_at(&state, &stored)).await?,
        "keys": keys, "teams": teams,
    })))
}

/// GET /v2/user/info: the user alone.
pub(in crate::admin) async fn info_v2(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let id = named_user(&state, &caller, &query).await?;
    let stored = live(&state, RecordKind::User, &id).await?;
    let stored = stored.ok_or_else(|| absent(RecordKind::User, &id))?;
    let shown = with_places(&state, &id, row_at(&state, &stored)).await?;
    Ok(Json(Value::Object(shown)))
}

async fn with_places(
    state: &AdminState,
    id: &str,
    mut row: Map<String, Value>,
) -> Result<Map<String, Value>, AdminError> {
    let query = RecordQuery::all(RecordKind::OrganizationMember).with(Facet::UserId, id);
    let places = memberships(state, &query).await?;
    row.insert("organization_memberships".to_owned(), json!(places));
    Ok(row)
}

/// GET /user/list
pub(in crate::admin) async fn list(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (page, size) = query.page(25)?;
    let columns = [
        ("user_id", RecordSort::Id),
        ("user_email", RecordSort::Facet(Facet::Email)),
        ("user_alias", RecordSort::Facet(Facet::Alias)),
        ("created_at", RecordSort::CreatedAt),
        ("spend", RecordSort::Spend),
    ];
    let list = |name: &str| -> Option<Vec<String>> {
        let text = query.text(name)?;
        let parts = text.split(',').map(str::trim).filter(|id| !id.is_empty());
        Some(parts.map(str::to_owned).collect())
    };
    let mut asked = sorted(&query, RecordQuery::all(RecordKind::User), &columns)?;
    asked.search = query.text("user_email");
    let mut ids = list("user_ids");
    if let Some(team) = query.text("team") {
        narrow(&mut ids, members_of_team(&state, &team).await?);
    }
    if !caller.sees_all() {
        narrow(&mut ids, users_of_organizations(&state, &caller).await?);
    }
    if ids.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Json(Listed::empty(page, size).named("users")));
    }
    asked.ids = ids.unwrap_or_default();
    let sso = list("sso_user_ids");
    let role = query.text("role");
    if role.is_some() || sso.is_some() {
        // They are no columns of the store.
        let found = filtered(&state, asked, role.as_deref(), sso.as_deref()).await?;
        return Ok(Json(page_in_memory(&state, found, page, size).await?));
    }
    let found = page_of(&state, asked, page, size).await?;
    let mut rows = Vec::new();
    for stored in &found.records {
        let key_count = keys_of(&state, &stored.record.id).await?.len();
        let mut shown = row_at(&state, stored);
        shown.insert("key_count".to_owned(), json!(key_count));
        rows.push(Value::Object(shown));
    }
    Ok(Json(Listed::new(rows, &found).named("users")))
}

fn narrow(ids: &mut Option<Vec<String>>, to: Vec<String>) {
    *ids = Some(match ids.take() {
        None => to,
        Some(ids) => ids.into_iter().filter(|id| to.contains(id)).collect(),
    });
}

async fn members_of_team(state: &AdminState, team: &str) -> Result<Vec<String>, AdminError> {
    let team = find::<meridian_core::record::Team>(state, team).await?;
    let members = team.unwrap_or_default().members_with_roles.into_iter();
    Ok(members.filter_map(|member| member.user_id).collect())
}

/// Users that a caller without all rights may see: itself and those of its organizations.
async fn users_of_organizations(
    state: &AdminState,
    caller: &Caller,
) -> Result<Vec<String>, AdminError> {
    let mut users: Vec<String> = caller.user_id().into_iter().collect();
    for id in caller.standing().administrated() {
        let query = RecordQuery::all(RecordKind::OrganizationMember);
        let members = every(state, &query.with(Facet::OrganizationId, id)).await?;
        for member in &members {
            users.push(body_of::<OrganizationMember>(member)?.user_id);
        }
    }
    Ok(users)
}

async fn filtered(
    state: &AdminState,
    asked: RecordQuery,
    role: Option<&str>,
    sso: Option<&[String]>,
) -> Result<Vec<crate::store::StoredRecord>, AdminError> {
    let mut found = every(state, &asked).await?;
    found.retain(|stored| {
        let body = &stored.record.body;
        let has_role = role.is_none_or(|role| {
            let own = body.get("user_role").and_then(Value::as_str);
            own.unwrap_or("internal_user") == role
        });
        let extra = body.get("extra").and_then(|extra| extra.get("sso_user_id"));
        let own = extra.and_then(Value::as_str).unwrap_or_default();
        has_role && sso.is_none_or(|sso| sso.iter().any(|id| id == own))
    });
    Ok(found)
}

async fn page_in_memory(
    state: &AdminState,
    found: Vec<crate::store::StoredRecord>,
    page: u64,
    size: u64,
) -> Result<Value, AdminError> {
    let total = found.len() as u64;
    let skip = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    for stored in found.iter().skip(skip).take(size as usize) {
        let mut shown = row_at(state, stored);
        let key_count = keys_of(state, &stored.record.id).await?.len();
        shown.insert("key_count".to_owned(), json!(key_count));
        rows.push(Value::Object(shown));
    }
    Ok(json!({
        "users": rows, "total": total, "page": page, "page_size": size,
        "total_pages": total.div_ceil(size.max(1)),
    }))
}

/// GET /user/filter/ui: users by a part of their id or address.
pub(in crate::admin) async fn filter(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (page, size) = query.page(50)?;
    let asked = RecordQuery {
        search: query.text("user_id").or_else(|| query.text("user_email")),
        descending: true,
        ..RecordQuery::all(RecordKind::User)
    };
    let found = page_of(&state, asked, page, size).await?;
    let shown = found.records.iter().map(|stored| {
        let row = row_at(&state, stored);
        json!({"user_id": row.get("user_id"), "user_email": row.get("user_email"),
            "user_alias": row.get("user_alias")})
    });
    Ok(Json(shown.collect()))
}

/// GET /user/available_roles
pub(in crate::admin) async fn available_roles(_: AnyKeyAccess) -> Json<Value> {
    Json(json!({
        "proxy_admin": {
            "ui_label": "Admin (All Permissions)",
            "description": "makes, changes and sees everything",
        },
        "proxy_admin_viewer": {
            "ui_label": "Admin (View Only)",
            "description": "sees everything",
        },
        "internal_user": {
            "ui_label": "Internal User (Create/Delete/View)",
            "description": "makes, removes and sees its own keys",
        },
        "internal_user_viewer": {
            "ui_label": "Internal Viewer (View Only)",
            "description": "sees its own keys and spend",
        },
    }))
}
