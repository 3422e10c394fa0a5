//! Reading organizations.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Method;
use meridian_core::auth::{Action, Object};
use meridian_core::record::{Bounds, Facet, Organization, RecordKind};
use serde_json::{Map, Value, json};

use super::super::access::OwnOrViewerAccess;
use super::super::authorize::{absent, may};
use super::super::body::JsonBody;
use super::super::draft::{body_of, every, live, named};
use super::super::query::Query;
use super::super::reply::AdminError;
use super::super::rows::{Budgets, budget_table, memberships, row};
use super::super::state::AdminState;
use crate::store::{RecordQuery, StoredRecord};

type Answer = Result<Json<Value>, AdminError>;

/// The answer of everything that names one organization.
pub(super) async fn shown(state: &AdminState, id: &str) -> Answer {
    let stored = live(state, RecordKind::Organization, id).await?;
    let stored = stored.ok_or_else(|| absent(RecordKind::Organization, id))?;
    Ok(Json(Value::Object(full(state, &stored).await?)))
}

/// An organization with its budget, members and teams.
async fn full(state: &AdminState, stored: &StoredRecord) -> Result<Map<String, Value>, AdminError> {
    let id = stored.record.id.as_str();
    let organization: Organization = body_of(stored)?;
    let budgets = Budgets::of(state, std::slice::from_ref(stored)).await?;
    let budget_id = organization.budget_id.as_deref();
    let mut shown = row(stored);
    let table = budget_table(&Bounds::default(), budget_id, &budgets);
    shown.insert("litellm_budget_table".to_owned(), table);
    let query = RecordQuery::all(RecordKind::OrganizationMember);
    let members = memberships(state, &query.with(Facet::OrganizationId, id)).await?;
    shown.insert("members".to_owned(), json!(members));
    let query = RecordQuery::all(RecordKind::Team).with(Facet::OrganizationId, id);
    let teams = every(state, &query).await?;
    let teams: Vec<Value> = teams.iter().map(|team| Value::Object(row(team))).collect();
    shown.insert("teams".to_owned(), json!(teams));
    Ok(shown)
}

/// GET and POST /organization/info: by query, or several by body.
pub(in crate::admin) async fn info(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
    request: Request,
) -> Answer {
    let by_body = request.method() == Method::POST;
    let ids = match by_body {
        false => vec![query.text("organization_id").unwrap_or_default()],
        true => {
            let body = <JsonBody as axum::extract::FromRequest<()>>::from_request(request, &());
            let JsonBody(mut fields) = body.await?;
            let ids = fields.texts("organizations").value().unwrap_or_default();
            fields.finish()?;
            ids
        }
    };
    let mut rows = Vec::new();
    for id in &ids {
        may(
            &caller,
            Action::See,
            &Object::new(RecordKind::Organization, id),
        )?;
        match shown(&state, id).await {
            Ok(Json(row)) => rows.push(row),
            // Of several, those that are there.
            Err(_) if by_body => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Json(match by_body {
        true => Value::Array(rows),
        false => rows.into_iter().next().unwrap_or(Value::Null),
    }))
}

/// GET /organization/list
pub(in crate::admin) async fn list(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let wanted = query.text("organization_id");
    let alias = query.text("org_alias");
    let found = match caller.sees_all() {
        true => every(&state, &RecordQuery::all(RecordKind::Organization)).await?,
        false => {
            let own: Vec<String> = caller.standing().organizations.keys().cloned().collect();
            named(&state, RecordKind::Organization, &own).await?
        }
    };
    let mut rows = Vec::new();
    for stored in &found {
        let own_alias = stored.record.facet(Facet::Alias).unwrap_or_default();
        let named = wanted.as_ref().is_none_or(|id| *id == stored.record.id);
        if named && alias.as_ref().is_none_or(|part| own_alias.contains(part)) {
            rows.push(Value::Object(full(&state, stored).await?));
        }
    }
    Ok(Json(Value::Array(rows)))
}
