//! The document against OpenAPI's own rules and against the handlers.

use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn the_document_describes_bodies_queries_answers_and_errors() {
    let admin = admin().await;
    let answer = admin
        .send("GET", "/openapi.json", None, Body::empty())
        .await;
    let api = answer.json();
    assert_eq!(api["openapi"], "3.1.0");
    let update = &api["paths"]["/key/update"]["post"];
    let body = &update["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], json!(["key"]));
    let kind = &body["properties"]["rpm_limit"]["type"];
    assert_eq!(kind, &json!(["integer", "null"]));
    let list = &api["paths"]["/key/list"]["get"];
    let parameters = list["parameters"].as_array().unwrap();
    let names: HashSet<&str> = parameters
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(names.contains("page") && names.contains("team_id"));
    let answer = &list["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(answer["properties"]["total_count"].is_object());
    let refused = &update["responses"]["422"]["content"]["application/json"]["schema"]["$ref"];
    let pointer = refused.as_str().unwrap().trim_start_matches('#');
    assert!(api.pointer(pointer).is_some(), "{pointer}");
    let mut ids = HashSet::new();
    for operations in api["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
            assert!(operation["responses"]["200"].is_object(), "{operation}");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let admin = admin().await;
    let page = admin.send("GET", "/docs", None, Body::empty()).await.text;
    assert!(page.contains("openapi.json"));
    for elsewhere in ["http://", "https://", "src=", "@import"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

/// What a field of this kind cannot hold.
fn misfit(kind: declared::Kind) -> Option<Value> {
    use declared::Kind as K;
    match kind {
        K::Any | K::Moment => None,
        K::Text | K::Texts | K::Word(_) | K::TextMap => Some(json!(7)),
        K::Whole | K::Number | K::Flag => Some(json!("neither")),
        K::Object | K::Fields(_) | K::List | K::Rows(_) => Some(json!("neither")),
    }
}

#[tokio::test]
async fn what_is_declared_is_what_is_parsed() {
    let stores = "general_settings: {store_model_in_db: true, ";
    let admin = admin_with(&CONFIG.replace("general_settings: {", stores)).await;
    let mut tried = 0;
    for row in meridian_core::routes::ROWS {
        let Target::Own(route) = row.target else {
            continue;
        };
        let tables = declared::operation(route).body.tables();
        for field in tables.iter().copied().flatten() {
            let Some(wrong) = misfit(field.kind) else {
                continue;
            };
            let method = row.methods[0].as_str();
            let path = row.paths[0].replace("{key}", "k").replace("{id}", "i");
            let path = path.replace("{model}", "m");
            let body = Body::from(json!({field.name: wrong}).to_string());
            let answer = admin.send(method, &path, Some(MASTER), body).await;
            let what = format!("{path} {}: {}", field.name, answer.text);
            assert!(answer.status.is_client_error(), "{what}");
            assert!(answer.text.contains(field.name), "{what}");
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}
