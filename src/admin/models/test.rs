//! `/health/test_connection`: one real call through parameters that are not stored.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::record::{Model, Record};
use serde_json::{Value, json};

use super::super::access::AdminAccess;
use super::super::body::JsonBody;
use super::super::reply::AdminError;
use super::super::state::{AdminState, Tested};
use crate::clock;

/// POST /health/test_connection. Parameters are judged as `/model/new` judges them, so a call goes
/// nowhere where a stored model could not send one.
pub(in crate::admin) async fn connection(
    _: AdminAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, AdminError> {
    let mode = fields.text("mode").value();
    let params = fields.object("litellm_params").value();
    let mut info = fields.object("model_info").value().unwrap_or_default();
    fields.finish()?;
    let Some(params) = params else {
        let text = "litellm_params is required";
        return Err(AdminError::detail(StatusCode::BAD_REQUEST, text));
    };
    info.remove("id");
    if let Some(mode) = mode {
        info.insert("mode".to_owned(), json!(mode));
    }
    let id = format!("test-{}", clock::new_call_id());
    let model = Model {
        model_name: id.clone(),
        litellm_params: state.merged().seal(&params),
        model_info: info,
        ..Model::default()
    };
    let record = Record::new(id.clone(), &model, state.now());
    let config = state.merged().trial(&[record]).map_err(|left_out| {
        let problems = left_out.iter().flat_map(|one| one.problems.clone());
        let text = problems.collect::<Vec<_>>().join("; ");
        AdminError::detail(StatusCode::BAD_REQUEST, text)
    })?;
    let config = config.ok_or_else(AdminError::unavailable)?;
    Ok(Json(match state.test(config, id).await {
        Ok(tested) => json!({"status": "success", "result": {"tested": word(tested)}}),
        Err(error) => json!({"status": "error", "result": {"error": error}}),
    }))
}

fn word(tested: Tested) -> &'static str {
    match tested {
        Tested::Chat => "the model, with a short question",
        Tested::Models => {
            "the provider's list of models: the model's price is not known or it \
                           is no chat model"
        }
        Tested::Mock => "nothing: mock_response answers without a call",
    }
}
