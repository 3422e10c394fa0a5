//! Records over files: what wins, what is left out, what may not be read.

use meridian_core::config::overlay::{
    LeftOut, Overlay, StoredCredential, StoredModel, StoredSetting,
};
use meridian_core::config::{Laid, Source};
use meridian_core::record::RecordKind;
use serde_json::{Map, Value, json};

use super::*;

const FILE: &str = "
model_list:
  - {model_name: file, litellm_params: {model: openai/gpt-4o, api_key: sk-file}}
  - model_name: shared
    litellm_params: {model: openai/gpt-4o, litellm_credential_name: account, rpm: 7}
credential_list:
  - credential_name: account
    credential_values: {api_key: os.environ/ACCOUNT_KEY, api_base: 'https://one.example/v1', rpm: 1}
router_settings: {num_retries: 1, timeout: 9}
general_settings: {master_key: os.environ/OUR_KEY, store_model_in_db: true}
";
const VARIABLES: [(&str, &str); 4] = [
    ("OUR_KEY", "sk-0123456789abcdef"),
    ("ACCOUNT_KEY", "sk-account"),
    ("OTHER_KEY", "sk-other"),
    ("DATABASE_URL", "postgres://user:canary@db/meridian"),
];

fn source() -> Source {
    let loaded = load_files(&[("c.yaml", FILE)], &VARIABLES);
    assert!(loaded.config.is_some(), "{:?}", shown(&loaded));
    loaded.source.unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn model(id: &str, params: Value) -> StoredModel {
    StoredModel {
        id: id.into(),
        model_name: format!("stored-{id}"),
        litellm_params: object(params),
        ..StoredModel::default()
    }
}

fn setting(section: &str, values: Value) -> StoredSetting {
    StoredSetting {
        section: section.into(),
        values: object(values),
    }
}

fn models(models: Vec<StoredModel>) -> Overlay {
    Overlay {
        models,
        ..Overlay::default()
    }
}

fn key_of(laid: &Laid, name: &str) -> String {
    let config = laid.config.as_ref().unwrap();
    let one = config.models.iter().find(|one| one.model_name == name);
    let target = one.unwrap().target.as_ref().unwrap();
    target.api_key.as_ref().unwrap().reveal().to_owned()
}

#[test]
fn models_of_records_follow_those_of_the_file_and_say_where_they_are_from() {
    let laid = source().with(&models(vec![
        model(
            "a",
            json!({"model": "openai/x", "api_key": "os.environ/OTHER_KEY", "rpm": 5}),
        ),
        StoredModel {
            blocked: true,
            ..model(
                "b",
                json!({"model": "openai/y", "api_key": "sk-b", "tags": ["t"]}),
            )
        },
    ]));
    let config = laid.config.as_ref().unwrap();
    assert_eq!(laid.left_out, []);
    let ids: Vec<_> = config.models.iter().map(|one| &one.model_name).collect();
    assert_eq!(ids, ["file", "shared", "stored-a", "stored-b"]);
    let (a, b) = (&config.models[2], &config.models[3]);
    assert_eq!((a.id.as_str(), a.rpm), ("a", Some(5)));
    assert_eq!(a.position.record(), Some((RecordKind::Model, "a")));
    assert_eq!(config.models[0].position.record(), None);
    assert!(b.blocked && b.tags == ["t"]);
    assert_eq!(key_of(&laid, "stored-a"), "sk-other");
}

#[test]
fn a_credential_fills_what_a_model_does_not_write() {
    let laid = source().with(&Overlay::default());
    let shared = &laid.config.as_ref().unwrap().models[1];
    assert_eq!(key_of(&laid, "shared"), "sk-account");
    assert_eq!(shared.target.as_ref().unwrap().base.host, "one.example");
    assert_eq!(shared.rpm, Some(7));
    // A record of the same name wins over the file, for the file's models too.
    let credential = StoredCredential {
        name: "account".into(),
        values: object(json!({"api_key": "sk-record"})),
    };
    let overlay = Overlay {
        credentials: vec![credential],
        models: vec![model(
            "a",
            json!({"model": "openai/x", "litellm_credential_name": "account"}),
        )],
        ..Overlay::default()
    };
    let laid = source().with(&overlay);
    assert_eq!(key_of(&laid, "shared"), "sk-record");
    assert_eq!(key_of(&laid, "stored-a"), "sk-record");
    assert_eq!(laid.left_out, []);
}

#[test]
fn settings_of_records_win_key_by_key() {
    let overlay = Overlay {
        settings: vec![
            setting("router_settings", json!({"num_retries": 4})),
            setting("litellm_settings", json!({"request_timeout": 3.5})),
        ],
        ..Overlay::default()
    };
    let laid = source().with(&overlay);
    let config = laid.config.unwrap();
    assert_eq!(laid.left_out, []);
    assert_eq!(
        config.settings.request_timeout,
        Duration::from_millis(3_500)
    );
    let plain = source().with(&Overlay::default()).config.unwrap();
    assert_eq!(plain.router.timeout, config.router.timeout);
    assert_ne!(
        format!("{:?}", plain.routing),
        format!("{:?}", config.routing)
    );
}

#[test]
fn a_bad_record_is_left_out_with_its_field_and_the_rest_stays() {
    let overlay = Overlay {
        models: vec![
            model(
                "bad",
                json!({"model": "openai/x", "api_base": "ftp://x", "rpm": "many"}),
            ),
            model("good", json!({"model": "openai/x", "api_key": "sk-g"})),
            model(
                "orphan",
                json!({"model": "openai/x", "litellm_credential_name": "none"}),
            ),
        ],
        settings: vec![
            setting("router_settings", json!({"num_retries": "many"})),
            setting("model_list", json!({"x": 1})),
        ],
        ..Overlay::default()
    };
    let laid = source().with(&overlay);
    let config = laid.config.unwrap();
    let names: Vec<_> = config.models.iter().map(|one| &one.model_name).collect();
    assert_eq!(names, ["file", "shared", "stored-good"]);
    let of = |id: &str| laid.left_out.iter().find(|one| one.id == id).unwrap();
    let shown = of("bad").to_string();
    assert!(shown.starts_with("record model/bad: "), "{shown}");
    assert!(shown.contains("litellm_params.rpm: expected"), "{shown}");
    assert!(shown.contains("litellm_params.api_base"), "{shown}");
    assert!(of("orphan").problems[0].contains("`none`"));
    assert_eq!(of("router_settings").kind, RecordKind::Setting);
    assert!(of("model_list").problems[0].contains("no section"));
}

#[test]
fn two_records_never_share_an_id_with_the_file_or_each_other() {
    let file = FILE.replace(
        "model_name: file,",
        "model_name: file, model_info: {id: one},",
    );
    let loaded = load_files(&[("c.yaml", &file)], &VARIABLES);
    let overlay = models(vec![model(
        "one",
        json!({"model": "openai/x", "api_key": "k"}),
    )]);
    let laid = loaded.source.unwrap().with(&overlay);
    assert_eq!(laid.config.unwrap().models.len(), 2);
    assert_eq!(laid.left_out[0].id, "one");
}

#[test]
fn no_record_reads_or_sets_the_gateways_own_secrets() {
    for variable in [
        "OUR_KEY",
        "DATABASE_URL",
        "LITELLM_SALT_KEY",
        "REDIS_PASSWORD",
    ] {
        let reference = format!("os.environ/{variable}");
        let params = json!({"model": "openai/x", "api_base": "https://thief.example/v1",
            "api_key": reference});
        let nested = json!({"model": "openai/x", "extra_headers": {"x": reference}});
        let laid = source().with(&models(vec![model("a", params), model("b", nested)]));
        assert_eq!(laid.config.unwrap().models.len(), 2, "{variable}");
        let shown: Vec<String> = laid.left_out.iter().map(LeftOut::to_string).collect();
        assert!(
            shown.iter().all(|one| one.contains("may not be read")),
            "{shown:?}"
        );
        assert_eq!(shown.len(), 2);
    }
    let overlay = Overlay {
        settings: vec![setting(
            "environment_variables",
            json!({"LITELLM_MASTER_KEY": "sk-x"}),
        )],
        ..Overlay::default()
    };
    let laid = source().with(&overlay);
    assert!(laid.left_out[0].problems[0].contains("may not be set"));
    assert!(laid.config.is_some());
}

#[test]
fn a_record_never_hides_an_error_of_the_files() {
    let loaded = load_files(&[("c.yaml", "model_list: nonsense\n")], &VARIABLES);
    let overlay = models(vec![model(
        "a",
        json!({"model": "openai/x", "api_key": "k"}),
    )]);
    let laid = loaded.source.unwrap().with(&overlay);
    assert!(laid.config.is_none());
    assert!(laid.problems.iter().any(|one| one.path == "model_list"));
}

#[test]
fn what_is_shown_of_a_source_holds_no_secret() {
    let shown = format!("{:?}", source());
    assert!(!shown.contains("sk-"), "{shown}");
}
