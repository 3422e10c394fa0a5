//! A stream that nobody bounded and whose budget runs out on the way.

use meridian_testkit::raw::Request;
use serde_json::{Value, json};

use crate::world::{Api, World, meta};

#[tokio::test]
async fn a_stream_whose_budget_is_gone_ends_honestly_is_cancelled_and_is_billed() {
    let world = World::new("").await;
    // Messages always has a bound: `max_tokens` is required there.
    for api in [Api::Chat, Api::Responses] {
        let marker = format!("cut{api:?}");
        // Dollars per million: 2 for output. What is held at first fits, a slice more does not.
        let limit = 0.0095;
        let key = world.gateway.key(&json!({"max_budget": limit})).await;
        let mut body = api.body(&api.model("+tokens=90000"), &marker, true);
        for bound in ["max_tokens", "max_output_tokens", "max_completion_tokens"] {
            body.as_object_mut().unwrap().remove(bound);
        }
        let request = Request::post(api.path(), &body).bearer(&key);
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let text = answer.text();
        assert!(text.contains("Budget has been exceeded!"), "{api:?}");
        for end in ["[DONE]", "response.completed"] {
            assert!(!text.contains(end), "{api:?} looks whole");
        }
        let row = world.row(&marker).await;
        assert_eq!(meta(&row, "end_reason"), "budget_cut", "{row:#}");
        let spend = row["spend"].as_f64().unwrap();
        assert!(spend > 0.008 && spend <= limit * 1.05, "{row:#}");
        let attempts = world.provider.attempts(&marker);
        assert_eq!(attempts.len(), 1);
        assert!(attempts[0].cancelled(), "{:?}", attempts[0].end);
        assert!(attempts[0].sent_tokens < 90_000, "cancelled on the way");
    }
}

/// A stream that nobody bounded and that costs twice the budget of its key.
fn endless(key: &str, marker: &str) -> Request {
    let mut body = Api::Chat.body(&Api::Chat.model("+tokens=12000"), marker, true);
    for bound in ["max_tokens", "max_completion_tokens"] {
        body.as_object_mut().unwrap().remove(bound);
    }
    Request::post(Api::Chat.path(), &body).bearer(key)
}

/// How the budget of a key stands.
async fn state(world: &World, key: &str) -> Value {
    let target = format!("/budget/state/{key}");
    let answer = world.gateway.admin("GET", &target, &Value::Null).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["budgets"][0].clone()
}

/// Dollars; what is held first fits, 12,000 tokens do not.
const LIMIT: f64 = 0.0095;

#[tokio::test]
async fn a_stream_ends_where_its_budget_lets_it_and_the_next_request_is_refused() {
    let world = World::new("budget_on_exhausted: finish").await;
    for (said, whole) in [
        (None, true),
        (Some("refuse_only"), true),
        (Some("cut"), false),
    ] {
        let policy = said.unwrap_or("finish");
        let mut fields = json!({"max_budget": LIMIT});
        if let Some(said) = said {
            fields["on_exhausted"] = json!(said);
        }
        let key = world.gateway.key(&fields).await;
        let request = endless(&key, &format!("ends{policy}"));
        let text = world.send(&request).await.text();
        assert_eq!(text.contains("[DONE]"), whole, "{policy}");
        assert_eq!(text.contains("Budget has been exceeded!"), !whole);
        let row = world.row(&format!("ends{policy}")).await;
        let reason = if whole { "complete" } else { "budget_cut" };
        assert_eq!(meta(&row, "end_reason"), reason, "{row:#}");
        let told = state(&world, &key).await;
        assert_eq!(told["on_exhausted"], policy, "{told}");
        let used = told["used"].as_f64().unwrap();
        assert_eq!(used > 2.0 * LIMIT, whole, "{told}");
        // What is over is told.
        let over = told["bound"]["total_nano_usd"].as_i64().unwrap() as f64 / 1e9;
        assert!(used <= LIMIT + over + 1e-9, "{told}");
        // One that was cut has left the last cent for a request that is alone.
        if whole {
            let next = world.send(&request).await;
            assert_eq!(next.status(), 429, "{}", next.text());
        }
    }
    let bad = json!({"on_exhausted": "never"});
    let answer = world.gateway.admin("POST", "/key/generate", &bad).await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    let says = "on_exhausted must be one of cut, finish, refuse_only";
    assert!(answer.text().contains(says), "{}", answer.text());
}

#[tokio::test]
async fn what_a_stream_takes_past_the_end_of_a_budget_is_bounded() {
    let world = World::new("budget_finish_tokens: 4000").await;
    let fields = json!({"max_budget": LIMIT, "on_exhausted": "finish"});
    let key = world.gateway.key(&fields).await;
    let text = world.send(&endless(&key, "far")).await.text();
    assert!(text.contains("Budget has been exceeded!") && !text.contains("[DONE]"));
    let row = world.row("far").await;
    assert_eq!(meta(&row, "end_reason"), "budget_cut", "{row:#}");
    // 4,000 tokens of $2 a million, and what a read brings besides.
    let spend = row["spend"].as_f64().unwrap();
    assert!(spend > 1.3 * LIMIT && spend < LIMIT + 0.011, "{row:#}");
}
