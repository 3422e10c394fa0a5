//! `/customer/*` and `/end_user/*`: the callers' own customers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::{Customer, RecordKind};
use meridian_core::scope::{Scope, ScopeKind};
use serde_json::{Map, Value, json};

use super::access::{AdminAccess, Caller, ViewerAccess};
use super::authorize::absent;
use super::body::JsonBody;
use super::budgets;
use super::checks::id_fault;
use super::draft::{Draft, Tries, every, live, typed};
use super::fields::{Fields, Given};
use super::query::Query;
use super::reply::AdminError;
use super::rows::limited;
use super::schema::{BOUNDS, Field, Kind, Patch, column, extra, of_route};
use super::state::AdminState;
use super::store_refusal;
use crate::store::RecordQuery;

type Answer = Result<Json<Value>, AdminError>;

/// Most customers in one call.
const CUSTOMERS_MAX: usize = 500;

/// What is stored of a customer.
pub(in crate::admin) const FIELDS: &[&[Field]] = &[CUSTOMER, BOUNDS];

const CUSTOMER: &[Field] = &[
    column("alias", Kind::Text),
    column("blocked", Kind::Flag),
    column("budget_id", Kind::Id),
    column("allowed_model_region", Kind::Word(&["eu", "us"])),
    column("default_model", Kind::Text),
    column("budget_reset_at", Kind::Moment),
    extra("object_permission", Kind::Object),
    of_route("spend", Kind::Money),
];

/// POST /customer/new
pub(super) async fn new(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = required_id(&mut fields);
    let patch = Patch::read(&mut fields, FIELDS);
    fields.finish()?;
    patch.check()?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        if draft.body(RecordKind::Customer, &id).await?.is_some() {
            let text =
                format!("Customer already exists, passed user_id={id}. Please pass a new user_id.");
            return Err(AdminError::Refused {
                status: StatusCode::BAD_REQUEST,
                kind: "bad_request",
                param: "user_id",
                message: text,
            });
        }
        put(&mut draft, &id, &patch).await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            return shown(&state, &id).await;
        }
    }
}

fn required_id(fields: &mut Fields) -> String {
    if !fields.has("user_id") {
        return fields.required_text("user_id");
    }
    fields.id("user_id").value().unwrap_or_default()
}

/// The customer as a request says it is, in a draft.
pub(super) async fn put(draft: &mut Draft<'_>, id: &str, patch: &Patch) -> Result<(), AdminError> {
    let before = draft.read::<Customer>(id).await?.unwrap_or_default();
    let body = patch.whole_body(&before.bounds, &draft.moment())?;
    let customer = Customer {
        created_by: before.created_by,
        updated_by: before.updated_by,
        ..typed(id, body)?
    };
    store(draft, id, &customer, patch).await
}

async fn store(
    draft: &mut Draft<'_>,
    id: &str,
    customer: &Customer,
    patch: &Patch,
) -> Result<(), AdminError> {
    draft.write(id, customer);
    if let Given::Value(spend) = patch.money("spend") {
        draft.set_spend(Scope::new(ScopeKind::EndUser, id), spend);
    }
    let place = (RecordKind::Customer, id);
    let budget = customer.budget_id.as_deref();
    budgets::link(draft, place, &customer.bounds, budget).await
}

/// POST /customer/update
pub(super) async fn update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = fields.required_text("user_id");
    let patch = Patch::read(&mut fields, FIELDS);
    fields.finish()?;
    patch.check()?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let body = draft.body(RecordKind::Customer, &id).await?;
        let mut body = body.ok_or_else(|| absent(RecordKind::Customer, &id))?;
        patch.apply(&mut body, &draft.moment())?;
        let customer: Customer = typed(&id, body)?;
        store(&mut draft, &id, &customer, &patch).await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            return shown(&state, &id).await;
        }
    }
}

