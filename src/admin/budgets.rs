//! `/budget/*`: bounds that other records refer to.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::{Bounds, Budget, Facet, RecordKind};
use meridian_core::scope::Scope;
use serde_json::{Value, json};

use super::access::{AdminAccess, Caller, ViewerAccess};
use super::authorize::absent;
use super::body::JsonBody;
use super::draft::{Draft, Tries, every, named, typed};
use super::query::Query;
use super::reply::AdminError;
use super::rows::{row, row_now};
use super::schema::{BOUNDS, Field, Kind, Patch, column};
use super::state::AdminState;
use crate::store::RecordQuery;

type Answer = Result<Json<Value>, AdminError>;

/// What is stored of a budget.
pub(in crate::admin) const FIELDS: &[&[Field]] = &[BOUNDS, OWN];

const OWN: &[Field] = &[
    column("allowed_models", Kind::Texts),
    column("budget_reset_at", Kind::Moment),
];

/// Kinds of records that refer to budgets.
const REFERRING: [RecordKind; 6] = [
    RecordKind::Organization,
    RecordKind::Key,
    RecordKind::TeamMember,
    RecordKind::OrganizationMember,
    RecordKind::Customer,
    RecordKind::Tag,
];

/// POST /budget/new
pub(super) async fn new(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.id("budget_id").value();
    let patch = Patch::read(&mut fields, FIELDS);
    fields.finish()?;
    patch.check()?;
    let id = id.unwrap_or_else(|| crate::clock::new_call_id().to_string());
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        if draft.body(RecordKind::Budget, &id).await?.is_some() {
            let text = format!("Budget with id '{id}' already exists.");
            return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
        }
        make(&mut draft, &id, &patch)?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            return shown(&state, &id).await;
        }
    }
}

/// Puts a new budget into a draft.
pub(super) fn make(draft: &mut Draft<'_>, id: &str, patch: &Patch) -> Result<(), AdminError> {
    let body = patch.whole_body(&Bounds::default(), &draft.moment())?;
    let budget: Budget = typed(id, body)?;
    draft.write(id, &budget);
    Ok(())
}

async fn shown(state: &AdminState, id: &str) -> Answer {
    let row = row_now(state, RecordKind::Budget, id).await?;
    Ok(Json(Value::Object(row)))
}

/// POST /budget/update
pub(super) async fn update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.text("budget_id").value();
    let patch = Patch::read(&mut fields, FIELDS);
    fields.finish()?;
    patch.check()?;
    let Some(id) = id else {
        let text = "budget_id is required";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    };
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        change(&mut draft, &id, &patch).await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            return shown(&state, &id).await;
        }
    }
}

/// Changes a budget in a draft, and the periods of everything that refers to it.
pub(super) async fn change(
    draft: &mut Draft<'_>,
    id: &str,
    patch: &Patch,
) -> Result<(), AdminError> {
    let before = draft.read::<Budget>(id).await?;
    let before = before.ok_or_else(|| absent(RecordKind::Budget, id))?;
    let mut body = draft
        .body(RecordKind::Budget, id)
        .await?
        .unwrap_or_default();
    patch.apply(&mut body, &draft.moment())?;
    let budget: Budget = typed(id, body)?;
    renew_periods(draft, id, &before.bounds, &budget.bounds).await?;
    draft.write(id, &budget);
    Ok(())
}

/// The budget as a `PUT` says it is.
pub(super) async fn put(draft: &mut Draft<'_>, id: &str, patch: &Patch) -> Result<(), AdminError> {
    let before = draft.read::<Budget>(id).await?.unwrap_or_default();
    let body = patch.whole_body(&before.bounds, &draft.moment())?;
    let budget = Budget {
        created_by: before.created_by.clone(),
        updated_by: before.updated_by.clone(),
        ..typed(id, body)?
    };
    renew_periods(draft, id, &before.bounds, &budget.bounds).await?;
    draft.write(id, &budget);
    Ok(())
}

