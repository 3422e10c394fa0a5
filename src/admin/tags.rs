//! `/tag/*`: tags that requests carry, and their budgets.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::{RecordKind, Tag};
use serde_json::{Map, Value, json};

use super::access::{AdminAccess, ViewerAccess};
use super::authorize::absent;
use super::body::JsonBody;
use super::budgets;
use super::draft::{Draft, Tries, every, live, named, typed};
use super::reply::AdminError;
use super::rows::limited;
use super::schema::{BOUNDS, Field, Kind, Patch, column, extra};
use super::state::AdminState;
use crate::store::RecordQuery;

type Answer = Result<Json<Value>, AdminError>;

/// What is stored of a tag.
pub(in crate::admin) const FIELDS: &[&[Field]] = &[TAG, BOUNDS];

const TAG: &[Field] = &[
    column("description", Kind::Text),
    column("models", Kind::Texts),
    column("budget_id", Kind::Id),
    extra("model_info", Kind::Object),
];

/// POST /tag/new
pub(super) async fn new(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let name = match fields.has("name") {
        true => fields.id("name").value().unwrap_or_default(),
        false => fields.required_text("name"),
    };
    let patch = Patch::read(&mut fields, FIELDS);
    fields.finish()?;
    patch.check()?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        if draft.body(RecordKind::Tag, &name).await?.is_some() {
            let text = format!("Tag {name} already exists");
            return Err(AdminError::detail(StatusCode::CONFLICT, text));
        }
        put(&mut draft, &name, &patch).await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            return told(&state, &name, "created").await;
        }
    }
}

/// The tag as a request says it is, in a draft.
pub(super) async fn put(
    draft: &mut Draft<'_>,
    name: &str,
    patch: &Patch,
) -> Result<(), AdminError> {
    let before = draft.read::<Tag>(name).await?.unwrap_or_default();
    let body = patch.whole_body(&before.bounds, &draft.moment())?;
    let tag = Tag {
        created_by: before.created_by,
        updated_by: before.updated_by,
        ..typed(name, body)?
    };
    store(draft, name, &tag).await
}

async fn store(draft: &mut Draft<'_>, name: &str, tag: &Tag) -> Result<(), AdminError> {
    draft.write(name, tag);
    let place = (RecordKind::Tag, name);
    budgets::link(draft, place, &tag.bounds, tag.budget_id.as_deref()).await
}

/// POST /tag/update
pub(super) async fn update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let name = fields.required_text("name");
    let patch = Patch::read(&mut fields, FIELDS);
    fields.finish()?;
    patch.check()?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let body = draft.body(RecordKind::Tag, &name).await?;
        let mut body = body.ok_or_else(|| absent(RecordKind::Tag, &name))?;
        patch.apply(&mut body, &draft.moment())?;
        let tag: Tag = typed(&name, body)?;
        store(&mut draft, &name, &tag).await?;
        if draft.save(&caller, &mut tries).await?.is_some() {
            return told(&state, &name, "updated").await;
        }
    }
}

async fn told(state: &AdminState, name: &str, what: &str) -> Answer {
    let stored = live(state, RecordKind::Tag, name).await?;
    let stored = stored.ok_or_else(|| absent(RecordKind::Tag, name))?;
    let rows = limited(state, std::slice::from_ref(&stored)).await?;
    Ok(Json(json!({
        "message": format!("Tag {name} {what} successfully"),
        "tag": rows.into_iter().next(),
    })))
}

/// POST /tag/info: the named ones, by their names.
pub(super) async fn info(
    _: ViewerAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let names = fields.texts("names").value().unwrap_or_default();
    fields.finish()?;
    let found = match names.is_empty() {
        true => Vec::new(),
        false => named(&state, RecordKind::Tag, &names).await?,
    };
    if found.is_empty() {
        let names = meridian_core::error::python_list(&names);
        let text = format!("No tags found with names: {names}");
        return Err(AdminError::detail(StatusCode::NOT_FOUND, text));
    }
    let mut shown = Map::new();
    for row in limited(&state, &found).await? {
        let name = row["name"].as_str().unwrap_or_default().to_owned();
        shown.insert(name, row);
    }
    Ok(Json(Value::Object(shown)))
}

/// GET /tag/list
pub(super) async fn list(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    let found = every(&state, &RecordQuery::all(RecordKind::Tag)).await?;
    Ok(Json(Value::Array(limited(&state, &found).await?)))
}

/// POST /tag/delete
pub(super) async fn delete(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let name = fields.required_text("name");
    fields.finish()?;
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        if draft.body(RecordKind::Tag, &name).await?.is_none() {
            return Err(absent(RecordKind::Tag, &name));
        }
        draft.delete(RecordKind::Tag, &name);
        if draft.save(&caller, &mut tries).await?.is_some() {
            let message = format!("Tag {name} deleted successfully");
            return Ok(Json(json!({"message": message})));
        }
    }
}
