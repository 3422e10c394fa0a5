//! `/openapi.json` and `/docs`: the routes as OpenAPI 3.1, made of what the handlers declare.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use meridian_core::routes::{Access, Method, ROWS, Row, Target};
use serde_json::{Map, Value, json};

use super::access::Public;
use super::declared::{self, Answer, Body, Field, Operation, object_schema};
use super::pages::access_name;

/// A page that shows the document and tries calls; it loads nothing from elsewhere.
const PAGE: &str = include_str!("openapi/page.html");

/// The document, made once: it depends on nothing but the version.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| make_document().to_string());

/// GET /openapi.json
pub(super) async fn document(_: Public) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, DOCUMENT.as_str()).into_response()
}

/// GET /docs and /redoc
pub(super) async fn page(_: Public) -> Html<&'static str> {
    Html(PAGE)
}

fn make_document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for row in ROWS {
        for &path in row.paths {
            let operations = paths.entry(path).or_default();
            for &method in row.methods {
                operations.insert(method.as_str().to_lowercase(), operation(row, method, path));
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Meridian", "version": env!("CARGO_PKG_VERSION"),
            "description": "An LLM gateway with the LiteLLM proxy's API.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {
                "type": "http", "scheme": "bearer",
                "description": "The master key or a virtual key.",
            }},
            "schemas": {"Error": error_schema(), "Invalid": invalid_schema()},
        },
    })
}

fn operation(row: &Row, method: Method, path: &str) -> Value {
    let mut out = json!({
        "operationId": format!("{}{}", method.as_str().to_lowercase(), path),
        "description": format!("May be called by: {}.", access_name(row.access)),
        "tags": [tag(row)],
    });
    let mut parameters = path_parameter(path);
    match row.target {
        Target::Own(route) => {
            let declared = declared::operation(route);
            out["summary"] = json!(declared.summary);
            parameters.extend(declared.query.iter().map(query_parameter));
            if let (Some(body), false) = (body_of(declared), method == Method::Get) {
                out["requestBody"] = body;
            }
            out["responses"] = responses(row, answer_of(&declared.answer));
        }
        Target::Inference(endpoint) => {
            out["summary"] = json!(format!("Inference: {}", endpoint.label()));
            if method == Method::Post {
                out["requestBody"] = inference_body();
            }
            let answer = json!({"description": "The provider's answer, as it came."});
            out["responses"] = responses(row, answer);
        }
    }
    if !parameters.is_empty() {
        out["parameters"] = json!(parameters);
    }
    if row.access != Access::Public {
        out["security"] = json!([{"key": []}]);
    }
    out
}

fn path_parameter(path: &str) -> Vec<Value> {
    let name = path
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    let parameter = |(name, _): (&str, &str)| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    name.map(parameter).into_iter().collect()
}

fn query_parameter(field: &Field) -> Value {
    let schema = object_schema(&[std::slice::from_ref(field)], true);
    json!({
        "name": field.name, "in": "query", "required": field.required,
        "description": field.what, "schema": schema["properties"][field.name],
    })
}

fn body_of(declared: &Operation) -> Option<Value> {
    let (schema, description) = match declared.body {
        Body::None => return None,
        Body::Fields(_) | Body::Joined(_) => {
            let open = "Fields that are not listed are ignored.";
            (object_schema(declared.body.tables(), true), open)
        }
        Body::Free(words) => (json!({}), words),
    };
    let content = json!({"application/json": {"schema": schema}});
    Some(json!({"description": description, "content": content}))
}

/// The bodies of inference are the providers' own; these fields the gateway reads.
fn inference_body() -> Value {
    json!({
        "description": "The provider's own request; the gateway reads `model` and a few more \
                        fields and sends the rest as it is.",
        "content": {"application/json": {"schema": {
            "type": "object",
            "properties": {
                "model": {"type": "string"}, "stream": {"type": "boolean"},
                "user": {"type": "string"}, "metadata": {"type": "object"},
            },
        }}},
    })
}

fn answer_of(answer: &Answer) -> Value {
    let of = |schema: Value| json!({"application/json": {"schema": schema}});
    let (description, content) = match answer {
        Answer::Object(fields) => ("Done", of(object_schema(&[fields], false))),
        Answer::Open(fields) => ("Done", of(object_schema(&[fields], true))),
        Answer::List(fields) => {
            let items = object_schema(&[fields], true);
            ("Done", of(json!({"type": "array", "items": items})))
        }
        Answer::Free(words) => (*words, of(json!({}))),
        Answer::Other(kind) => ("Done", json!({*kind: {"schema": {"type": "string"}}})),
    };
    json!({"description": description, "content": content})
}

fn responses(row: &Row, done: Value) -> Value {
    let refusal = |description: &str, schema: &str| {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        json!({"description": description, "content": {"application/json": {"schema": schema}}})
    };
    let mut out = json!({"200": done});
    if row.access == Access::Public {
        return out;
    }
    out["400"] = refusal("A value is wrong; the message names it", "Error");
    out["401"] = refusal("No key, an unknown one, or one without the right", "Error");
    out["403"] = refusal("The key may not do this", "Error");
    out["422"] = refusal("Fields do not fit; each is named", "Invalid");
    out["503"] = refusal("Try again after Retry-After seconds", "Error");
    out
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"}, "type": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string", "description": "the HTTP status"},
            },
        }},
    })
}

fn invalid_schema() -> Value {
    let problem = json!({
        "type": "object",
        "properties": {
            "type": {"type": "string"}, "loc": {"type": "array", "items": {"type": "string"}},
            "msg": {"type": "string"}, "input": {},
        },
    });
    json!({"type": "object", "properties": {"detail": {"type": "array", "items": problem}}})
}

fn tag(row: &Row) -> &'static str {
    match row.target {
        Target::Inference(_) => "inference",
        Target::Own(_) => match row.canonical.split('/').nth(1).unwrap_or_default() {
            "v1" | "v2" | "models" | "model_group" => "model",
            "" => "gateway",
            head => head,
        },
    }
}
