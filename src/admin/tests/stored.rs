//! Stored models, credentials, settings and fallbacks; and the audit log of their changes.

use super::*;

const FILE: &str = "
model_list:
  - model_name: file
    litellm_params: {model: openai/gpt-4o, api_key: sk-file}
    model_info: {id: of-the-file}
  - {model_name: other, litellm_params: {model: openai/gpt-4o, api_key: sk-file}}
router_settings: {num_retries: 1, fallbacks: [{file: [other]}]}
litellm_settings: {callbacks: [prometheus], cache_params: {type: local, password: sk-canary-file}}
general_settings: {master_key: sk-master-key-of-the-tests, store_model_in_db: true}
";
const SECRET: &str = "sk-canary-of-the-provider";

async fn admin() -> Admin {
    admin_with(FILE).await
}

fn model(name: &str) -> Value {
    json!({
        "model_name": name,
        "litellm_params": {
            "model": "openai/gpt-4o", "api_key": SECRET, "rpm": 7,
            "api_base": "https://one.example/v1", "extra_headers": {"x-a": SECRET},
        },
        "model_info": {"id": format!("id-{name}"), "mode": "chat", "note": "free"},
    })
}

async fn names(admin: &Admin) -> Vec<String> {
    let list = admin.get("/model/info").await.json();
    let models = list["data"].as_array().unwrap();
    let name = |one: &Value| one["model_name"].as_str().unwrap().to_owned();
    models.iter().map(name).collect()
}

/// Everything that the store keeps, as text.
async fn at_rest(admin: &Admin) -> String {
    let records = admin.store.records_after(None, 1_000).await.unwrap();
    let audit = admin.store.audit_log(Default::default()).await.unwrap();
    format!("{records:?} {audit:?}")
}

#[tokio::test]
async fn a_stored_model_is_in_force_at_once_and_shows_no_secret() {
    let admin = admin().await;
    let made = admin.done("/model/new", model("stored")).await;
    assert_eq!(made["model_id"], "id-stored");
    assert_eq!(made["litellm_params"]["api_key"], "*****");
    assert_eq!(made["litellm_params"]["extra_headers"]["x-a"], "*****");
    assert_eq!(made["litellm_params"]["api_base"], "https://one.example/v1");
    assert_eq!(names(&admin).await, ["file", "other", "stored"]);
    let info = admin.get("/model/info?litellm_model_id=id-stored").await;
    let info = info.json()["data"][0]["model_info"].clone();
    assert_eq!(
        (&info["db_model"], &info["note"]),
        (&json!(true), &json!("free"))
    );
    let target = admin.now.load().deployment("id-stored", "stored").unwrap();
    let target = target.deployment.target.clone().unwrap();
    assert_eq!(target.api_key.unwrap().reveal(), SECRET);
    assert!(!at_rest(&admin).await.contains(SECRET));
    let deleted = admin
        .done("/model/delete", json!({"id": "id-stored"}))
        .await;
    assert_eq!(deleted["message"], "Model: id-stored deleted successfully");
    assert_eq!(names(&admin).await, ["file", "other"]);
    // The id is free again.
    admin.done("/model/new", model("stored")).await;
}

#[tokio::test]
async fn an_update_keeps_what_it_does_not_name_and_masks_change_nothing() {
    let admin = admin().await;
    admin.done("/model/new", model("stored")).await;
    let update = json!({
        "model_info": {"id": "id-stored", "note": null},
        "litellm_params": {"rpm": 9, "api_key": "*****"},
    });
    let updated = admin.done("/model/update", update).await;
    assert_eq!(updated["litellm_params"]["rpm"], 9);
    assert_eq!(updated["model_info"].get("note"), None);
    let target = admin.now.load().deployment("id-stored", "stored").unwrap();
    assert_eq!(target.deployment.rpm, Some(9));
    let key = target.deployment.target.clone().unwrap().api_key.unwrap();
    assert_eq!(key.reveal(), SECRET);
    let patch = Body::from(json!({"model_name": "renamed", "blocked": true}).to_string());
    let path = "/model/id-stored/update";
    let patched = admin.send("PATCH", path, Some(MASTER), patch).await;
    assert_eq!(patched.status, 200, "{}", patched.text);
    assert_eq!(names(&admin).await, ["file", "other", "renamed"]);
    let target = admin.now.load().deployment("id-stored", "renamed").unwrap();
    assert!(target.deployment.blocked);
    let unknown = admin
        .send(
            "PATCH",
            "/model/nobody/update",
            Some(MASTER),
            Body::from("{}"),
        )
        .await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.message(), "Model nobody not found on proxy.");
}

