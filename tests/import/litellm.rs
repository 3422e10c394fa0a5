//! A LiteLLM database of a version, on the Postgres that all tests share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use meridian_core::sealed::SealKey;
use meridian_testkit::postgres;
use serde_json::json;

/// What LiteLLM sealed its values with.
pub(crate) const SALT: &str = "sk-salt-of-litellm";

const SCHEMA: &str = include_str!("schema.json");
const ROWS: &str = include_str!("rows.sql");
const BAD_ROWS: &str = include_str!("bad_rows.sql");

/// Columns of a table by their names; the empty name is a constraint.
type Columns = BTreeMap<String, String>;
type Tables = BTreeMap<String, Columns>;

/// Versions whose schemas are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1_87,
    V1_109,
}

/// A database.
pub(crate) struct LiteLlm {
    name: String,
}

/// A name for a database that nobody else has.
pub(crate) fn fresh_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What the schema adds from version to version.
fn tables(version: Version) -> Tables {
    let mut versions: BTreeMap<String, Tables> = serde_json::from_str(SCHEMA).unwrap();
    let mut tables = versions.remove("1.87").unwrap();
    if version == Version::V1_109 {
        for (table, columns) in versions.remove("1.109").unwrap() {
            tables.entry(table).or_default().extend(columns);
        }
    }
    tables
}

fn create(table: &str, columns: &Columns) -> String {
    let column = |(name, kind): (&String, &String)| match name.as_str() {
        "" => kind.clone(),
        name => format!("\"{name}\" {kind}"),
    };
    let columns: Vec<String> = columns.iter().map(column).collect();
    format!("CREATE TABLE \"{table}\" ({});\n", columns.join(", "))
}

impl LiteLlm {
    /// A database with tables and no rows.
    pub(crate) fn empty(version: Version) -> Self {
        let name = fresh_name("litellm");
        postgres::shared().database(&name);
        let litellm = Self { name };
        let tables = tables(version);
        let sql: String = tables.iter().map(|(name, of)| create(name, of)).collect();
        litellm.sql(&sql);
        litellm
    }

    /// A database as a running LiteLLM leaves it.
    pub(crate) fn filled(version: Version) -> Self {
        let litellm = Self::empty(version);
        litellm.sql(ROWS);
        litellm.seal();
        litellm
    }

    /// Adds rows that cannot be imported.
    pub(crate) fn spoil(&self) {
        self.sql(BAD_ROWS);
    }

    /// A model, a credential and variables with sealed values.
    fn seal(&self) {
        let salt = SealKey::of_salt(SALT);
        let mut nonce = 0;
        let mut sealed = |clear: &str| {
            nonce += 1;
            salt.seal(clear, [nonce; 24])
        };
        let params = json!({
            "model": sealed("openai/gpt-4o"), "api_key": sealed("sk-of-the-provider"),
            "api_base": sealed("http://127.0.0.1:9/v1"), "rpm": 100,
        });
        let values = json!({"api_key": sealed("sk-of-the-provider")});
        let variables = json!({"OPENAI_API_KEY": sealed("sk-of-the-provider")});
        self.sql(&format!(
            "INSERT INTO \"LiteLLM_ProxyModelTable\" (model_id, model_name, litellm_params, \
                 model_info, created_by, updated_by) \
                 VALUES ('m-db', 'gpt-4o', '{params}', '{{\"id\": \"m-db\"}}', 'u1', 'u1'); \
             INSERT INTO \"LiteLLM_CredentialsTable\" (credential_name, credential_values, \
                 created_by, updated_by) VALUES ('openai-main', '{values}', 'u1', 'u1'); \
             INSERT INTO \"LiteLLM_Config\" (param_name, param_value) \
                 VALUES ('environment_variables', '{variables}')"
        ));
    }

    /// Runs SQL; one line per row, columns with `|` between them.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let answer = postgres::shared().try_ask(&self.name, sql);
        // The statements are long.
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Its name on the server.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        postgres::shared().url(&self.name)
    }
}
