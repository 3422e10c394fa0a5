//! Users per tag, speed of models, failures: over the same ledger as the other reports.

use super::spend::{record, with_ledger, write};
use super::*;

#[tokio::test]
async fn users_are_counted_once_per_tag_and_period() {
    let (admin, key) = with_ledger().await;
    let today = clock::now().day();
    let tomorrow = clock::now().plus_ms(86_400_000).day();
    // The master key's request of yesterday has a tag and no user.
    let daily = admin.get("/tag/dau").await.json();
    let expected = json!([{"tag": "blue", "active_users": 1, "date": today,
        "period_start": null, "period_end": null}]);
    assert_eq!(daily["results"], expected);
    for (path, label) in [("/tag/wau", "Week 7 ("), ("/tag/mau", "Month 7 (")] {
        let rows = admin.get(path).await.json()["results"].clone();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{path}: {rows}");
        assert_eq!(rows[0]["active_users"], 1, "{path}");
        let date = rows[0]["date"].as_str().unwrap();
        assert!(date.starts_with(label), "{path}: {date}");
        let end = rows[0]["period_end"].as_str().unwrap();
        assert_eq!(end, format!("{tomorrow} 00:00:00"), "{path}");
    }
    for (filter, found) in [
        ("tag_filter=BLU", 1),
        ("tag_filter=red", 0),
        ("tag_filters=red&tag_filters=blue", 1),
        ("tag_filters=red&tag_filter=blue", 0),
    ] {
        let rows = admin.get(&format!("/tag/mau?{filter}")).await.json();
        assert_eq!(rows["results"].as_array().unwrap().len(), found, "{filter}");
    }
    // Whose key it was is not known any more.
    admin.done("/key/delete", json!({"keys": [key]})).await;
    let daily = admin.get("/tag/dau").await.json();
    assert_eq!(daily["results"], json!([]));
}

#[tokio::test]
async fn a_tags_summary_is_the_sum_of_its_requests() {
    let (admin, _) = with_ledger().await;
    let from = clock::now().plus_ms(-86_400_000).day();
    let to = clock::now().day();
    let path = format!("/tag/summary?start_date={from}&end_date={to}");
    let rows = admin.get(&path).await.json()["results"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows[0]["unique_users"], 1);
    assert_eq!(rows[0]["total_requests"], 3);
    assert_eq!(rows[0]["successful_requests"], 3);
    assert_eq!(rows[0]["total_tokens"], 90);
    assert_eq!(rows[0]["total_spend"], 0.001);
    assert_eq!(admin.get("/tag/summary").await.status, 400);
    let wrong = admin
        .get("/tag/summary?start_date=soon&end_date=soon")
        .await;
    assert_eq!(wrong.status, 422);
    let users = "/tag/user-agent/per-user-analytics";
    let users = admin.get(users).await.json();
    assert_eq!(users["total_count"], 1);
    let user = &users["results"][0];
    assert_eq!(
        (&user["user_id"], &user["user_agent"]),
        (&json!("u1"), &json!("blue"))
    );
    assert_eq!(
        (&user["total_requests"], &user["total_tokens"]),
        (&json!(2), &json!(60))
    );
    let distinct = admin.get("/tag/distinct").await.json();
    assert_eq!(distinct["results"], json!([{"tag": "blue"}]));
    let customers = admin.get("/global/all_end_users").await.json();
    assert_eq!(customers, json!({"end_users": ["customer"]}));
}

#[tokio::test]
async fn speed_and_failures_are_told_per_place() {
    let (admin, key) = with_ledger().await;
    let place = "https://upstream.example";
    let mut failed = record(4, None, clock::now(), 0);
    failed.status = 429;
    failed.end_reason = meridian_core::spend::EndReason::ProviderError;
    failed.usage = Default::default();
    failed.first_byte = None;
    let mut slow = record(5, None, clock::now(), 0);
    slow.model_group = "slow".into();
    slow.ended = slow.started.plus_ms(400_000);
    write(&admin, vec![failed, slow]).await;
    let today = clock::now().day();
    let pace = admin
        .get("/model/metrics?_selected_model_group=gpt-4o")
        .await
        .json();
    assert_eq!(pace["all_api_bases"], json!([place]));
    let last = pace["data"].as_array().unwrap().last().unwrap().clone();
    // 1.5 s for ten tokens.
    assert_eq!(last, json!({"date": today, place: 0.15}));
    let of_key = format!("/model/metrics?api_key={key}");
    assert_eq!(
        admin.get(&of_key).await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let nobody = admin.get("/model/metrics?customer=nobody").await.json();
    assert_eq!(nobody, json!({"data": [], "all_api_bases": []}));
    let first = "/model/streaming_metrics?_selected_model_group=gpt-4o";
    let week = admin.get(first).await.json();
    assert_eq!(week["data"].as_array().unwrap().last().unwrap()[place], 0.2);
    let day = format!("{first}&startTime={today}&endTime={today}");
    let day = admin.get(&day).await.json();
    let ids: Vec<&str> = day["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["date"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["chatcmpl-1", "chatcmpl-2"]);
    let slow = admin.get("/model/metrics/slow_responses").await.json();
    assert_eq!(
        slow,
        json!([{"api_base": place, "total_count": 5, "slow_count": 1}])
    );
    let errors = admin.get("/model/metrics/exceptions").await.json();
    let row = json!({"model": format!("gpt-4o-2024-{place}"), "total_exceptions": 1,
        "RateLimitError": 1});
    assert_eq!(
        errors,
        json!({"data": [row], "exception_types": ["RateLimitError"]})
    );
}
