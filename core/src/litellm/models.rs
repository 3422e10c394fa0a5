//! Deployments, credentials and settings of the database. Sealed values stay as they are; the salt
//! key must open them, or Meridian could not use them.

use serde_json::{Map, Value};

use super::groups::{done, record};
use super::row::{Refused, Row};
use super::{Mapped, Outcome};
use crate::record::{Credential, Model, Record, Setting};
use crate::sealed::SealKey;
use crate::time::WallMs;

/// Sections of a configuration that Meridian reads from the database too.
pub(super) const SECTIONS: [&str; 4] = [
    ENVIRONMENT,
    "general_settings",
    "litellm_settings",
    "router_settings",
];
/// The section with sealed values.
pub(super) const ENVIRONMENT: &str = "environment_variables";

pub(super) fn model(mut row: Row, salt: Option<&SealKey>) -> Result<Outcome, Refused> {
    let id = row.required("model_id")?;
    let litellm_params = row.object("litellm_params")?;
    check_opens(&row, "litellm_params", &litellm_params, salt)?;
    if !litellm_params.contains_key("model") {
        return Err(row.refuse("litellm_params.model", "is missing"));
    }
    let body = Model {
        model_name: row.required("model_name")?,
        litellm_params,
        model_info: row.object("model_info")?,
        blocked: row.flag("blocked")?,
        created_by: row.text("created_by")?,
        updated_by: row.text("updated_by")?,
    };
    let record = record(id, &body, &mut row)?;
    Ok(plain(record, row))
}

pub(super) fn credential(mut row: Row, salt: Option<&SealKey>) -> Result<Outcome, Refused> {
    let name = row.required("credential_name")?;
    let credential_values = row.object("credential_values")?;
    check_opens(&row, "credential_values", &credential_values, salt)?;
    row.drop_columns(&["credential_id", "display_name"]);
    let body = Credential {
        credential_values,
        credential_info: row.object("credential_info")?,
        created_by: row.text("created_by")?,
        updated_by: row.text("updated_by")?,
    };
    let record = record(name, &body, &mut row)?;
    Ok(plain(record, row))
}

pub(super) fn setting(mut row: Row, salt: Option<&SealKey>) -> Result<Outcome, Refused> {
    let name = row.required("param_name")?;
    row.drop_columns(&["last_run_at", "reload_revision"]);
    if !SECTIONS.contains(&name.as_str()) {
        return Ok(Outcome::Left {
            why: "rows of LiteLLM_Config that are no section of a configuration",
            tell: true,
        });
    }
    let param_value = row.object("param_value")?;
    if name == ENVIRONMENT {
        check_opens(&row, "param_value", &param_value, salt)?;
    }
    let body = Setting {
        param_value,
        created_by: None,
        updated_by: None,
    };
    Ok(plain(Record::new(name, &body, WallMs(0)), row))
}

fn plain(record: Record, row: Row) -> Outcome {
    done(Mapped {
        record,
        spend: None,
        period: None,
        notes: row.finish(),
    })
}

/// Whether every sealed value of an object opens. Without a salt key none may be sealed.
fn check_opens(
    row: &Row,
    column: &str,
    object: &Map<String, Value>,
    salt: Option<&SealKey>,
) -> Result<(), Refused> {
    // A key that opens nothing finds out whether anything is sealed.
    let nobody = SealKey::of_salt("");
    let key = salt.unwrap_or(&nobody);
    let Err(unopened) = key.open_strings(object) else {
        return Ok(());
    };
    let field = format!("{column}.{}", unopened.field);
    let reason = match salt {
        Some(_) => unopened.error.to_string(),
        None => "is sealed: name the variable of LiteLLM's salt key with --salt-key-from, or set \
                 LITELLM_SALT_KEY (LITELLM_MASTER_KEY where LiteLLM had no salt key)"
            .to_owned(),
    };
    Err(row.refuse(field, reason))
}
