//! What was asked and answered, where it is kept: where it is shown, who can keep it out, and that
//! it is as safe as the bill.

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::deadline::SOON;
use meridian_testkit::gateway::Gateway;
use meridian_testkit::raw::Request;
use serde_json::{Value, json};

use crate::world::{Api, World, rows_of};

const KEEP: &str = "store_prompts_in_spend_logs: true";

async fn world(settings: &str) -> World {
    World::with("", |config| config.general(KEEP).litellm(settings)).await
}

/// The row of a request with its texts.
async fn shown(gateway: &Gateway, marker: &str) -> Value {
    let rows = rows_of(gateway, marker).await;
    assert_eq!(rows[0]["proxy_server_request"], json!({}), "not in lists");
    assert_eq!(rows[0]["response"], json!({}), "not in lists");
    let id = rows[0]["request_id"].as_str().unwrap();
    let target = format!("/spend/logs/ui/{id}");
    let one = gateway.report(&target).await.json();
    let target = format!("/spend/logs?request_id={id}");
    let listed = gateway.report(&target).await.json();
    assert_eq!(listed[0], one);
    one
}

/// The text of an answer of any dialect.
fn text_of(response: &Value) -> &str {
    let places = [
        "/choices/0/message/content",
        "/content/0/text",
        "/output/0/content/0/text",
    ];
    let found = places.iter().find_map(|at| response.pointer(at)?.as_str());
    found.unwrap_or_else(|| panic!("no text in {response}"))
}

#[tokio::test]
async fn requests_and_answers_are_kept_and_shown_one_by_one() {
    let mut world = world("").await;
    let mut kept = Vec::new();
    for api in Api::STREAMING {
        let mut texts = Vec::new();
        for stream in [false, true] {
            let marker = format!("{api:?}-{stream}").to_lowercase();
            let answer = world.send(&api.ask("", &marker, stream)).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let row = shown(&world.gateway, &marker).await;
            let asked = api.body(&api.model(""), &marker, stream);
            assert_eq!(row["proxy_server_request"], asked, "{marker}");
            let told = match api {
                Api::Responses => &asked["input"],
                _ => &asked["messages"],
            };
            assert_eq!(row["messages"], *told, "{marker}");
            texts.push(text_of(&row["response"]).to_owned());
            kept.push((marker, row));
        }
        assert_eq!(
            texts[0], texts[1],
            "a stream is kept as the answer it came to"
        );
        assert!(!texts[0].is_empty());
    }
    // Whoever has the bill has the texts: they are in the same frame of the journal.
    let marker = "before-the-kill";
    let answer = world.send(&Api::Chat.ask("", marker, true)).await;
    assert_eq!(answer.status(), 200);
    world.gateway.kill().await;
    world.gateway.start().await;
    let row = shown(&world.gateway, marker).await;
    assert_eq!(row["proxy_server_request"]["user"], marker);
    assert!(!text_of(&row["response"]).is_empty());
    for (marker, row) in kept {
        assert_eq!(shown(&world.gateway, &marker).await, row);
    }
}

#[tokio::test]
async fn long_texts_are_cut_and_failures_keep_what_was_asked() {
    let world = world("").await;
    let mut body = Api::Chat.body("fake-m", "long", false);
    body["messages"][0]["content"] = json!("x".repeat(100_000));
    let request = Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY);
    assert_eq!(world.send(&request).await.status(), 200);
    let row = shown(&world.gateway, "long").await;
    let content = row["messages"][0]["content"].as_str().unwrap();
    assert!(
        content.ends_with("x... (97952 bytes left out)"),
        "{content}"
    );
    let failed = world
        .send(&Api::Chat.ask("+status=400", "failed", false))
        .await;
    assert_eq!(failed.status(), 400, "{}", failed.text());
    let row = shown(&world.gateway, "failed").await;
    assert_eq!(row["proxy_server_request"]["user"], "failed");
    assert_eq!(row["response"], json!({}));
}

#[tokio::test]
async fn clients_keys_and_teams_keep_their_texts_out() {
    let world = world("").await;
    let gateway = &world.gateway;
    let nothing = |row: &Value| {
        for part in ["messages", "proxy_server_request", "response"] {
            assert_eq!(row[part], json!({}), "{part}");
        }
    };
    let header = Api::Chat.ask("", "by-header", false);
    let header = header.field("x-litellm-enable-message-redaction", "true");
    assert_eq!(world.send(&header).await.status(), 200);
    nothing(&shown(gateway, "by-header").await);
    let off = json!({"turn_off_message_logging": true});
    let by_callback = json!({"logging": [{"callback_name": "langfuse",
        "callback_vars": {"turn_off_message_logging": "true"}}]});
    for (at, metadata) in [off.clone(), by_callback].iter().enumerate() {
        let key = gateway.key(&json!({ "metadata": metadata })).await;
        let marker = format!("by-key-{at}");
        let answer = world.send(&Api::Chat.ask_as(&key, "", &marker, true)).await;
        assert_eq!(answer.status(), 200);
        nothing(&shown(gateway, &marker).await);
    }
    let team = json!({"team_id": "quiet", "metadata": off});
    let made = gateway.admin("POST", "/team/new", &team).await;
    assert_eq!(made.status(), 200, "{}", made.text());
    let key = gateway.key(&json!({"team_id": "quiet"})).await;
    let answer = world
        .send(&Api::Chat.ask_as(&key, "", "by-team", false))
        .await;
    assert_eq!(answer.status(), 200);
    nothing(&shown(gateway, "by-team").await);
}

#[tokio::test]
async fn the_switch_that_turns_texts_off_wins() {
    let mut world = world("turn_off_message_logging: true").await;
    let answer = world.send(&Api::Chat.ask("", "switched", false)).await;
    assert_eq!(answer.status(), 200);
    let row = shown(&world.gateway, "switched").await;
    assert_eq!(row["proxy_server_request"], json!({}));
    world.gateway.stop(SOON).await;
    for entry in std::fs::read_dir(world.gateway.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(18).any(|some| some == b"How do tides work?");
            assert!(!found, "{} has the prompt", path.display());
        }
    }
}
