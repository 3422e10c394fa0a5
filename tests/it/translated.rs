//! Requests of one dialect at providers of another, through the whole gateway.

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::fake::{Fake, Reply};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Provider, Script};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::{Api, World, binary, rows_of};

/// Claude under several policies of loss, and models that fall back to the other dialect.
async fn world() -> World {
    let provider = Provider::start();
    let url = provider.url();
    let openai = format!("{url}/v1");
    let config = Config::new()
        .model("plain", "anthropic/fake-m1", &url, "")
        .model("loose", "anthropic/fake-m1", &url, "drop_params: true")
        .model(
            "strict",
            "anthropic/fake-m1",
            &url,
            "strict_translation: true",
        )
        .model(
            "trimmed",
            "anthropic/fake-m1",
            &url,
            "additional_drop_params: [top_p]",
        )
        .model(
            "trimmed-openai",
            "openai/fake-m1",
            &openai,
            "additional_drop_params: [top_p, 'tools[*].function.strict']",
        )
        .model("broken-openai", "openai/fake-down", &openai, "")
        .model("broken-claude", "anthropic/fake-down", &url, "")
        .model("openai", "openai/fake-m1", &openai, "")
        .router(
            "num_retries: 0\ndisable_cooldowns: true\n\
             fallbacks: [{broken-openai: [plain]}, {broken-claude: [openai]}]",
        );
    provider.script("fake-down", [Script::status(500)]);
    World::over(provider, config, "retry_budget: 1").await
}

async fn chat(world: &World, model: &str, marker: &str, more: &[(&str, Value)]) -> Response {
    let mut body = Api::Chat.body(model, marker, false);
    for (name, value) in more {
        body[*name] = value.clone();
    }
    let request = Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY);
    world.send(&request).await
}

async fn losses(world: &World, field: &str) -> f64 {
    let of_field = format!("field=\"{field}\"");
    let name = "meridian_translation_losses_total";
    world.gateway.metric(name, &of_field).await
}

#[tokio::test]
async fn a_parameter_that_claude_does_not_have_is_refused_by_its_name_or_dropped_and_told() {
    let world = world().await;
    let seed = [("seed", json!(7))];
    let refused = chat(&world, "plain", "t-refused", &seed).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert_eq!(
        refused.json()["error"]["param"],
        "seed",
        "{}",
        refused.text()
    );
    assert!(world.provider.attempts("t-refused").is_empty());

    let dropped = chat(&world, "loose", "t-dropped", &seed).await;
    assert_eq!(dropped.status(), 200, "{}", dropped.text());
    assert_eq!(dropped.header("x-meridian-dropped"), Some("seed"));
    let sent = world.provider.attempts("t-dropped")[0]
        .request
        .clone()
        .unwrap()
        .json();
    assert!(sent.get("seed").is_none(), "{sent}");
    assert_eq!(losses(&world, "seed").await, 1.0);
}

#[tokio::test]
async fn a_parameter_that_the_configuration_takes_out_is_told() {
    let world = world().await;
    let answer = chat(&world, "trimmed", "t-trimmed", &[("top_p", json!(0.5))]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-meridian-dropped"), Some("top_p"));
    let sent = world.provider.attempts("t-trimmed")[0]
        .request
        .clone()
        .unwrap()
        .json();
    assert!(sent.get("top_p").is_none(), "{sent}");
    assert_eq!(losses(&world, "top_p").await, 1.0);

    // Also where nothing is translated, and deep inside.
    let tool = json!({"type": "function", "function": {"name": "f", "strict": true}});
    let more = [("top_p", json!(0.5)), ("tools", json!([tool]))];
    let answer = chat(&world, "trimmed-openai", "t-passed", &more).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let dropped = "top_p,tools[*].function.strict";
    assert_eq!(answer.header("x-meridian-dropped"), Some(dropped));
    let sent = world.provider.attempts("t-passed")[0].request.clone();
    let sent = sent.unwrap().json();
    assert!(sent.get("top_p").is_none(), "{sent}");
    assert_eq!(sent["tools"][0]["function"], json!({"name": "f"}));
    assert_eq!(losses(&world, "top_p").await, 2.0);
}

#[tokio::test]
async fn a_strict_model_refuses_what_would_be_lost_and_names_it() {
    let world = world().await;
    let whole = chat(&world, "strict", "t-whole", &[]).await;
    assert_eq!(whole.status(), 200, "{}", whole.text());
    assert_eq!(whole.header("x-meridian-dropped"), None);
    let hint = [("store", json!(true))];
    let lax = chat(&world, "plain", "t-lax", &hint).await;
    assert_eq!(lax.status(), 200, "{}", lax.text());
    assert_eq!(lax.header("x-meridian-dropped"), Some("store"));
    let refused = chat(&world, "strict", "t-strict", &hint).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert_eq!(
        refused.json()["error"]["param"],
        "store",
        "{}",
        refused.text()
    );
    assert!(world.provider.attempts("t-strict").is_empty());
}

#[tokio::test]
async fn a_request_falls_back_to_a_provider_of_another_dialect() {
    let world = world().await;
    for stream in [false, true] {
        let marker = format!("t-fall-{stream}");
        let body = Api::Chat.body("broken-openai", &marker, stream);
        let request = Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY);
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let rows = world.provider.attempts(&marker);
        let models: Vec<_> = rows.iter().map(|row| row.model.as_str()).collect();
        assert_eq!(models, ["fake-down", "fake-m1"]);
        if stream {
            let text = answer.text();
            assert!(text.contains("\"chat.completion.chunk\""), "{text}");
            assert!(text.trim_end().ends_with("data: [DONE]"), "{text}");
            assert!(!text.contains("event: "), "{text}");
        } else {
            assert_eq!(answer.json()["object"], "chat.completion");
        }

        let marker = format!("t-back-{stream}");
        let body = Api::Messages.body("broken-claude", &marker, stream);
        let request = Request::post(Api::Messages.path(), &body).bearer(MASTER_KEY);
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        if stream {
            let text = answer.text();
            assert!(text.starts_with("event: message_start"), "{text}");
            assert!(text.contains("event: message_stop"), "{text}");
        } else {
            assert_eq!(answer.json()["type"], "message");
        }
    }
}

