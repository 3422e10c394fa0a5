//! Files and records of the configuration, sealed values among them.

use meridian_core::config::{MasterKey, load_with};
use meridian_core::time::WallMs;
use serde_json::json;

use super::*;

const FILE: &str = "
model_list: [{model_name: file, litellm_params: {model: openai/a, api_key: k}}]
general_settings: {master_key: sk-0123456789abcdef, store_model_in_db: true}
";

fn source(text: &str, salt: Option<&str>) -> Source {
    let mut read = |_: &std::path::Path| Ok(text.to_owned());
    let env: HashMap<String, String> = salt
        .map(|salt| ("LITELLM_SALT_KEY".to_owned(), salt.to_owned()))
        .into_iter()
        .collect();
    let path = std::path::Path::new("c.yaml");
    let loaded = load_with(&mut read, path, &env, MasterKey::Generated);
    loaded.source.unwrap()
}

fn model(merged: &Merged, id: &str, params: Value, version: u64) -> Record {
    let model = Model {
        model_name: format!("stored-{id}"),
        litellm_params: merged.seal(params.as_object().unwrap()),
        ..Model::default()
    };
    let mut record = Record::new(id.into(), &model, WallMs(1));
    record.version = version;
    record
}

fn names(merged: &Merged) -> Vec<String> {
    let models = merged.config().unwrap().models;
    models.into_iter().map(|one| one.model_name).collect()
}

#[test]
fn the_newest_version_counts_and_a_tombstone_stays_dead() {
    let merged = Merged::new(source(FILE, None), None);
    let first = model(
        &merged,
        "a",
        json!({"model": "openai/x", "api_key": "k"}),
        5,
    );
    assert!(!format!("{first:?}").contains("openai/x"), "sealed at rest");
    assert!(merged.take(std::slice::from_ref(&first)));
    assert_eq!(names(&merged), ["file", "stored-a"]);
    let mut dead = first.clone();
    (dead.deleted, dead.version) = (true, 9);
    assert!(merged.take(&[dead]));
    assert!(!merged.take(&[first]), "a stale writer resurrects nothing");
    assert_eq!(names(&merged), ["file"]);
}

#[test]
fn another_salt_key_leaves_the_record_out_and_says_so() {
    let right = Merged::new(source(FILE, Some("sk-salt")), None);
    let record = model(
        &right,
        "a",
        json!({"model": "openai/x", "api_key": "canary"}),
        1,
    );
    let wrong = Merged::new(source(FILE, Some("sk-other")), None);
    wrong.take(&[record]);
    assert_eq!(names(&wrong), ["file"]);
    let left_out = wrong.left_out();
    let shown = left_out[0].to_string();
    assert!(shown.starts_with("record model/a: "), "{shown}");
    assert!(shown.contains("LITELLM_SALT_KEY"), "{shown}");
    // Other records can still be written.
    let good = model(&wrong, "b", json!({"model": "openai/x", "api_key": "k"}), 1);
    assert_eq!(wrong.check(&[good]), Ok(()));
}

#[test]
fn without_store_model_in_db_records_are_not_in_force() {
    let off = FILE.replace("store_model_in_db: true", "store_model_in_db: false");
    let merged = Merged::new(source(&off, None), None);
    let record = model(
        &merged,
        "a",
        json!({"model": "openai/x", "api_key": "k"}),
        1,
    );
    merged.take(&[record]);
    assert_eq!(names(&merged), ["file"]);
    merged.set_source(source(FILE, None));
    assert_eq!(names(&merged), ["file", "stored-a"]);
}

#[test]
fn a_check_names_what_it_would_leave_out_and_changes_nothing() {
    let merged = Merged::new(source(FILE, None), Some(Secret::new("sk-made")));
    let bad = model(
        &merged,
        "bad",
        json!({"model": "openai/x", "api_base": "nonsense"}),
        1,
    );
    let refused = merged.check(&[bad]).unwrap_err();
    assert!(refused[0].problems[0].starts_with("litellm_params.api_base"));
    let credential = Credential {
        credential_values: merged.seal(json!({"api_key": "k"}).as_object().unwrap()),
        ..Credential::default()
    };
    let mut credential = Record::new("account".into(), &credential, WallMs(1));
    credential.version = 1;
    let params = json!({"model": "openai/x", "litellm_credential_name": "account"});
    let user = model(&merged, "user", params, 1);
    assert!(merged.check(std::slice::from_ref(&user)).is_err());
    merged.take(&[credential.clone(), user]);
    assert_eq!(names(&merged), ["file", "stored-user"]);
    // What others need cannot go.
    credential.deleted = true;
    let refused = merged.check(&[credential]).unwrap_err();
    assert_eq!(refused[0].id, "user");
    assert_eq!(names(&merged), ["file", "stored-user"]);
}

#[test]
fn the_made_master_key_stays_where_the_files_name_none() {
    let none = "model_list: []\n";
    let merged = Merged::new(source(none, None), Some(Secret::new("sk-made")));
    let key = merged.config().unwrap().general.master_key.unwrap();
    assert_eq!(key.reveal(), "sk-made");
}