async fn renew_periods(
    draft: &mut Draft<'_>,
    id: &str,
    before: &Bounds,
    after: &Bounds,
) -> Result<(), AdminError> {
    let same = before.budget_duration == after.budget_duration
        && before.budget_reset_at == after.budget_reset_at;
    if same {
        return Ok(());
    }
    for kind in REFERRING {
        for stored in draft.all_with(kind, Facet::BudgetId, id).await? {
            let own = stored.record.body.contains_key("budget_duration");
            if let (Some(scope), false) = (stored.record.scope(), own) {
                draft.set_period(scope, after);
            }
        }
    }
    Ok(())
}

/// Lets a record that refers to a budget follow its period, from when it refers to it.
pub(super) async fn link(
    draft: &mut Draft<'_>,
    (kind, id): (RecordKind, &str),
    own: &Bounds,
    budget_id: Option<&str>,
) -> Result<(), AdminError> {
    let Some(budget_id) = budget_id else {
        return Ok(());
    };
    let budget = draft.read::<Budget>(budget_id).await?;
    let budget = budget.ok_or_else(|| absent(RecordKind::Budget, budget_id))?;
    let was = draft.before(kind, id, "budget_id").and_then(Value::as_str);
    let had_own = draft.before(kind, id, "budget_duration").is_some();
    let linked = was == Some(budget_id) && !had_own;
    if let (Some(scope), None, false) = (kind.scope(), &own.budget_duration, linked) {
        draft.set_period(Scope::new(scope, id), &budget.bounds);
    }
    Ok(())
}

/// POST /budget/info
pub(super) async fn info(
    _: ViewerAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let ids = fields.texts("budgets").value().unwrap_or_default();
    fields.finish()?;
    if ids.is_empty() {
        let text = "Specify list of budget id's to query. Passed in=[]";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    }
    let found = named(&state, RecordKind::Budget, &ids).await?;
    Ok(Json(
        found.iter().map(|one| Value::Object(row(one))).collect(),
    ))
}

/// GET /budget/list
pub(super) async fn list(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    let found = every(&state, &RecordQuery::all(RecordKind::Budget)).await?;
    Ok(Json(
        found.iter().map(|one| Value::Object(row(one))).collect(),
    ))
}

/// GET /budget/settings: the fields of a budget and what they are now.
pub(super) async fn settings(
    _: ViewerAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let id = query.text("budget_id").unwrap_or_default();
    if super::draft::live(&state, RecordKind::Budget, &id)
        .await?
        .is_none()
    {
        return Err(absent(RecordKind::Budget, &id));
    }
    let row = row_now(&state, RecordKind::Budget, &id).await?;
    let fields = FIELDS.iter().copied().flatten();
    let shown = fields.map(|field| {
        let value = row.get(field.name).cloned().unwrap_or(Value::Null);
        json!({
            "field_name": field.name, "field_type": type_name(field.kind),
            "field_description": field.name.replace('_', " "), "field_value": value,
            "stored_in_db": !value.is_null(), "field_default_value": null,
        })
    });
    Ok(Json(shown.collect()))
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Money => "Float",
        Kind::Whole => "Integer",
        Kind::Texts => "List",
        Kind::ModelBudgets => "Object",
        _ => "String",
    }
}

/// POST /budget/delete: not while something refers to it, which would be without a limit then.
pub(super) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("id");
    fields.finish()?;
    remove(&state, &caller, &id).await
}

async fn remove(state: &AdminState, caller: &Caller, id: &str) -> Answer {
    let shown = row_now(state, RecordKind::Budget, id).await?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, caller);
        if draft.body(RecordKind::Budget, id).await?.is_none() {
            return Err(absent(RecordKind::Budget, id));
        }
        for kind in REFERRING {
            let users = draft.all_with(kind, Facet::BudgetId, id).await?;
            if let Some(user) = users.first() {
                let (kind, used) = (kind.as_str(), users.len());
                let text = format!(
                    "Budget '{id}' is used by {used} of kind {kind}, one is '{}'. Give them \
                     another budget first.",
                    user.record.id.replace('\u{1f}', "/")
                );
                return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
            }
        }
        draft.delete(RecordKind::Budget, id);
        if draft.save(caller, &mut tries).await?.is_some() {
            return Ok(Json(Value::Object(shown)));
        }
    }
}
