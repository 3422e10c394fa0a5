//! The audit log; connections that are tried out; health of stored records.

use super::stored::{SECRET, admin, model, names};
use super::*;

#[tokio::test]
async fn every_change_is_in_the_audit_log_without_secrets() {
    let admin = admin().await;
    admin.done("/model/new", model("stored")).await;
    admin
        .done("/model/delete", json!({"id": "id-stored"}))
        .await;
    let key = admin
        .key(json!({"key_alias": "k", "metadata": {"api_token": SECRET}}))
        .await;
    let log = admin.get("/audit?page_size=2").await;
    let page = log.json();
    assert_eq!(
        (&page["total"], &page["total_pages"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(page["audit_logs"].as_array().unwrap().len(), 2);
    let keys = admin
        .get("/audit?table_name=LiteLLM_VerificationToken")
        .await
        .json();
    assert_eq!(
        (&keys["total"], &keys["audit_logs"][0]["action"]),
        (&json!(1), &json!("created"))
    );
    let all = admin.get("/audit?size=100").await;
    assert!(
        !all.text.contains("canary") && !all.text.contains(&key),
        "{}",
        all.text
    );
    let models = "/audit?table_name=LiteLLM_ProxyModelTable&sort_order=asc&object_id=id-stored";
    let models = admin.get(models).await.json();
    let actions: Vec<&Value> = models["audit_logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["action"])
        .collect();
    assert_eq!(actions, ["created", "deleted"]);
    let first = &models["audit_logs"][0];
    assert_eq!(first["changed_by"], "default_user_id");
    assert_eq!(first["updated_values"]["litellm_params"]["model"], "*****");
    let id = first["id"].as_str().unwrap();
    assert_eq!(admin.get(&format!("/audit/{id}")).await.json(), *first);
    assert_eq!(admin.get("/audit/nobody").await.status, 404);
    assert_eq!(admin.get("/audit?table_name=x").await.status, 400);
    assert_eq!(admin.get("/audit?action=x").await.status, 400);
    let tomorrow = clock::now().plus_ms(86_400_000).day();
    let later = admin
        .get(&format!("/audit?start_date={tomorrow}"))
        .await
        .json();
    assert_eq!(later["total"], 0);
}

#[tokio::test]
async fn a_connection_is_tested_with_what_a_model_could_be() {
    let admin = admin().await;
    let test = async |params: Value| {
        admin
            .post("/health/test_connection", json!({"litellm_params": params}))
            .await
    };
    let good = test(json!({"model": "openai/gpt-4o", "api_key": SECRET})).await;
    assert_eq!(good.json()["status"], "success");
    let broken = test(json!({"model": "openai/broken", "api_key": SECRET})).await;
    assert_eq!(broken.json()["result"]["error"], "the provider said no");
    let thief = test(json!({"model": "openai/x", "api_key": "os.environ/DATABASE_URL"})).await;
    assert_eq!(thief.status, 400);
    let nowhere = test(json!({"model": "openai/x", "api_base": "file:///etc/passwd"})).await;
    assert_eq!(nowhere.status, 400, "{}", nowhere.text);
    assert_eq!(names(&admin).await, ["file", "other"]);
    assert!(
        admin
            .store
            .records_after(None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn health_says_which_stored_record_is_not_in_force() {
    let admin = admin().await;
    let with_salt = meridian_core::sealed::SealKey::of_salt("sk-another-salt");
    let params = json!({"model": "openai/x", "api_key": "k"});
    let model = meridian_core::record::Model {
        model_name: "lost".into(),
        litellm_params: with_salt.seal_strings(params.as_object().unwrap(), &mut || [7; 24]),
        ..Default::default()
    };
    let record = meridian_core::record::Record::new("lost".into(), &model, clock::now());
    let write = crate::store::RecordWrite::create(record);
    let stored = admin.store.write_records(vec![write], None).await.unwrap();
    (admin.changed)(&stored);
    let details = admin.get("/health/readiness/details").await.json();
    let shown = details["records_left_out"][0].as_str().unwrap();
    assert!(
        shown.contains("record model/lost") && shown.contains("LITELLM_SALT_KEY"),
        "{shown}"
    );
    assert_eq!(names(&admin).await, ["file", "other"]);
    let update = json!({"model_info": {"id": "lost"}, "litellm_params": {"rpm": 3}});
    let refused = admin.refused("/model/update", update, 400).await;
    assert!(refused.contains("LITELLM_SALT_KEY"), "{refused}");
    admin.done("/model/delete", json!({"id": "lost"})).await;
    let details = admin.get("/health/readiness/details").await.json();
    assert_eq!(details["records_left_out"], json!([]));
}
