//! What a key may use: models, groups, patterns, aliases, routes.

use meridian_testkit::config::Config;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::Request;
use serde_json::{Value, json};

use super::ask;
use crate::world::binary;

fn config(provider: &Provider) -> Config {
    let (url, openai) = (provider.url(), format!("{}/v1", provider.url()));
    let grouped = |name: &str, group: &str| {
        format!(
            "  - model_name: {name}\n    litellm_params:\n      model: openai/fake-x\n      \
             api_base: {openai}\n      api_key: {}\n    model_info:\n      \
             access_groups: [{group}]\n",
            meridian_testkit::provider::UPSTREAM_KEY
        )
    };
    let yaml = [grouped("small", "cheap"), grouped("large", "dear")].concat();
    Config::new()
        .model("plain", "openai/fake-x", &openai, "")
        .model("team/a-*", "openai/fake-*", &openai, "")
        .model("cl-x", "anthropic/fake-x", &url, "")
        .router("num_retries: 0\nmodel_group_alias:\n  short: plain")
        .raw(&format!("# more models\n{yaml}"))
}

/// The grouped models are list items: they belong under `model_list`.
fn yaml(provider: &Provider) -> String {
    let text = config(provider).yaml();
    let (rest, more) = text.split_once("# more models\n").unwrap();
    rest.replacen("model_list:\n", &format!("model_list:\n{more}"), 1)
}

async fn start(provider: &Provider) -> Gateway {
    Setup::with_yaml(binary(), &yaml(provider)).start().await
}

async fn statuses(gateway: &Gateway, key: &str, models: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for model in models {
        statuses.push(gateway.send(&ask(model).bearer(key)).await.status());
    }
    statuses
}

#[tokio::test]
async fn a_key_uses_the_models_groups_and_patterns_of_its_list() {
    let provider = Provider::start();
    let gateway = start(&provider).await;
    let models = ["plain", "small", "large", "team/a-1", "short"];
    let cases = [
        (json!([]), [200, 200, 200, 200, 200]),
        (json!(["*"]), [200, 200, 200, 200, 200]),
        (json!(["all-proxy-models"]), [200, 200, 200, 200, 200]),
        (json!(["plain"]), [200, 403, 403, 403, 200]),
        (json!(["cheap"]), [403, 200, 403, 403, 403]),
        (json!(["cheap", "large"]), [403, 200, 200, 403, 403]),
        (json!(["team/*"]), [403, 403, 403, 200, 403]),
        (json!(["no-default-models"]), [403, 403, 403, 403, 403]),
    ];
    for (list, expected) in cases {
        let key = gateway.key(&json!({"models": list})).await;
        let found = statuses(&gateway, &key, &models).await;
        assert_eq!(found, expected, "{list} for {models:?}");
    }
}

#[tokio::test]
async fn an_alias_of_a_key_is_replaced_before_anything_else() {
    let provider = Provider::start();
    let gateway = start(&provider).await;
    let fields = json!({"models": ["small", "mine"], "aliases": {"mine": "small"}});
    let key = gateway.key(&fields).await;
    let answer = gateway.send(&ask("mine").bearer(&key)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-litellm-model-group"), Some("small"));
    let other = gateway.key(&json!({})).await;
    assert_eq!(
        gateway.send(&ask("mine").bearer(&other)).await.status(),
        400
    );
    // An alias is no way around the list of models.
    let fields = json!({"models": ["mine"], "aliases": {"mine": "large"}});
    let sly = gateway.key(&fields).await;
    assert_eq!(gateway.send(&ask("large").bearer(&sly)).await.status(), 403);
}

#[tokio::test]
async fn allowed_routes_are_paths_patterns_and_groups() {
    let provider = Provider::start();
    let gateway = start(&provider).await;
    let info = Request::get("/key/info");
    let chat = ask("plain");
    let cases = [
        (json!(["/v1/chat/completions"]), 200, 403),
        (json!(["/chat/completions"]), 200, 403),
        (json!(["/v1/*"]), 200, 403),
        (json!(["llm_api_routes"]), 200, 403),
        (json!(["openai_routes"]), 200, 403),
        (json!(["anthropic_routes"]), 403, 403),
        (json!(["info_routes"]), 403, 200),
        (json!(["/key/info"]), 403, 200),
        (json!([]), 200, 200),
    ];
    for (routes, for_chat, for_info) in cases {
        let key = gateway.key(&json!({"allowed_routes": routes})).await;
        let answer = gateway.send(&chat.clone().bearer(&key)).await;
        assert_eq!(answer.status(), for_chat, "{routes}: {}", answer.text());
        let answer = gateway.send(&info.clone().bearer(&key)).await;
        assert_eq!(answer.status(), for_info, "{routes}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_list_of_models_is_what_the_key_may_use_in_both_shapes() {
    let provider = Provider::start();
    let gateway = start(&provider).await;
    let ids = |body: &Value| -> Vec<String> {
        let list = body["data"].as_array().expect("a list");
        let mut ids: Vec<_> = list
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let key = gateway.key(&json!({"models": ["cheap", "plain"]})).await;
    for target in ["/v1/models", "/models"] {
        let answer = gateway.send(&Request::get(target).bearer(&key)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!(body["object"], "list");
        assert_eq!(ids(&body), ["plain", "short", "small"], "{body}");
        let first = &body["data"][0];
        assert_eq!(
            (&first["object"], &first["created"]),
            (&json!("model"), &json!(1_677_610_602))
        );
        assert_eq!(first["owned_by"], "openai");
    }
    let answer = gateway
        .send(&Request::get("/v1/models").anthropic(&key))
        .await;
    let body = answer.json();
    assert_eq!(ids(&body), ["plain", "short", "small"], "{body}");
    assert_eq!(body["data"][0]["type"], "model", "{body}");
    assert_eq!(body["has_more"], false, "{body}");
    let one = gateway
        .send(&Request::get("/v1/models/small").bearer(&key))
        .await;
    assert_eq!((one.status(), &one.json()["id"]), (200, &json!("small")));
    let hidden = gateway
        .send(&Request::get("/v1/models/large").bearer(&key))
        .await;
    assert_eq!(
        hidden.status(),
        404,
        "what a key may not use does not exist for it"
    );
    assert_eq!(
        gateway.send(&Request::get("/v1/models")).await.status(),
        401
    );
}
