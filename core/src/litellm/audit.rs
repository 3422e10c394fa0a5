//! What of the imported settings and models has no effect: the configuration's own audit over them.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::models::{ENVIRONMENT, SECTIONS};
use super::report::SettingRemark;
use crate::config::{self, MasterKey, Severity};
use crate::record::{Model, Record, RecordKind, Setting};
use crate::sealed::SealKey;

/// Settings and models of one import, opened, as the configuration that they amount to.
pub struct Audit {
    salt: Option<SealKey>,
    sections: Map<String, Value>,
    models: Vec<(String, Value)>,
}

impl Audit {
    /// Nothing yet; values are opened with this salt key.
    pub fn new(salt: Option<SealKey>) -> Self {
        Self {
            salt,
            sections: Map::new(),
            models: Vec::new(),
        }
    }

    /// Takes a setting or a model; other records are of no interest.
    pub fn add(&mut self, record: &Record) {
        match record.kind {
            RecordKind::Setting => {
                if let Ok(setting) = record.read::<Setting>() {
                    let values = match record.id == ENVIRONMENT {
                        true => self.opened(setting.param_value),
                        false => setting.param_value,
                    };
                    self.sections.insert(record.id.clone(), values.into());
                }
            }
            RecordKind::Model => {
                if let Ok(model) = record.read::<Model>() {
                    let params = self.opened(model.litellm_params);
                    let entry = json!({
                        "model_name": model.model_name, "litellm_params": params,
                        "model_info": model.model_info,
                    });
                    self.models.push((record.id.clone(), entry));
                }
            }
            _ => {}
        }
    }

    fn opened(&self, values: Map<String, Value>) -> Map<String, Value> {
        let salt = self.salt.as_ref();
        match salt.map(|salt| salt.open_strings(&values)) {
            Some(Ok(opened)) => opened,
            Some(Err(_)) | None => values,
        }
    }

    /// What `meridian check` says about them, with the rows' own names in place of positions.
    pub fn remarks(mut self, env: &HashMap<String, String>) -> Vec<SettingRemark> {
        if self.sections.is_empty() && self.models.is_empty() {
            return Vec::new();
        }
        let (ids, entries): (Vec<String>, Vec<Value>) = self.models.into_iter().unzip();
        self.sections
            .insert("model_list".to_owned(), entries.into());
        // JSON is YAML.
        let text = Value::Object(self.sections).to_string();
        let mut read = |_: &Path| Ok(text.clone());
        let root = Path::new("LiteLLM_Config");
        let loaded = config::load_with(&mut read, root, env, MasterKey::Generated);
        let problems = loaded.problems.into_iter();
        let told = problems.filter(|problem| problem.severity != Severity::Notice);
        let remarks = told.filter_map(|problem| {
            Some(SettingRemark {
                path: named(&problem.path, &ids)?,
                message: problem.message,
            })
        });
        remarks.collect()
    }
}

/// `model_list[2].x` with the id of the model; `None` for what was not imported.
fn named(path: &str, ids: &[String]) -> Option<String> {
    if let Some(rest) = path.strip_prefix("model_list[") {
        let (index, rest) = rest.split_once(']')?;
        let id = ids.get(index.parse::<usize>().ok()?)?;
        return Some(format!("model {id}{rest}"));
    }
    let section = path.split(['.', '[']).next().unwrap_or_default();
    SECTIONS.contains(&section).then(|| path.to_owned())
}