async fn shown(state: &AdminState, id: &str) -> Answer {
    let stored = live(state, RecordKind::Customer, id).await?;
    let stored = stored.ok_or_else(|| absent(RecordKind::Customer, id))?;
    let rows = limited(state, std::slice::from_ref(&stored)).await?;
    Ok(Json(rows.into_iter().next().unwrap_or(Value::Null)))
}

/// GET /customer/info
pub(super) async fn info(_: ViewerAccess, State(state): State<AdminState>, query: Query) -> Answer {
    let id = query.text("end_user_id").unwrap_or_default();
    shown(&state, &id).await
}

/// GET /customer/list: all of them, or a page where one is asked for: there may be very many.
pub(super) async fn list(_: ViewerAccess, State(state): State<AdminState>, query: Query) -> Answer {
    let all = RecordQuery::all(RecordKind::Customer);
    let paged = ["page", "page_size"]
        .iter()
        .any(|name| query.text(name).is_some());
    let found = match paged {
        false => every(&state, &all).await?,
        true => {
            let (page, size) = query.page(50)?;
            let asked = RecordQuery {
                page: u32::try_from(page).unwrap_or(u32::MAX),
                size: u32::try_from(size).unwrap_or(u32::MAX),
                ..all
            };
            let found = state.store().list_records(asked).await;
            found.map_err(store_refusal)?.records
        }
    };
    Ok(Json(Value::Array(limited(&state, &found).await?)))
}

/// POST /customer/block
pub(super) async fn block(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    set_blocked(&state, &caller, fields, true).await
}

/// POST /customer/unblock
pub(super) async fn unblock(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(fields): JsonBody,
) -> Answer {
    set_blocked(&state, &caller, fields, false).await
}

/// Blocking works for customers that were never seen before.
async fn set_blocked(
    state: &AdminState,
    caller: &Caller,
    mut fields: Fields,
    blocked: bool,
) -> Answer {
    let ids = ids_of(&mut fields)?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(state, caller);
        for id in &ids {
            let known = draft.read::<Customer>(id).await?;
            if known.is_none() && !blocked {
                return Err(absent(RecordKind::Customer, id));
            }
            let mut customer = known.unwrap_or_default();
            customer.blocked = blocked;
            draft.write(id, &customer);
        }
        if draft.save(caller, &mut tries).await?.is_some() {
            break;
        }
    }
    let found = super::draft::named(state, RecordKind::Customer, &ids).await?;
    Ok(Json(
        json!({"blocked_users": limited(state, &found).await?}),
    ))
}

fn ids_of(fields: &mut Fields) -> Result<Vec<String>, AdminError> {
    if !fields.has("user_ids") {
        fields.refuse("user_ids", "missing", "Field required", &Value::Null);
    }
    let ids = fields.texts("user_ids").value().unwrap_or_default();
    if let Some(fault) = ids.iter().find_map(|id| id_fault(id)) {
        fields.refuse("user_ids", "value_error", fault, &Value::Null);
    }
    if ids.len() > CUSTOMERS_MAX {
        let text = "List should have at most 500 items";
        fields.refuse("user_ids", "too_long", text, &Value::Null);
    }
    std::mem::replace(fields, Fields::of_object(Map::new())).finish()?;
    Ok(ids)
}

/// POST /customer/delete
pub(super) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let ids = ids_of(&mut fields)?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let mut missing = Vec::new();
        for id in &ids {
            if draft.body(RecordKind::Customer, id).await?.is_none() {
                missing.push(id.clone());
            }
            draft.delete(RecordKind::Customer, id);
        }
        if !missing.is_empty() {
            let missing = meridian_core::error::python_list(&missing);
            let text = format!("End User Id(s)={missing} do not exist in db");
            return Err(AdminError::detail(StatusCode::NOT_FOUND, text));
        }
        if draft.save(&caller, &mut tries).await?.is_some() {
            let named = meridian_core::error::python_list(&ids);
            return Ok(Json(json!({
                "deleted_customers": ids.len(),
                "message": format!("Successfully deleted customers with ids: {named}"),
            })));
        }
    }
}
