//! Reports over a ledger that the test wrote.

use meridian_core::endpoint::Endpoint;
use meridian_core::ids::CallId;
use meridian_core::journal::Position;
use meridian_core::money::NanoUsd;
use meridian_core::spend::{EndReason, Payer, RequestContext, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::usage::Usage;

use super::*;
use crate::store::SpendBatch;

const DAY: i64 = 86_400_000;

pub(super) fn record(number: u8, key: Option<KeyHash>, at: WallMs, nano: i64) -> SpendRecord {
    SpendRecord {
        call_id: CallId::from_bytes([number; 16]),
        response_id: Some(format!("chatcmpl-{number}")),
        endpoint: Endpoint::ChatCompletions,
        stream: false,
        payer: Payer {
            key,
            user_id: key.map(|_| "u1".to_owned()),
            team_id: key.map(|_| "t1".to_owned()),
            end_user: Some("customer".to_owned()),
            ..Payer::default()
        },
        model_group: "gpt-4o".into(),
        deployment_id: "d1".into(),
        model: "gpt-4o-2024".into(),
        provider: "openai".into(),
        api_base: "https://upstream.example".into(),
        region: None,
        started: at,
        ended: at.plus_ms(1500),
        first_byte: Some(at.plus_ms(200)),
        usage: Usage {
            prompt: 20,
            completion: 10,
            ..Usage::default()
        },
        cost: NanoUsd(nano),
        price_unknown: false,
        estimated: false,
        end_reason: EndReason::Complete,
        status: 200,
        attempts: 1,
        context: RequestContext {
            tags: vec!["blue".into()],
            ..RequestContext::default()
        },
        error: None,
        texts: None,
    }
}

/// A ledger with two requests of a key today, one of the master key yesterday.
pub(super) async fn with_ledger() -> (Admin, String) {
    let admin = admin().await;
    admin.done("/team/new", json!({"team_id": "t1"})).await;
    let key = admin
        .key(json!({"user_id": "u1", "team_id": "t1", "key_alias": "k"}))
        .await;
    let hash = KeyHash::of_secret(&key);
    let now = clock::now();
    let records = vec![
        record(1, Some(hash), now, 150_000),
        record(2, Some(hash), now.plus_ms(1), 250_000),
        record(3, None, now.plus_ms(-DAY), 600_000),
    ];
    write(&admin, records).await;
    (admin, key)
}

/// Adds records to the ledger.
pub(super) async fn write(admin: &Admin, records: Vec<SpendRecord>) {
    let count = records.len();
    let batch = SpendBatch {
        writer: "test".to_owned(),
        from: Position::default(),
        next: Position::default(),
        records,
        keeps_logs: true,
    };
    assert_eq!(admin.store.apply_spend(batch).await.unwrap(), count);
}

#[tokio::test]
async fn daily_activity_adds_up_to_the_logs_in_every_breakdown() {
    let (admin, _) = with_ledger().await;
    let from = clock::now().plus_ms(-DAY).day();
    let to = clock::now().plus_ms(DAY).day();
    let range = format!("start_date={from}&end_date={to}");
    let logs = admin.get("/spend/logs/ui?page_size=100").await.json();
    let spent: f64 = logs["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["spend"].as_f64().unwrap())
        .sum();
    for path in ["user", "team", "organization", "customer", "tag"] {
        let answer = admin.get(&format!("/{path}/daily/activity?{range}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let all = answer.json();
        let total = all["metadata"]["total_spend"].as_f64().unwrap();
        assert!((total - spent).abs() < 1e-12, "{path}: {total} {spent}");
        assert_eq!(all["metadata"]["total_api_requests"], 3, "{path}");
        assert_eq!(all["metadata"]["total_tokens"], 90, "{path}");
        for day in all["results"].as_array().unwrap() {
            let metrics = &day["metrics"];
            for part in ["models", "model_groups", "providers", "api_keys"] {
                let parts = day["breakdown"][part].as_object().unwrap();
                let sum: u64 = parts
                    .values()
                    .map(|one| one["metrics"]["api_requests"].as_u64().unwrap())
                    .sum();
                assert_eq!(metrics["api_requests"], sum, "{path} {part}");
            }
        }
    }
}

#[tokio::test]
async fn daily_activity_is_filtered_paged_and_cut_down_to_the_caller() {
    let (admin, key) = with_ledger().await;
    let hash = KeyHash::of_secret(&key).to_string();
    let from = clock::now().plus_ms(-DAY).day();
    let to = clock::now().plus_ms(DAY).day();
    let range = format!("start_date={from}&end_date={to}");
    let path = format!("/user/daily/activity?{range}&user_id=u1");
    let mine = admin.get(&path).await.json();
    assert_eq!(mine["results"].as_array().unwrap().len(), 1);
    let day = &mine["results"][0]["breakdown"];
    assert_eq!(day["api_keys"][&hash]["metadata"]["key_alias"], "k");
    assert_eq!(
        day["models"]["gpt-4o-2024"]["api_key_breakdown"][&hash]["metrics"]["api_requests"],
        2
    );
    assert!(day["endpoints"].as_object().unwrap().len() == 1);
    let team = admin
        .get(&format!("/team/daily/activity?{range}&team_ids=t1"))
        .await
        .json();
    assert_eq!(
        team["results"][0]["breakdown"]["entities"]["t1"]["metrics"]["api_requests"],
        2
    );
    let none = admin
        .get(&format!("/team/daily/activity?{range}&exclude_team_ids=t1"))
        .await
        .json();
    assert_eq!(none["metadata"]["total_api_requests"], 1);
    let one = admin
        .get(&format!("/user/daily/activity?{range}&page_size=1"))
        .await
        .json();
    assert_eq!(
        (
            &one["metadata"]["total_pages"],
            &one["metadata"]["has_more"]
        ),
        (&json!(2), &json!(true))
    );
    let whole = admin
        .get(&format!("/user/daily/activity/aggregated?{range}"))
        .await
        .json();
    assert_eq!(whole["metadata"]["total_api_requests"], 3);
    // A key sees its user's part and nothing of others.
    let own = admin
        .get_as(&key, &format!("/user/daily/activity?{range}"))
        .await
        .json();
    assert_eq!(own["metadata"]["total_api_requests"], 2);
    let foreign = admin
        .get_as(&key, &format!("/user/daily/activity?{range}&user_id=u2"))
        .await;
    assert_eq!(foreign.status, 403);
    let others = admin
        .get_as(&key, &format!("/team/daily/activity?{range}&team_ids=t2"))
        .await;
    assert_eq!(others.json()["metadata"]["total_api_requests"], 0);
    for (from, to) in [("2026-01-02", "2026-01-01"), ("2020-01-01", "2026-01-01")] {
        let path = format!("/tag/daily/activity?start_date={from}&end_date={to}");
        assert_eq!(admin.get(&path).await.status, 400, "{path}");
    }
    assert_eq!(admin.get("/tag/daily/activity").await.status, 400);
}

#[tokio::test]
async fn the_days_of_a_client_in_another_zone_are_covered() {
    let (admin, _) = with_ledger().await;
    let today = clock::now().day();
    let requests = async |zone: &str| {
        let range = format!("start_date={today}&end_date={today}&timezone={zone}");
        let all = admin
            .get(&format!("/user/daily/activity?{range}"))
            .await
            .json();
        all["metadata"]["total_api_requests"].as_u64().unwrap()
    };
    // Two hours east of UTC the day began yesterday.
    assert_eq!((requests("0").await, requests("-120").await), (2, 3));
    let wrong = admin
        .get("/user/daily/activity?start_date=2026-01-01&end_date=2026-01-01&timezone=9999")
        .await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn single_requests_sessions_refusals_and_names_are_found() {
    let (admin, key) = with_ledger().await;
    let one = admin.get("/spend/logs/ui/chatcmpl-1").await.json();
    assert_eq!(one["request_id"], "chatcmpl-1");
    assert_eq!(admin.get("/spend/logs/ui/nobody").await.status, 404);
    assert_eq!(
        admin.get_as(&key, "/spend/logs/ui/chatcmpl-3").await.status,
        404
    );
    let mut limited = record(9, None, clock::now(), 0);
    limited.status = 429;
    limited.end_reason = EndReason::UpstreamFailed;
    limited.context.session_id = Some("s1".into());
    let batch = SpendBatch {
        writer: "test".to_owned(),
        from: Position::default(),
        next: Position::default(),
        records: vec![limited],
        keeps_logs: true,
    };
    admin.store.apply_spend(batch).await.unwrap();
    let session = admin
        .get("/spend/logs/session/ui?session_id=s1")
        .await
        .json();
    assert_eq!(session["total"], 1);
    assert_eq!(admin.get("/spend/logs/session/ui").await.status, 400);
    let (from, to) = (
        clock::now().plus_ms(-DAY).day(),
        clock::now().plus_ms(DAY).day(),
    );
    let range = format!("start_date={from}&end_date={to}");
    let path = format!("/global/activity/exceptions?{range}&model_group=gpt-4o");
    assert_eq!(
        admin.get(&path).await.json()["sum_num_rate_limit_exceptions"],
        1
    );
    let path = format!("/global/activity/exceptions/deployment?{range}&model_group=gpt-4o");
    assert_eq!(admin.get(&path).await.json().as_array().unwrap().len(), 1);
    let hits = admin
        .get(&format!("/global/activity/cache_hits?{range}"))
        .await
        .json();
    let rows: u64 = hits
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["total_rows"].as_u64().unwrap())
        .sum();
    assert_eq!(rows, 4);
    let names = admin.get("/global/spend/all_tag_names").await.json();
    assert_eq!(names, json!({"tag_names": ["blue"]}));
    admin.done("/global/spend/refresh", json!({})).await;
    let none = admin.get("/provider/budgets").await.json();
    assert_eq!(none, json!({"providers": {}}));
}

fn dates() -> String {
    let now = clock::now();
    format!(
        "start_date={}&end_date={}",
        now.plus_ms(-DAY).day(),
        now.day()
    )
}

#[tokio::test]
async fn logs_have_litellms_columns() {
    let (admin, key) = with_ledger().await;
    let rows = admin.get("/spend/logs").await.json();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    let one = admin.get("/spend/logs?request_id=chatcmpl-1").await.json();
    let row = &one[0];
    assert_eq!(row["api_key"], json!(KeyHash::of_secret(&key)));
    assert_eq!(
        (&row["spend"], &row["total_tokens"]),
        (&json!(0.00015), &json!(30))
    );
    assert_eq!(
        (&row["call_type"], &row["status"]),
        (&json!("acompletion"), &json!("success"))
    );
    assert_eq!(row["request_tags"], json!(["blue"]));
    for column in [
        "startTime",
        "endTime",
        "completionStartTime",
        "model_group",
        "model_id",
        "custom_llm_provider",
        "user",
        "team_id",
        "end_user",
        "metadata",
        "cache_hit",
        "messages",
    ] {
        assert!(row.get(column).is_some(), "{column}");
    }
    let master = admin.get("/spend/logs?request_id=chatcmpl-3").await.json();
    assert_eq!(master[0]["api_key"], "litellm_proxy_master_key");
    let of_key = admin
        .get(&format!("/spend/logs?api_key={key}"))
        .await
        .json();
    assert_eq!(of_key.as_array().unwrap().len(), 2);
    assert_eq!(
        admin
            .get_as(&key, "/spend/logs")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn dates_summarize_unless_told_not_to() {
    let (admin, _) = with_ledger().await;
    let days = admin.get(&format!("/spend/logs?{}", dates())).await.json();
    let spend: f64 = days
        .as_array()
        .unwrap()
        .iter()
        .map(|day| day["spend"].as_f64().unwrap())
        .sum();
    assert!((spend - 0.001).abs() < 1e-12, "{days}");
    let today = days
        .as_array()
        .unwrap()
        .iter()
        .find(|day| day["users"].get("u1").is_some());
    assert_eq!(today.unwrap()["startTime"], clock::now().day());
    let rows = admin
        .get(&format!("/spend/logs?{}&summarize=false", dates()))
        .await
        .json();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    let page = admin
        .get(&format!("/spend/logs/v2?{}&page_size=2&page=2", dates()))
        .await
        .json();
    assert_eq!(
        (&page["total"], &page["total_pages"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    let cheap = admin
        .get("/spend/logs/v2?max_spend=0.0002&model=gpt-4o")
        .await
        .json();
    assert_eq!(cheap["total"], 1);
}

#[tokio::test]
async fn global_reports_add_up() {
    let (admin, key) = with_ledger().await;
    let hash = json!(KeyHash::of_secret(&key));
    assert_eq!(admin.get("/global/spend").await.json()["spend"], 0.001);
    let logs = admin.get("/global/spend/logs").await.json();
    assert_eq!(logs.as_array().unwrap().len(), 2);
    let keys = admin.get("/global/spend/keys").await.json();
    let of_key = keys
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["api_key"] == hash)
        .unwrap();
    assert_eq!(
        (&of_key["total_spend"], &of_key["key_alias"]),
        (&json!(0.0004), &json!("k"))
    );
    let models = admin.get("/global/spend/models").await.json();
    assert_eq!(
        models[0],
        json!({"model": "gpt-4o-2024", "total_spend": 0.001})
    );
    let provider = admin.get("/global/spend/provider").await.json();
    assert_eq!(provider[0], json!({"provider": "openai", "spend": 0.001}));
    let tags = admin.get("/global/spend/tags").await.json();
    assert_eq!(tags["spend_per_tag"][0]["name"], "blue");
    assert_eq!(admin.get("/spend/tags").await.json()[0]["log_count"], 3);
    let teams = admin.get("/global/spend/teams").await.json();
    assert!(teams["teams"].as_array().unwrap().contains(&json!("t1")));
    assert_eq!(teams["daily_spend"].as_array().unwrap().len(), 2);
    let spend_keys = admin.get("/spend/keys?limit=1").await.json();
    assert_eq!(spend_keys[0]["token"], hash);
    let activity = admin
        .get(&format!("/global/activity?{}", dates()))
        .await
        .json();
    assert_eq!(activity["sum_api_requests"], 3);
    assert_eq!(activity["sum_total_tokens"], 90);
    let per_model = admin
        .get(&format!("/global/activity/model?{}", dates()))
        .await
        .json();
    assert_eq!(per_model[0]["model"], "gpt-4o");
    assert_eq!(per_model[0]["sum_api_requests"], 3);
}

#[tokio::test]
async fn the_report_groups_as_asked() {
    let (admin, key) = with_ledger().await;
    let path = format!("/global/spend/report?{}", dates());
    let days = admin.get(&path).await.json();
    let teams: Vec<&Value> = days
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|day| day["teams"].as_array().unwrap())
        .collect();
    let t1 = teams.iter().find(|team| team["team_name"] == "t1").unwrap();
    assert_eq!(t1["total_spend"], 0.0004);
    assert_eq!(t1["metadata"][0]["model"], "gpt-4o");
    let customers = admin.get(&format!("{path}&group_by=customer")).await.json();
    assert_eq!(customers[0]["customers"][0]["customer"], "customer");
    let keys = admin.get(&format!("{path}&api_key={key}")).await.json();
    assert_eq!(keys[0]["total_input_tokens"], 40);
    assert_eq!(keys[0]["model_details"][0]["total_cost"], 0.0004);
    assert_eq!(
        admin.get(&format!("{path}&group_by=moon")).await.status,
        400
    );
}

#[tokio::test]
async fn costs_are_calculated_from_the_price_map() {
    let admin = admin().await;
    let response =
        json!({"model": "gpt-4o", "usage": {"prompt_tokens": 20, "completion_tokens": 10}});
    let body = json!({"completion_response": response});
    assert_eq!(
        admin.done("/spend/calculate", body).await,
        json!({"cost": 0.00015})
    );
    let anthropic = json!({"usage": {"input_tokens": 10, "cache_read_input_tokens": 10,
        "output_tokens": 10}});
    let body = json!({"model": "openai/gpt-4o", "completion_response": anthropic});
    assert_eq!(
        admin.done("/spend/calculate", body).await,
        json!({"cost": 0.00015})
    );
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]});
    assert!(
        admin.done("/spend/calculate", body).await["cost"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    let text = admin
        .refused("/spend/calculate", json!({"model": "gpt-4o"}), 400)
        .await;
    assert!(text.contains("completion_response"));
    let body = json!({"model": "claude", "messages": []});
    let text = admin.refused("/spend/calculate", body, 400).await;
    assert!(text.contains("no price"), "{text}");
}
