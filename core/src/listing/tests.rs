//! Lists of models as clients see them.

use std::collections::HashMap;
use std::path::Path;

use super::*;
use crate::config::{MasterKey, load_with};
use crate::ids::KeyHash;
use crate::key::KeyRecord;
use crate::meters::Meters;
use crate::time::WallMs;
use jiff::tz::TimeZone;
use std::sync::Arc;

const YAML: &str = "
model_list:
  - model_name: zeta
    litellm_params: {model: openai/gpt-4o, api_key: sk-canary}
    model_info: {access_groups: [beta]}
  - model_name: alpha
    litellm_params: {model: anthropic/claude-3-5-haiku-latest, api_key: sk-canary}
  - model_name: zeta
    litellm_params: {model: azure/d, api_key: k, api_base: 'https://x.example'}
  - model_name: 'openai/*'
    litellm_params: {model: 'openai/*', api_key: sk-canary}
router_settings:
  model_group_alias: {nick: alpha, secret-nick: {model: alpha, hidden: true}}
general_settings: {master_key: sk-master-key-of-16}
";

fn config() -> Config {
    let mut read = |_: &Path| Ok(YAML.to_owned());
    let loaded = load_with(
        &mut read,
        Path::new("c.yaml"),
        &HashMap::new(),
        MasterKey::Required,
    );
    loaded
        .config
        .unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn prices() -> PriceBook {
    let map = br#"{
        "gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 1e-6},
        "openai/o9": {"litellm_provider": "openai", "input_cost_per_token": 1e-6},
        "claude": {"litellm_provider": "anthropic", "input_cost_per_token": 1e-6}
    }"#;
    PriceBook::from_json(map).unwrap()
}

fn policy(models: &[&str]) -> KeyView {
    let token = KeyHash::of_secret("sk-1");
    let record = json!({"token": token, "key_name": "sk-...sk-1", "models": models});
    let record = serde_json::from_value::<KeyRecord>(record).unwrap();
    let meters = Meters::of_key(&record, &TimeZone::UTC, WallMs(0));
    KeyView::alone(&record, Arc::new(meters))
}

fn list(policy: Option<&KeyView>, options: ListOptions) -> Vec<String> {
    visible_models(&config(), &prices(), policy, options)
}

#[test]
fn the_master_key_sees_all_in_the_order_of_the_configuration() {
    let expected = ["zeta", "alpha", "openai/gpt-4o", "openai/o9", "nick"];
    assert_eq!(list(None, ListOptions::default()), expected);
    let wildcards = ListOptions {
        wildcards: true,
        ..ListOptions::default()
    };
    assert!(list(None, wildcards).contains(&"openai/*".to_owned()));
    let only_groups = ListOptions {
        only_groups: true,
        ..ListOptions::default()
    };
    assert_eq!(list(None, only_groups), ["beta"]);
}

#[test]
fn a_key_sees_what_it_may_use() {
    let seen = |models: &[&str]| list(Some(&policy(models)), ListOptions::default());
    assert_eq!(seen(&["alpha"]), ["alpha", "nick"]);
    assert_eq!(seen(&["beta"]), ["zeta"]);
    assert_eq!(seen(&["openai/o*"]), ["openai/o9"]);
    assert_eq!(seen(&["no-default-models"]), [""; 0]);
    let config = config();
    assert!(is_visible(&config, Some(&policy(&["alpha"])), "nick"));
    assert!(!is_visible(&config, Some(&policy(&["alpha"])), "zeta"));
    assert!(!is_visible(&config, None, "absent"));
}

#[test]
fn both_shapes_are_what_their_clients_read() {
    let names = ["a".to_owned(), "b".to_owned()];
    let openai = models_body(&names, dialect_of(None));
    let item = json!({"id": "a", "object": "model", "created": 1677610602, "owned_by": "openai"});
    assert_eq!(openai["data"][0], item);
    assert_eq!(openai.as_object().unwrap().len(), 2);
    let anthropic = models_body(&names, dialect_of(Some(b"2023-06-01")));
    assert_eq!(anthropic["has_more"], false);
    assert_eq!(
        (&anthropic["first_id"], &anthropic["last_id"]),
        (&json!("a"), &json!("b"))
    );
    assert_eq!(anthropic["data"][1]["display_name"], "b");
    assert_eq!(anthropic["data"][1]["type"], "model");
    let empty = models_body(&[], Dialect::Anthropic);
    assert_eq!(empty["first_id"], Value::Null);
}