#[tokio::test]
async fn models_of_the_file_cannot_be_edited_and_bad_ones_name_their_fields() {
    let admin = admin().await;
    let text = "{'error': \"Can't edit model. Model in config. Store model in db via \
                `/model/new`. to edit.\"}";
    let body = json!({"model_info": {"id": "of-the-file"}, "litellm_params": {"rpm": 1}});
    assert_eq!(admin.refused("/model/update", body, 400).await, text);
    let gone = admin
        .refused("/model/delete", json!({"id": "x"}), 400)
        .await;
    assert_eq!(gone, "{'error': 'Model with id=x not found in db'}");
    let mut bad = model("bad");
    bad["litellm_params"]["api_base"] = json!("gopher://x");
    bad["litellm_params"]["rpm"] = json!("many");
    let refused = admin.refused("/model/new", bad, 400).await;
    assert!(
        refused.contains("litellm_params.rpm: expected"),
        "{refused}"
    );
    assert!(refused.contains("litellm_params.api_base"), "{refused}");
    assert!(!refused.contains(SECRET), "{refused}");
    let mut taken = model("taken");
    taken["model_info"]["id"] = json!("of-the-file");
    let refused = admin.refused("/model/new", taken, 400).await;
    assert!(
        refused.contains("is used by another deployment"),
        "{refused}"
    );
    let mut thief = model("thief");
    thief["litellm_params"]["api_key"] = json!("os.environ/LITELLM_MASTER_KEY");
    let refused = admin.refused("/model/new", thief, 400).await;
    assert!(refused.contains("litellm_params.api_key"), "{refused}");
    let team = json!({"model_name": "t", "litellm_params": {"model": "openai/x", "api_key": "k"},
        "model_info": {"team_id": "t1"}});
    assert!(
        admin
            .refused("/model/new", team, 400)
            .await
            .contains("model_info.team_id")
    );
    assert_eq!(names(&admin).await, ["file", "other"]);
}