#[tokio::test]
async fn a_strict_key_refuses_what_would_be_lost_at_any_model() {
    let world = world().await;
    let strict = json!({"metadata": {"strict_translation": true}});
    let key = world.gateway.key(&strict).await;
    let mut body = Api::Chat.body("plain", "t-key", false);
    body["store"] = json!(true);
    let request = Request::post(Api::Chat.path(), &body).bearer(&key);
    let refused = world.send(&request).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert_eq!(refused.json()["error"]["param"], "store");
    assert!(world.provider.attempts("t-key").is_empty());
    let lax = world.gateway.key(&json!({})).await;
    let lax = world
        .send(&Request::post(Api::Chat.path(), &body).bearer(&lax))
        .await;
    assert_eq!(lax.status(), 200, "{}", lax.text());
}

/// Titan embeds one text in each request: text `n` has the vector `[n]` and `n` tokens.
async fn titan() -> (Fake, Gateway) {
    let fake = Fake::start(|asked| {
        let text = asked.json()["inputText"].as_str().unwrap().to_owned();
        match text.parse::<u64>() {
            Ok(number) => {
                let body = json!({"embedding": [number], "inputTextTokenCount": number});
                Reply::json(200, &body)
            }
            Err(_) => Reply::json(400, &json!({"message": "no number"})),
        }
    })
    .await;
    let yaml = format!(
        "general_settings: {{master_key: {MASTER_KEY}}}\nmodel_list:\n\
         \x20 - model_name: titan\n    litellm_params: {{model: \
         'bedrock/amazon.titan-embed-text-v2:0', aws_region_name: eu-west-1, \
         aws_access_key_id: AKIA, aws_secret_access_key: s, api_base: '{}'}}\n",
        fake.url
    );
    let gateway = Setup::with_yaml(binary(), &yaml).start().await;
    (fake, gateway)
}

#[tokio::test]
async fn texts_that_a_model_embeds_one_by_one_come_back_as_one_answer_in_their_order() {
    let (fake, gateway) = titan().await;
    let texts: Vec<String> = (1..=40).map(|number: u64| number.to_string()).collect();
    let body = json!({"model": "titan", "input": texts, "user": "t-titan"});
    let request = Request::post("/v1/embeddings", &body).bearer(MASTER_KEY);
    let answer = gateway.send(&request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answer = answer.json();
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), 40);
    for (index, one) in data.iter().enumerate() {
        assert_eq!(
            (&one["index"], &one["embedding"]),
            (&json!(index), &json!([index + 1]))
        );
    }
    assert_eq!(answer["usage"]["prompt_tokens"], 820);
    let asked = fake.asked();
    assert_eq!(asked.len(), 40);
    assert!(
        asked
            .iter()
            .all(|one| one.header("authorization").is_some())
    );
    let row = rows_of(&gateway, "t-titan").await;
    assert_eq!(
        (row.len(), &row[0]["prompt_tokens"]),
        (1, &json!(820)),
        "{row:?}"
    );

    let body = json!({"model": "titan", "input": ["1", "none", "2"]});
    let request = Request::post("/v1/embeddings", &body).bearer(MASTER_KEY);
    let refused = gateway.send(&request).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert!(refused.text().contains("no number"), "{}", refused.text());
}
