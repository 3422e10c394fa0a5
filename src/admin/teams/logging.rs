//! `/team/{id}/callback` and `/team/{id}/disable_logging`: what a team's requests are sent to
//! besides the ledger, which is nothing.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::auth::Action;
use meridian_core::record::Team;
use serde_json::{Map, Value, json};

use super::super::access::{DelegatedAccess, OwnOrViewerAccess, PathParameter};
use super::super::authorize::may_team;
use super::super::body::JsonBody;
use super::super::draft::{Draft, Tries, find};
use super::super::mask;
use super::super::reply::AdminError;
use super::super::state::AdminState;

type Answer = Result<Json<Value>, AdminError>;

/// LiteLLM's place for a team's callbacks.
const SETTINGS: &str = "callback_settings";
const EVENTS: &[&str] = &["success", "failure", "success_and_failure"];

/// GET /team/{id}/callback: what its metadata says, secrets masked.
pub(in crate::admin) async fn get(
    OwnOrViewerAccess(caller): OwnOrViewerAccess,
    PathParameter(id): PathParameter,
    State(state): State<AdminState>,
) -> Answer {
    let id = id.unwrap_or_default();
    let team = find::<Team>(&state, &id).await?;
    may_team(&caller, Action::See, &id, team.as_ref())?;
    let team = team.ok_or_else(|| absent(StatusCode::NOT_FOUND, &id, ""))?;
    let settings = settings_of(&team);
    let list = |name: &str| settings.get(name).cloned().unwrap_or_else(|| json!([]));
    let variables = settings.get("callback_vars").map(mask::masked);
    Ok(Json(json!({
        "status": "success",
        "data": {
            "team_id": id,
            "success_callbacks": list("success_callback"),
            "failure_callbacks": list("failure_callback"),
            "callback_vars": variables.unwrap_or_else(|| json!({})),
        },
    })))
}

/// POST /team/{id}/callback: nothing would ever be sent, so nothing is stored.
pub(in crate::admin) async fn add(
    DelegatedAccess(caller): DelegatedAccess,
    PathParameter(id): PathParameter,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Answer {
    let id = id.unwrap_or_default();
    let name = fields.required_text("callback_name");
    let _event = fields.word("callback_type", EVENTS);
    let _variables = fields.object("callback_vars");
    fields.finish()?;
    let team = find::<Team>(&state, &id).await?;
    may_team(&caller, Action::Change, &id, team.as_ref())?;
    if team.is_none() {
        let more = " Please use a different team id.";
        return Err(absent(StatusCode::BAD_REQUEST, &id, more));
    }
    let text = format!(
        "callback_name={name}: this version sends requests to no logging service, so nothing was \
         stored. /spend/logs?team_id={id} has every request of the team, /metrics its figures."
    );
    Err(AdminError::detail(StatusCode::NOT_IMPLEMENTED, text))
}

/// POST /team/{id}/disable_logging: the team names no callback any more.
pub(in crate::admin) async fn disable(
    DelegatedAccess(caller): DelegatedAccess,
    PathParameter(id): PathParameter,
    State(state): State<AdminState>,
) -> Answer {
    let id = id.unwrap_or_default();
    let mut tries = Tries::default();
    loop {
        let mut draft = Draft::new(&state, &caller);
        let team = draft.read::<Team>(&id).await?;
        may_team(&caller, Action::Change, &id, team.as_ref())?;
        let mut team = team.ok_or_else(|| absent(StatusCode::NOT_FOUND, &id, ""))?;
        let mut settings = settings_of(&team);
        settings.insert("success_callback".to_owned(), json!([]));
        settings.insert("failure_callback".to_owned(), json!([]));
        team.metadata
            .insert(SETTINGS.to_owned(), Value::Object(settings));
        draft.write(&id, &team);
        if draft.save(&caller, &mut tries).await?.is_some() {
            break;
        }
    }
    Ok(Json(json!({
        "status": "success",
        "message": format!("Logging disabled for team {id}"),
        "data": {"team_id": id, "success_callbacks": [], "failure_callbacks": []},
    })))
}

fn settings_of(team: &Team) -> Map<String, Value> {
    let settings = team.metadata.get(SETTINGS).and_then(Value::as_object);
    settings.cloned().unwrap_or_default()
}

fn absent(status: StatusCode, id: &str, more: &str) -> AdminError {
    AdminError::detail(status, format!("Team id = {id} does not exist.{more}"))
}
