//! Every route once with success: its answer has the members that are declared and no others, and a
//! field or parameter that is not declared changes nothing.

mod calls;

use std::collections::HashSet;

use meridian_core::routes::{ROWS, Route};

use super::spend::{record, write};
use super::*;
use calls::CALLS;

const FULL: &str = "
model_list:
  - model_name: file
    litellm_params: {model: openai/gpt-4o, api_key: sk-file}
    model_info: {id: of-the-file}
  - {model_name: other, litellm_params: {model: openai/gpt-4o, api_key: sk-file}}
litellm_settings: {cache: true, cache_params: {type: local}, success_callback: [prometheus]}
general_settings:
  {master_key: sk-master-key-of-the-tests, store_model_in_db: true, block_robots: true}
";

/// Routes that never answer 200 in this process, each for a reason of its own.
const REFUSED: &[Route] = &[
    // No events are sent to services.
    Route::HealthServices,
    // Not in this version, and said so.
    Route::TransformRequest,
    Route::SupportedParams,
    Route::ConfigPassThroughNew,
    Route::ConfigPassThroughDelete,
    Route::ModelCostMapSchedule,
    Route::TeamCallbackAdd,
    // The cache is in memory.
    Route::CacheRedisInfo,
    // The store is not shared: there are no rights, nor frames about them.
    Route::RightsFrame,
    Route::BudgetStates,
    Route::BudgetState,
    Route::BudgetWriteOff,
    Route::BudgetRegionLost,
];

/// The same call with a parameter and a field that nobody declares.
fn with_strangers(path: &str, body: &str) -> (String, Body) {
    let mark = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{mark}no_such_parameter=7");
    // These take any member.
    let free = ["/config/cost_", "/router/explain"];
    let body = match body.strip_prefix('{') {
        Some(rest) if !free.iter().any(|start| path.starts_with(start)) => {
            let comma = if rest.starts_with('}') { "" } else { "," };
            Body::from(format!("{{\"no_such_field\": {{\"a\": [1]}}{comma}{rest}"))
        }
        Some(_) => Body::from(body.to_owned()),
        None => Body::empty(),
    };
    (path, body)
}

#[tokio::test]
async fn every_route_answers_what_it_declares() {
    let admin = admin_with(FULL).await;
    admin.done("/team/new", json!({"team_id": "first"})).await;
    let key = admin.key(json!({"key_alias": "one"})).await;
    let spare = admin.key(json!({"key_alias": "spare"})).await;
    let hash = |key: &str| KeyHash::of_secret(key).to_string();
    write(
        &admin,
        vec![record(1, Some(KeyHash::of_secret(&key)), clock::now(), 5)],
    )
    .await;
    let audit = admin.get("/audit").await.json()["audit_logs"][0]["id"].clone();
    let days = format!("start_date={0}&end_date={0}", clock::now().day());
    let filled = |text: &str| {
        text.replace("AUDIT", audit.as_str().unwrap())
            .replace("DAYS", &days)
            .replace("HASH", &hash(&key))
            .replace("SPARE", &hash(&spare))
            .replace("KEY", &key)
    };
    let mut answered = HashSet::new();
    let mut failed = Vec::new();
    for (method, path, body) in CALLS {
        let (path, body) = with_strangers(&filled(path), &filled(body));
        // `assert_declared` looks at every answer.
        let answer = admin.send(method, &path, Some(MASTER), body).await;
        if answer.status == 200 {
            let Target::Own(route) = resolve(method, &path).unwrap().target else {
                panic!("{path} is no route of the gateway's own");
            };
            answered.insert(route);
        } else {
            failed.push(format!(
                "{method} {path}: {} {}",
                answer.status, answer.text
            ));
        }
    }
    let export = admin.get("/config/export").await;
    let imported = admin
        .send(
            "POST",
            "/config/import",
            Some(MASTER),
            Body::from(export.text),
        )
        .await;
    assert_eq!(imported.status, 200, "{}", imported.text);
    answered.insert(Route::ConfigImport);
    assert!(failed.is_empty(), "{failed:#?}");
    let own = ROWS.iter().filter_map(|row| match row.target {
        Target::Own(route) => Some(route),
        Target::Inference(_) => None,
    });
    let never: Vec<Route> = own
        .filter(|route| !answered.contains(route) && !REFUSED.contains(route))
        .collect();
    assert!(never.is_empty(), "never answered: {never:?}");
}

#[tokio::test]
async fn a_number_that_is_none_is_named_by_every_query_that_declares_it() {
    use declared::Kind as K;
    let admin = admin_with(FULL).await;
    let days = format!("start_date={0}&end_date={0}", clock::now().day());
    let mut tried = 0;
    for row in ROWS {
        let Target::Own(route) = row.target else {
            continue;
        };
        for field in declared::operation(route).query {
            let wrong = matches!(field.kind, K::Whole | K::Number | K::Moment);
            if !wrong || !row.methods.contains(&meridian_core::routes::Method::Get) {
                continue;
            }
            let path = row.paths[0].replace("{key}", "k").replace("{id}", "i");
            let path = path.replace("{model}", "m");
            let path = match field.name {
                "start_date" => format!("{path}?end_date=2026-01-01&start_date=neither"),
                "end_date" => format!("{path}?start_date=2026-01-01&end_date=neither"),
                name => format!("{path}?{days}&{name}=neither"),
            };
            let answer = admin.get(&path).await;
            let what = format!("{path}: {} {}", answer.status, answer.text);
            assert!(answer.status.is_client_error(), "{what}");
            assert!(answer.text.contains(field.name), "{what}");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}
