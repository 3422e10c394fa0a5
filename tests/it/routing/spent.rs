//! Budgets of providers, deployments and tags: who has spent one gets no request.

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::{SOON, eventually};
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Conn, Request, Response};
use serde_json::{Value, json};

use crate::world::World;

/// More than nothing, less than any request costs.
const DUST: &str = "0.000000001";

/// Two deployments of one model, of two providers, and one more of the first provider.
fn config(provider: &Provider, first: &str) -> Config {
    let url = provider.url();
    let v1 = format!("{url}/v1");
    Config::new()
        .model("m", "openai/fake-one", &v1, first)
        .model("m", "anthropic/fake-two", &url, "")
        .model("lonely", "openai/fake-three", &v1, "")
        .router("num_retries: 0")
}

/// A budget of almost nothing, as lines of YAML.
fn dust(period: &str) -> String {
    format!("max_budget: {DUST}\nbudget_duration: {period}")
}

async fn ask(world: &World, model: &str, tags: &[&str]) -> Response {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let mut body = json!({"model": model, "max_tokens": 16, "messages": messages});
    if !tags.is_empty() {
        body["metadata"] = json!({"tags": tags});
    }
    let request = Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY);
    world.send(&request).await
}

async fn served(world: &World, model: &str) -> Response {
    let answer = ask(world, model, &[]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer
}

/// The refusal names whose budget it is, its period and when that ends.
fn names(answer: &Response, whose: &str, window: &str) {
    assert_eq!(answer.status(), 429, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "budget_exceeded", "{error}");
    let says = error["message"].as_str().unwrap();
    let start = "No deployments available - crossed budget: Exceeded budget for ";
    assert!(says.starts_with(&format!("{start}{whose}")), "{says}");
    assert!(says.contains(&format!("Window={window}")), "{says}");
    assert!(says.contains("Resets at="), "{says}");
}

async fn get(world: &World, target: &str) -> Value {
    let answer = world.gateway.admin("GET", target, &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_provider_that_has_spent_its_budget_is_left_out_also_after_a_restart() {
    let provider = Provider::start();
    let lines = format!("budget_limit: {DUST}, time_period: 1d");
    let lines = format!("provider_budget_config:\n  openai: {{{lines}}}");
    let config = config(&provider, "").router(&lines);
    let mut world = World::over(provider, config, "").await;
    // What has room takes a request whose cost is over it, as any budget's last one.
    served(&world, "lonely").await;
    for restarted in [false, true] {
        if restarted {
            world.gateway.stop(SOON).await;
            world.gateway.start().await;
        }
        names(&ask(&world, "lonely", &[]).await, "provider openai: ", "1d");
        // The other provider has all requests.
        for _ in 0..5 {
            served(&world, "m").await;
        }
        let shown = get(&world, "/provider/budgets").await;
        let openai = &shown["providers"]["openai"];
        assert!(openai["spend"].as_f64().unwrap() > 0.0, "{shown}");
        let told = get(&world, "/budget/state/provider:openai").await;
        assert_eq!(told["budgets"][0]["used"], openai["spend"], "{told}");
    }
}

#[tokio::test]
async fn a_deployment_that_has_spent_its_budget_is_left_out() {
    let provider = Provider::start();
    let config = config(&provider, &dust("30d"));
    let world = World::over(provider, config, "").await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        let answer = served(&world, "m").await;
        let id = answer.header("x-litellm-model-id").unwrap().to_owned();
        ids.push(id);
    }
    // Once it had its only request, and never again.
    let last = ids[ids.len() - 1].clone();
    let spent = ids.iter().filter(|id| **id != last).count();
    assert!(spent <= 1, "{ids:?}");
    // Its budget is its own: the provider serves on.
    served(&world, "lonely").await;
}

#[tokio::test]
async fn a_tag_that_has_spent_its_budget_is_refused_wherever_it_would_go() {
    let provider = Provider::start();
    let lines = format!("max_budget: {DUST}, budget_duration: 7d");
    let lines = format!("tag_budget_config:\n  product: {{{lines}}}");
    let config = config(&provider, "").litellm(&lines);
    let world = World::over(provider, config, "").await;
    let tagged = ["product"];
    assert_eq!(ask(&world, "m", &tagged).await.status(), 200);
    let refused = ask(&world, "m", &tagged).await;
    names(&refused, "tag='product', tag_spend=", "7d");
    served(&world, "m").await;
}

#[tokio::test]
async fn who_has_spent_it_falls_back_to_another_model() {
    let provider = Provider::start();
    let (url, v1) = (provider.url(), format!("{}/v1", provider.url()));
    let config = Config::new()
        .model("first", "openai/fake-one", &v1, &dust("1d"))
        .model("second", "anthropic/fake-two", &url, "")
        .router("num_retries: 0\nfallbacks: [{first: [second]}]");
    let world = World::over(provider, config, "").await;
    served(&world, "first").await;
    let answer = served(&world, "first").await;
    assert_eq!(answer.header("x-litellm-attempted-fallbacks"), Some("1"));
}

/// Budgets that nothing uses up, of both providers and of the tag.
fn ample(config: Config) -> Config {
    let lines = "budget_limit: 100, time_period: 1d";
    config
        .router(&format!(
            "provider_budget_config:\n  openai: {{{lines}}}\n  anthropic: {{{lines}}}"
        ))
        .litellm("tag_budget_config:\n  product: {max_budget: 100, budget_duration: 1d}")
}

/// What a budget has counted.
async fn used(world: &World, budget: &str) -> f64 {
    let told = get(world, &format!("/budget/state/{budget}")).await;
    let used = &told["budgets"][0]["used"];
    used.as_f64().unwrap_or_else(|| panic!("{told}"))
}

#[tokio::test]
async fn what_is_not_answered_in_time_is_paid_by_its_own_provider() {
    let provider = Provider::start();
    let (url, v1) = (provider.url(), format!("{}/v1", provider.url()));
    let config = Config::new()
        .model("first", "openai/fake-one+stall@head", &v1, "timeout: 0.2")
        .model("second", "anthropic/fake-two", &url, "")
        .model("last", "openai/fake-three+stall@head", &v1, "timeout: 0.2")
        .router("num_retries: 0\nfallbacks: [{first: [second]}]");
    let world = World::over(provider, ample(config), "").await;
    let answer = ask(&world, "first", &["product"]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let header = answer.header("x-litellm-response-cost").unwrap();
    let cost: f64 = header.parse().unwrap();
    let (openai, anthropic) = (
        used(&world, "provider:openai").await,
        used(&world, "provider:anthropic").await,
    );
    let tag = used(&world, "routed_tag:product").await;
    let both = openai + anthropic;
    assert!(openai > 0.0 && anthropic > 0.0, "{openai} {anthropic}");
    assert!((both - cost).abs() < 1e-12, "{both} {cost}");
    assert!((tag - cost).abs() < 1e-12, "{tag} {cost}");
    // The same where nobody answers.
    let failed = ask(&world, "last", &["product"]).await;
    assert!(failed.status() >= 400, "{}", failed.text());
    let (twice, tag) = (
        used(&world, "provider:openai").await,
        used(&world, "routed_tag:product").await,
    );
    assert!((twice - 2.0 * openai).abs() < 1e-12, "{twice} {openai}");
    assert!((tag - cost - openai).abs() < 1e-12, "{tag}");
}

#[tokio::test]
async fn who_leaves_before_the_answer_is_charged_to_the_budgets_of_where_it_went() {
    let provider = Provider::start();
    let v1 = format!("{}/v1", provider.url());
    let config = Config::new().model("slow", "openai/fake-slow+stall@head", &v1, "");
    let world = World::over(provider, ample(config), "").await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": "slow", "max_tokens": 16, "messages": messages, "user": "left",
        "metadata": {"tags": ["product"]}});
    let request = Request::post("/v1/chat/completions", &body).bearer(MASTER_KEY);
    let mut conn = Conn::open(world.gateway.addr()).await;
    conn.send(&request.bytes()).await.unwrap();
    let arrived = || (!world.provider.attempts("left").is_empty()).then_some(());
    eventually(SOON, "the request at its provider", arrived).await;
    drop(conn);
    let row = world.row("left").await;
    let cost = row["spend"].as_f64().unwrap();
    assert!(cost > 0.0, "{row:#}");
    for budget in ["provider:openai", "routed_tag:product"] {
        assert_eq!(used(&world, budget).await, cost, "{budget}");
    }
}
