//! `/audit`: who changed what, with LiteLLM's columns. Values are sealed where they were sealed in
//! the record, and masked here as everywhere.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::RecordKind;
use serde_json::{Value, json};

use super::access::{PathParameter, ViewerAccess};
use super::mask;
use super::query::Query;
use super::reply::AdminError;
use super::state::AdminState;
use super::store_refusal;
use crate::merged::SEALED_SECTION;
use crate::store::{AuditAction, AuditEntry, AuditQuery};

type Answer = Result<Json<Value>, AdminError>;

/// LiteLLM's tables, by what they hold. The first of a kind is what answers say.
const TABLES: [(&str, RecordKind); 16] = [
    ("LiteLLM_VerificationToken", RecordKind::Key),
    (
        "LiteLLM_DeprecatedVerificationToken",
        RecordKind::RotatedKey,
    ),
    ("LiteLLM_TeamTable", RecordKind::Team),
    ("LiteLLM_UserTable", RecordKind::User),
    ("LiteLLM_OrganizationTable", RecordKind::Organization),
    ("LiteLLM_BudgetTable", RecordKind::Budget),
    ("LiteLLM_EndUserTable", RecordKind::Customer),
    ("LiteLLM_TagTable", RecordKind::Tag),
    ("LiteLLM_TeamMembership", RecordKind::TeamMember),
    (
        "LiteLLM_OrganizationMembership",
        RecordKind::OrganizationMember,
    ),
    ("LiteLLM_ProxyModelTable", RecordKind::Model),
    ("LiteLLM_CredentialsTable", RecordKind::Credential),
    ("LiteLLM_Config", RecordKind::Setting),
    ("Meridian_Restriction", RecordKind::Restriction),
    ("LiteLLM_ModelTable", RecordKind::Model),
    ("LiteLLM_CustomerTable", RecordKind::Customer),
];

/// GET /audit
pub(super) async fn list(_: ViewerAccess, State(state): State<AdminState>, query: Query) -> Answer {
    let (page, size) = query.page(10)?;
    let asked = AuditQuery {
        id: None,
        changed_by: query.text("changed_by"),
        changed_by_key: query.text("changed_by_api_key"),
        action: query.text("action").map(|word| action(&word)).transpose()?,
        kind: query
            .text("table_name")
            .map(|name| kind(&name))
            .transpose()?,
        object_id: query.text("object_id"),
        from: query.moment("start_date")?,
        to: query.end_moment("end_date")?,
        ascending: ascending(&query)?,
        page: u32::try_from(page).unwrap_or(u32::MAX),
        size: size as u32,
    };
    let found = state
        .store()
        .audit_log(asked)
        .await
        .map_err(store_refusal)?;
    Ok(Json(json!({
        "audit_logs": found.entries.iter().map(shown).collect::<Vec<_>>(),
        "total": found.total,
        "page": page,
        "page_size": size,
        "total_pages": found.total.div_ceil(size),
    })))
}

/// GET /audit/{id}
pub(super) async fn one(
    _: ViewerAccess,
    State(state): State<AdminState>,
    PathParameter(id): PathParameter,
) -> Answer {
    let id = id.unwrap_or_default();
    let asked = AuditQuery {
        id: Some(id.clone()),
        ..AuditQuery::default()
    };
    let found = state
        .store()
        .audit_log(asked)
        .await
        .map_err(store_refusal)?;
    let entry = found.entries.first().ok_or_else(|| {
        let text = format!("Audit log with ID {id} not found");
        AdminError::detail(StatusCode::NOT_FOUND, text)
    })?;
    Ok(Json(shown(entry)))
}

fn action(word: &str) -> Result<AuditAction, AdminError> {
    let known = AuditAction::ALL
        .into_iter()
        .find(|one| one.as_str() == word);
    known.ok_or_else(|| bad("action must be one of: created, updated, deleted"))
}

fn kind(name: &str) -> Result<RecordKind, AdminError> {
    let known = TABLES.iter().find(|(table, _)| *table == name);
    known.map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
        bad(&format!("table_name must be one of: {}", names.join(", ")))
    })
}

/// LiteLLM sorts by any column; here it is the time, which the log is kept in.
fn ascending(query: &Query) -> Result<bool, AdminError> {
    if query
        .text("sort_by")
        .is_some_and(|column| column != "updated_at")
    {
        return Err(bad("sort_by must be updated_at"));
    }
    match query.text("sort_order").as_deref() {
        None | Some("desc") => Ok(false),
        Some("asc") => Ok(true),
        Some(_) => Err(bad("sort_order must be asc or desc")),
    }
}

fn shown(entry: &AuditEntry) -> Value {
    let table = TABLES.iter().find(|(_, kind)| *kind == entry.kind);
    let value = |value: &Option<Value>| value.as_ref().map(|value| hidden(entry, value));
    json!({
        "id": entry.id,
        "updated_at": entry.at.to_iso(),
        "changed_by": entry.changed_by,
        "changed_by_api_key": entry.changed_by_key,
        "action": entry.action.as_str(),
        "table_name": table.map_or("", |(table, _)| table),
        "object_id": entry.object_id,
        "before_value": value(&entry.before),
        "updated_values": value(&entry.after),
    })
}

/// A record's body without what is sealed in it.
fn hidden(entry: &AuditEntry, body: &Value) -> Value {
    let Value::Object(body) = body else {
        return Value::Null;
    };
    let mut body = body.clone();
    let sealed = match entry.kind {
        RecordKind::Model => Some("litellm_params"),
        RecordKind::Credential => Some("credential_values"),
        RecordKind::Setting if entry.object_id == SEALED_SECTION => Some("param_value"),
        _ => None,
    };
    if let Some(value) = sealed.and_then(|name| body.get_mut(name)) {
        *value = mask::masked(value);
    }
    // Free fields, in which callers may have put secrets of their own.
    for name in [
        "metadata",
        "extra",
        "param_value",
        "model_info",
        "credential_info",
    ] {
        if let Some(Value::Object(free)) = body.get_mut(name) {
            *free = mask::settings(free);
        }
    }
    Value::Object(body)
}

fn bad(text: &str) -> AdminError {
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}