#[tokio::test]
async fn nothing_is_stored_while_stored_models_do_not_count() {
    let off = FILE.replace("store_model_in_db: true", "store_model_in_db: false");
    let admin = admin_with(&off).await;
    let text = "{'error': \"Set `'STORE_MODEL_IN_DB='True'` in your env to enable this feature.\"}";
    assert_eq!(admin.refused("/model/new", model("a"), 500).await, text);
    for (path, body) in [
        (
            "/config/update",
            json!({"router_settings": {"num_retries": 3}}),
        ),
        (
            "/credentials",
            json!({"credential_name": "a", "credential_values": {"api_key": "k"}}),
        ),
        (
            "/config/field/update",
            json!({"field_name": "block_robots", "field_value": true}),
        ),
        (
            "/fallback",
            json!({"model": "file", "fallback_models": ["other"]}),
        ),
    ] {
        assert_eq!(admin.refused(path, body, 500).await, text, "{path}");
    }
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
async fn a_credential_serves_models_is_masked_and_stays_while_it_is_used() {
    let admin = admin().await;
    let credential = json!({
        "credential_name": "account", "credential_info": {"description": "ours"},
        "credential_values": {"api_key": SECRET, "api_base": "https://two.example/v1"},
    });
    admin.done("/credentials", credential.clone()).await;
    let again = admin.refused("/credentials", credential, 400).await;
    assert!(again.contains("exists already"));
    let list = admin.get("/credentials").await;
    assert!(!list.text.contains(SECRET));
    assert_eq!(
        list.json()["credentials"][0]["credential_values"]["api_key"],
        "*****"
    );
    let body = json!({"model_name": "m", "model_info": {"id": "m"},
        "litellm_params": {"model": "openai/x", "litellm_credential_name": "account"}});
    admin.done("/model/new", body).await;
    let key = |admin: &Admin| {
        let target = admin.now.load().deployment("m", "m").unwrap();
        let target = target.deployment.target.clone().unwrap();
        (
            target.api_key.unwrap().reveal().to_owned(),
            target.base.host,
        )
    };
    assert_eq!(key(&admin), (SECRET.to_owned(), "two.example".to_owned()));
    let update = Body::from(json!({"credential_values": {"api_key": "sk-new"}}).to_string());
    let updated = admin
        .send("PATCH", "/credentials/account", Some(MASTER), update)
        .await;
    assert_eq!(updated.status, 200, "{}", updated.text);
    assert_eq!(key(&admin), ("sk-new".to_owned(), "two.example".to_owned()));
    let delete = async || {
        admin
            .send(
                "DELETE",
                "/credentials/account",
                Some(MASTER),
                Body::empty(),
            )
            .await
    };
    let refused = delete().await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.message().contains("in use by record model/m"),
        "{}",
        refused.text
    );
    admin.done("/model/delete", json!({"id": "m"})).await;
    assert_eq!(delete().await.status, 200);
    assert_eq!(admin.get("/credentials/by_name/account").await.status, 404);
    assert!(!at_rest(&admin).await.contains(SECRET));
    admin.done("/model/new", model("source")).await;
    let of_model = json!({"credential_name": "copy", "model_id": "id-source"});
    admin.done("/credentials", of_model).await;
    let copy = admin.get("/credentials/by_model/id-source").await.json();
    assert_eq!(
        copy["credential_values"]["api_base"],
        "https://one.example/v1"
    );
}

#[tokio::test]
async fn settings_win_over_the_file_and_go_back_to_it() {
    let admin = admin().await;
    let field = async |name: &str, kind: &str| {
        let path = format!("/config/field/info?field_name={name}&config_type={kind}");
        admin.get(&path).await.json()["field_value"].clone()
    };
    assert_eq!(field("num_retries", "router_settings").await, 1);
    let before = admin.now.load().config.routing.retries.clone();
    let update = json!({"router_settings": {"num_retries": 5},
        "environment_variables": {"SOME_KEY": SECRET}});
    let done = admin.done("/config/update", update).await;
    assert_eq!(done["message"], "Config updated successfully");
    assert_eq!(field("num_retries", "router_settings").await, 5);
    assert_ne!(
        format!("{before:?}"),
        format!("{:?}", admin.now.load().config.routing.retries)
    );
    assert!(!at_rest(&admin).await.contains(SECRET));
    // A stored variable is what models may refer to.
    let body = json!({"model_name": "v", "model_info": {"id": "v"},
        "litellm_params": {"model": "openai/x", "api_key": "os.environ/SOME_KEY"}});
    admin.done("/model/new", body).await;
    let target = admin.now.load().deployment("v", "v").unwrap();
    let key = target.deployment.target.clone().unwrap().api_key.unwrap();
    assert_eq!(key.reveal(), SECRET);
    let list = admin.get("/config/list?config_type=router_settings").await;
    let rows = list.json();
    let row = rows.as_array().unwrap().iter();
    let row = row
        .clone()
        .find(|row| row["field_name"] == "num_retries")
        .unwrap();
    assert_eq!(
        (&row["stored_in_db"], &row["field_value"]),
        (&json!(true), &json!(5))
    );
    let back = json!({"field_name": "num_retries", "config_type": "router_settings"});
    admin.done("/config/field/delete", back.clone()).await;
    assert_eq!(field("num_retries", "router_settings").await, 1);
    admin.refused("/config/field/delete", back, 400).await;
    let listed = admin.get("/config/list").await;
    assert!(
        !listed.text.contains(MASTER),
        "the master key is never shown"
    );
    let settings = admin.get("/config/list?config_type=litellm_settings").await;
    assert!(!settings.text.contains("canary"), "{}", settings.text);
    let callbacks = admin.get("/get/config/callbacks").await.json();
    assert_eq!(callbacks["callbacks"][0]["name"], "prometheus");
}

