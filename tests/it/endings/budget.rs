//! A stream that nobody bounded and whose budget runs out on the way.

use meridian_testkit::raw::Request;
use serde_json::json;

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
