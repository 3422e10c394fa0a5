//! Who belongs to an organization, as what.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::{Action, Object, Power};
use meridian_core::record::{Facet, OrganizationMember, RecordKind, User};
use meridian_core::scope::Scope;
use serde_json::{Value, json};

use super::super::access::{Caller, DelegatedAccess};
use super::super::authorize::{absent, may, must_exist};
use super::super::body::JsonBody;
use super::super::checks::id_fault;
use super::super::draft::{Draft, Tries, every};
use super::super::fields::{Fields, Given};
use super::super::reply::AdminError;
use super::super::rows::{memberships, row_now};
use super::super::schema::{Field, Kind, Patch, of_route};
use super::super::state::AdminState;
use super::super::users::{join_organization, leave_organization};
use crate::store::RecordQuery;

type Answer = Result<Json<Value>, AdminError>;

/// Roles within an organization.
const ROLES: &[&str] = &["org_admin", "internal_user", "internal_user_viewer"];

/// Most members of one call.
const MEMBERS_MAX: usize = 500;

pub(in crate::admin) const LIMITS: &[Field] = &[
    of_route("max_budget_in_organization", Kind::Money),
    of_route("budget_duration", Kind::Period),
];

/// A member that a request names.
#[derive(Clone)]
struct Named {
    id: Option<String>,
    email: Option<String>,
    role: String,
}

fn members_of(fields: &mut Fields) -> Vec<Named> {
    let given = match fields.any("member") {
        Given::Value(Value::Array(items)) => items,
        Given::Value(one) => vec![one],
        Given::Absent | Given::Null => {
            fields.refuse("member", "missing", "Field required", &Value::Null);
            return Vec::new();
        }
    };
    let mut members = Vec::new();
    for item in given {
        match named(&item) {
            Ok(member) => members.push(member),
            Err(why) => fields.refuse("member", "value_error", why, &item),
        }
    }
    if members.len() > MEMBERS_MAX {
        let text = "List should have at most 500 items";
        fields.refuse("member", "too_long", text, &Value::Null);
    }
    members
}

fn named(item: &Value) -> Result<Named, &'static str> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let (id, email, role) = (text("user_id"), text("user_email"), text("role"));
    let role = role.unwrap_or_default();
    if !ROLES.contains(&role.as_str()) {
        return Err("role should be 'org_admin', 'internal_user' or 'internal_user_viewer'");
    }
    if id.is_none() && email.is_none() {
        return Err("Either user_id or user_email must be provided");
    }
    match id.as_deref().and_then(id_fault) {
        Some(fault) => Err(fault),
        None => Ok(Named { id, email, role }),
    }
}

async fn may_members(state: &AdminState, caller: &Caller, id: &str) -> Result<Power, AdminError> {
    let object = Object::new(RecordKind::Organization, id);
    let power = may(caller, Action::Members, &object)?;
    must_exist(state, RecordKind::Organization, id).await?;
    Ok(power)
}

/// POST /organization/member_add
pub(in crate::admin) async fn add(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("organization_id");
    let members = members_of(&mut fields);
    let limits = Patch::read(&mut fields, &[LIMITS]);
    fields.finish()?;
    limits.check()?;
    let power = may_members(&state, &caller, &id).await?;
    let mut tries = Tries::default();
    let added = loop {
        let mut draft = Draft::new(&state, &caller);
        let mut added = Vec::new();
        for member in &members {
            let user_id = user_of(&mut draft, member, power).await?;
            let place = Scope::organization_member(&id, &user_id).id;
            if draft
                .body(RecordKind::OrganizationMember, &place)
                .await?
                .is_some()
            {
                let text = format!("User={user_id} already in organization={id}");
                return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
            }
            join_organization(&mut draft, &id, &user_id, &member.role, &limits).await?;
            added.push(user_id);
        }
        if draft.save(&caller, &mut tries).await?.is_some() {
            break added;
        }
    };
    let mut users = Vec::new();
    for user in &added {
        users.push(row_now(&state, RecordKind::User, user).await?);
    }
    Ok(Json(json!({
        "organization_id": id, "updated_users": users,
        "updated_organization_memberships": places(&state, &id, &added).await?,
    })))
}

