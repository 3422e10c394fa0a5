//! Answers that take longer than somebody allows, after they have begun.

use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::Request;

use crate::world::{Api, World, meta, standard};

#[tokio::test]
async fn an_answer_that_takes_too_long_is_ended_honestly_by_whoever_said_so() {
    let provider = Provider::start();
    let url = format!("{}/v1", provider.url());
    let config = standard(&provider)
        .model(
            "brief",
            "openai/fake-b+tokens=400+chunk_ms=20",
            &url,
            "total_timeout: 1",
        )
        .model(
            "jumpy",
            "openai/fake-j+tokens=20+stall@8",
            &url,
            "stall_timeout: 0.5",
        );
    let world = World::over(provider, config, "total_timeout_s: 60").await;
    for (number, (model, header, reason)) in [
        ("brief", None, "timeout"),
        ("jumpy", None, "stall"),
        (
            "fake-m+tokens=400+chunk_ms=20",
            Some(("x-meridian-total-timeout", "1")),
            "timeout",
        ),
        (
            "fake-m+tokens=20+stall@8",
            Some(("x-meridian-stall-timeout", "0.5")),
            "timeout",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("late{number}");
        let body = Api::Chat.body(model, &marker, true);
        let mut request = Request::post(Api::Chat.path(), &body).bearer(MASTER_KEY);
        if let Some((name, value)) = header {
            request = request.field(name, value);
        }
        let answer = world.send(&request).await;
        assert_eq!(answer.status(), 200, "{model}: {}", answer.text());
        let text = answer.text();
        assert!(
            text.contains("timeout_error") && !text.contains("[DONE]"),
            "{model}: {text}"
        );
        let row = world.row(&marker).await;
        assert_eq!(meta(&row, "end_reason"), reason, "{model}: {row:#}");
        assert_eq!(meta(&row, "estimated"), true, "{model}: {row:#}");
        assert!(row["spend"].as_f64().unwrap() > 0.0, "{model}");
        let attempts = world.provider.attempts(&marker);
        assert_eq!(attempts.len(), 1, "{model}");
        let head = attempts[0].request.clone().unwrap().head;
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert!(!head.contains("x-meridian"), "{head}");
    }
}
