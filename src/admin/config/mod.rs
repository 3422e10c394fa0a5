//! `/config/*`: settings over those of the files, key by key.

pub(super) mod callbacks;
pub(super) mod costs;
pub(super) mod fallback;
pub(super) mod field;
mod section;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::{Record, RecordKind, Setting};
use serde_json::{Map, Value, json};

use super::access::{AdminAccess, Caller, ViewerAccess};
use super::body::JsonBody;
use super::mask;
use super::reply::AdminError;
use super::state::AdminState;
use super::stored;
use crate::merged::SEALED_SECTION;
use crate::store::RecordWrite;
pub(super) use field::python_type;
pub(super) use section::StoredSection;

type Answer = Result<Json<Value>, AdminError>;

/// POST /config/update: each section by itself; `null` takes a key back to what the files say.
pub(super) async fn update(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let mut changes = Vec::new();
    for section in StoredSection::ALL {
        if let Some(values) = fields.object(section.as_str()).value() {
            changes.push((section, values));
        }
    }
    let models = fields.any("model_list").value();
    fields.finish()?;
    stored::check_on(&state)?;
    if models.is_some_and(|models| models != json!([])) {
        return Err(bad(
            "model_list: use /model/new, /model/update and /model/delete",
        ));
    }
    // Every key is looked at before the first section is written.
    for (section, values) in &changes {
        section.check(values)?;
    }
    for (section, values) in changes {
        change(&state, &caller, section, values).await?;
    }
    Ok(Json(json!({"message": "Config updated successfully"})))
}

/// GET /get/config/callbacks: what runs here, and the router's settings that are set.
pub(super) async fn callbacks(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    let settings = &state.rules().config.settings;
    let prometheus = json!({"name": "prometheus", "variables": {}, "type": "success_and_failure"});
    let callbacks: Vec<Value> = settings
        .prometheus
        .then_some(prometheus)
        .into_iter()
        .collect();
    let router = StoredSection::Router;
    let names = router
        .section()
        .map(|section| section.keys())
        .unwrap_or_default();
    let set = names.iter().filter_map(|key| {
        let value = in_force(&state, router, key.name)?;
        Some((key.name.to_owned(), value))
    });
    Ok(Json(json!({
        "status": "success",
        "callbacks": callbacks,
        "alerts": [],
        "router_settings": mask::settings(&set.collect()),
        "available_callbacks": {},
    })))
}

/// Lays changes over what is stored of a section. What is stored then is given back, masked.
pub(super) async fn change(
    state: &AdminState,
    caller: &Caller,
    section: StoredSection,
    changes: Map<String, Value>,
) -> Result<Value, AdminError> {
    let name = section.as_str();
    let known = state.store().get_record(RecordKind::Setting, name).await;
    let known = known.map_err(super::store_refusal)?;
    let known = known
        .map(|stored| stored.record)
        .filter(|record| !record.deleted);
    let mut setting: Setting = match &known {
        Some(record) => stored::typed(record)?,
        None => Setting {
            created_by: caller.user_id(),
            ..Setting::default()
        },
    };
    let sealed = name == SEALED_SECTION;
    if let (true, Some(record)) = (sealed, &known) {
        setting.param_value = stored::opened(state, record, &setting.param_value)?;
    }
    mask::merge(&mut setting.param_value, changes);
    setting.updated_by = caller.user_id();
    let shown = section.shown(&setting.param_value);
    if sealed {
        setting.param_value = state.merged().seal(&setting.param_value);
    }
    let write = match known {
        Some(record) => RecordWrite::replace(record.with(&setting, state.now())),
        None => RecordWrite::create(Record::new(name.to_owned(), &setting, state.now())),
    };
    stored::write(state, caller, write).await?;
    Ok(json!({"param_name": name, "param_value": shown}))
}

/// What is stored of a section; sealed values stay sealed.
fn stored_values(state: &AdminState, section: StoredSection) -> Map<String, Value> {
    let record = state.merged().record(RecordKind::Setting, section.as_str());
    let setting = record.and_then(|record| record.read::<Setting>().ok());
    setting
        .map(|setting| setting.param_value)
        .unwrap_or_default()
}

/// The value of a key: of its record, else of the files.
pub(super) fn in_force(state: &AdminState, section: StoredSection, key: &str) -> Option<Value> {
    let stored = stored_values(state, section).remove(key);
    stored.or_else(|| state.merged().written(section.as_str(), key))
}

fn bad(text: &str) -> AdminError {
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}
