//! Making, changing and removing organizations.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::{Bounds, Budget, Organization, RecordKind};
use meridian_core::scope::{Scope, ScopeKind};
use serde_json::{Map, Value, json};

use super::super::access::AdminAccess;
use super::super::authorize::absent;
use super::super::body::JsonBody;
use super::super::draft::{Draft, Tries, typed};
use super::super::fields::Given;
use super::super::reply::AdminError;
use super::super::schema::Patch;
use super::super::state::AdminState;
use super::super::{budgets, schema};
use super::read::shown;
use super::{FIELDS, LIMITS};

type Answer = Result<Json<Value>, AdminError>;

/// Most organizations in one call.
const ORGANIZATIONS_MAX: usize = 100;

/// POST /organization/new
pub(in crate::admin) async fn new(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.id("organization_id").value();
    let alias = fields.required_text("organization_alias");
    let mut patch = Patch::read(&mut fields, FIELDS);
    let limits = Patch::read(&mut fields, LIMITS);
    fields.finish()?;
    patch.check()?;
    limits.check()?;
    patch.set("organization_alias", schema::Place::Column, json!(alias));
    let id = id.unwrap_or_else(|| crate::clock::new_call_id().to_string());
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        if draft.body(RecordKind::Organization, &id).await?.is_some() {
            let text = format!("Organization with id {id} already exists");
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
        let body = patch.whole_body(&Bounds::default(), &draft.moment())?;
        build(&mut draft, &id, body, &limits).await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            return shown(&state, &id).await;
        }
    }
}

/// Puts an organization and the limits that were said into a draft: it always has a budget.
async fn build(
    draft: &mut Draft<'_>,
    id: &str,
    body: Map<String, Value>,
    limits: &Patch,
) -> Result<(), AdminError> {
    let mut organization: Organization = typed(id, body)?;
    let budget_id = match &organization.budget_id {
        Some(budget) => budget.clone(),
        None => format!("organization-budget-{id}"),
    };
    let own = organization.budget_id.is_none();
    let known = draft.read::<Budget>(&budget_id).await?;
    match (known, own) {
        (None, true) => budgets::make(draft, &budget_id, limits)?,
        (None, false) => return Err(absent(RecordKind::Budget, &budget_id)),
        (Some(_), _) if limits.names().next().is_some() => {
            budgets::change(draft, &budget_id, limits).await?;
        }
        (Some(_), _) => {}
    }
    organization.budget_id = Some(budget_id.clone());
    draft.write(id, &organization);
    let place = (RecordKind::Organization, id);
    budgets::link(draft, place, &Bounds::default(), Some(&budget_id)).await
}

/// PATCH /organization/update
pub(in crate::admin) async fn update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("organization_id");
    let patch = Patch::read(&mut fields, FIELDS);
    let limits = Patch::read(&mut fields, LIMITS);
    fields.finish()?;
    patch.check()?;
    limits.check()?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let body = draft.body(RecordKind::Organization, &id).await?;
        let mut body = body.ok_or_else(|| absent(RecordKind::Organization, &id))?;
        patch.apply(&mut body, &draft.moment())?;
        build(&mut draft, &id, body, &limits).await?;
        if let Given::Value(spend) = patch.money("spend") {
            draft.set_spend(Scope::new(ScopeKind::Organization, id.as_str()), spend);
        }
        if draft.save(&caller, &mut tries).await?.is_some() {
            return shown(&state, &id).await;
        }
    }
}

/// The organization as a `PUT` says it is, its budget too where it is its own.
pub(in crate::admin) async fn put(
    draft: &mut Draft<'_>,
    id: &str,
    patch: &Patch,
    limits: &Patch,
) -> Result<(), AdminError> {
    let before = draft.read::<Organization>(id).await?.unwrap_or_default();
    let body = patch.whole_body(&Bounds::default(), &draft.moment())?;
    let organization = Organization {
        created_by: before.created_by,
        updated_by: before.updated_by,
        ..typed(id, body)?
    };
    let own = format!("organization-budget-{id}");
    let body = match serde_json::to_value(&organization) {
        Ok(Value::Object(body)) => body,
        _ => Map::new(),
    };
    if organization
        .budget_id
        .as_ref()
        .is_none_or(|budget| *budget == own)
    {
        budgets::put(draft, &own, limits).await?;
        let mut body = body;
        body.insert("budget_id".to_owned(), json!(own));
        return build(draft, id, body, &Patch::default()).await;
    }
    if limits.names().next().is_some() {
        let text = "Limits of an organization with a budget_id are that budget's";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    build(draft, id, body, &Patch::default()).await
}

/// DELETE /organization/delete
pub(in crate::admin) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let ids = fields.texts("organization_ids").value().unwrap_or_default();
    fields.finish()?;
    if ids.is_empty() || ids.len() > ORGANIZATIONS_MAX {
        let text = format!("organization_ids must name 1 to {ORGANIZATIONS_MAX} organizations");
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let mut gone = Vec::new();
    for id in &ids {
        match shown(&state, id).await {
            Ok(Json(row)) => gone.push(row),
            Err(error) => return Err(error),
        }
    }
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        for id in &ids {
            super::remove(&mut draft, id).await?;
            let own = format!("organization-budget-{id}");
            draft.body(RecordKind::Budget, &own).await?;
            draft.delete(RecordKind::Budget, &own);
        }
        if draft.save(&caller, &mut tries).await?.is_some() {
            return Ok(Json(Value::Array(gone)));
        }
    }
}