async fn places(state: &AdminState, id: &str, users: &[String]) -> Result<Vec<Value>, AdminError> {
    let ids = users
        .iter()
        .map(|user| Scope::organization_member(id, user).id);
    let query = RecordQuery {
        ids: ids.collect(),
        ..RecordQuery::all(RecordKind::OrganizationMember)
    };
    match users.is_empty() {
        true => Ok(Vec::new()),
        false => memberships(state, &query).await,
    }
}

/// The user that is meant; it is made if there is none.
async fn user_of(
    draft: &mut Draft<'_>,
    member: &Named,
    power: Power,
) -> Result<String, AdminError> {
    let id = match (&member.id, &member.email) {
        (Some(id), _) => id.clone(),
        (None, email) => {
            let email = email.as_deref().unwrap_or_default();
            let known = draft
                .all_with(RecordKind::User, Facet::Email, email)
                .await?;
            let known = known.into_iter().next().map(|user| user.record.id);
            known.unwrap_or_else(|| crate::clock::new_call_id().to_string())
        }
    };
    if draft.body(RecordKind::User, &id).await?.is_none() {
        let models = match power {
            Power::Proxy => Vec::new(),
            // What it may do it gets from teams.
            _ => vec!["no-default-models".to_owned()],
        };
        let user = User {
            user_email: member.email.clone(),
            user_role: Some("internal_user".to_owned()),
            models,
            ..User::default()
        };
        draft.write(&id, &user);
    }
    Ok(id)
}

/// The id of a user that a request names by id or address.
async fn id_of(state: &AdminState, fields: &mut Fields) -> Result<String, AdminError> {
    let (id, email) = (
        fields.text("user_id").value(),
        fields.text("user_email").value(),
    );
    match (id, email) {
        (Some(id), _) => Ok(id),
        (None, Some(email)) => {
            let query = RecordQuery::all(RecordKind::User).with(Facet::Email, email.as_str());
            let found = every(state, &query).await?;
            let found = found.into_iter().next().map(|user| user.record.id);
            found.ok_or_else(|| absent(RecordKind::User, &email))
        }
        (None, None) => {
            let text = "Either user_id or user_email must be provided";
            Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// PATCH /organization/member_update
pub(in crate::admin) async fn update(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("organization_id");
    let role = fields.word("role", ROLES).value();
    let limits = Patch::read(&mut fields, &[LIMITS]);
    let user_id = id_of(&state, &mut fields).await;
    fields.finish()?;
    limits.check()?;
    may_members(&state, &caller, &id).await?;
    let user_id = user_id?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let place = Scope::organization_member(&id, &user_id).id;
        let member = draft.read::<OrganizationMember>(&place).await?;
        let member = member.ok_or_else(|| {
            let text =
                format!("User not found in organization. user_id={user_id}, organization_id={id}");
            AdminError::detail(StatusCode::NOT_FOUND, text)
        })?;
        let role = role.clone().unwrap_or(member.user_role);
        join_organization(&mut draft, &id, &user_id, &role, &limits).await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            break;
        }
    }
    let row = places(&state, &id, std::slice::from_ref(&user_id)).await?;
    Ok(Json(row.into_iter().next().unwrap_or(Value::Null)))
}

/// DELETE /organization/member_delete
pub(in crate::admin) async fn delete(
    DelegatedAccess(caller): DelegatedAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("organization_id");
    let user_id = id_of(&state, &mut fields).await;
    fields.finish()?;
    may_members(&state, &caller, &id).await?;
    let user_id = user_id?;
    let row = places(&state, &id, std::slice::from_ref(&user_id)).await?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        leave_organization(&mut draft, &id, &user_id).await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            return Ok(Json(row.into_iter().next().unwrap_or(Value::Null)));
        }
    }
}