#[tokio::test]
async fn unknown_dangerous_and_wrong_settings_are_refused_by_name() {
    let admin = admin().await;
    for (section, key, value, part) in [
        (
            "router_settings",
            "num_retires",
            json!(3),
            "did you mean `num_retries`",
        ),
        (
            "router_settings",
            "num_retries",
            json!("many"),
            "router_settings.num_retries: expected",
        ),
        (
            "general_settings",
            "master_key",
            json!("sk-x"),
            "only the configuration file",
        ),
        (
            "general_settings",
            "database_url",
            json!("postgres://x"),
            "only the configuration file",
        ),
        (
            "general_settings",
            "store_model_in_db",
            json!(false),
            "only the configuration file",
        ),
        ("litellm_settings", "guardrails", json!(["x"]), "guardrails"),
        (
            "litellm_settings",
            "cache_params",
            json!({"password": "p"}),
            "os.environ/NAME",
        ),
        (
            "environment_variables",
            "LITELLM_SALT_KEY",
            json!("x"),
            "only the configuration file",
        ),
        (
            "environment_variables",
            "DATABASE_URL",
            json!("x"),
            "only the configuration file",
        ),
    ] {
        let refused = admin
            .refused("/config/update", json!({section: {key: value}}), 400)
            .await;
        assert!(refused.contains(part), "{section}.{key}: {refused}");
        assert!(refused.contains(key), "{section}.{key}: {refused}");
    }
    let models = json!({"model_list": [{"model_name": "a"}]});
    assert!(
        admin
            .refused("/config/update", models, 400)
            .await
            .contains("/model/new")
    );
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
async fn fallbacks_of_a_model_are_set_shown_and_removed() {
    let admin = admin().await;
    let of_file = admin.get("/fallback/file").await.json();
    assert_eq!(of_file["fallback_models"], json!(["other"]));
    let body = json!({"model": "other", "fallback_models": ["file"]});
    admin.done("/fallback", body).await;
    assert_eq!(
        admin.get("/fallback/other").await.json()["fallback_models"],
        json!(["file"])
    );
    let policy = format!("{:?}", admin.now.load().config.routing.fallbacks);
    assert!(policy.contains("other"), "{policy}");
    assert_eq!(
        admin.get("/fallback/file").await.json()["fallback_models"],
        json!(["other"]),
        "the file's own stay"
    );
    for (model, models, part) in [
        ("file", json!(["file"]), "is the model itself"),
        ("file", json!(["nobody"]), "is served by no deployment"),
        ("nobody", json!(["file"]), "model: nobody"),
        ("file", json!([]), "fallback_models"),
    ] {
        let body = json!({"model": model, "fallback_models": models});
        let refused = admin.refused("/fallback", body, 400).await;
        assert!(refused.contains(part), "{refused}");
    }
    let gone = admin
        .send("DELETE", "/fallback/other", Some(MASTER), Body::empty())
        .await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert_eq!(admin.get("/fallback/other").await.status, 404);
    let window = admin
        .get("/fallback/file?fallback_type=context_window")
        .await;
    assert_eq!(window.status, 404);
}

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
    assert_eq!(
        page["audit_logs"][0]["table_name"],
        "LiteLLM_VerificationToken"
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
