//! Records of the management API over the files: models, credentials and settings that were made
//! while the gateway ran, validated as the files are.
//!
//! Records win over files, as in LiteLLM. One that cannot be used is left out with its reason; it
//! never stops a start or a reload.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::environ;
use super::problem::{Position, Problem, Problems, Severity};
use super::scalar::{Scalar, Style};
use super::section::to_json;
use super::tree::{Entry, Node, Value};
use super::{Config, MasterKey, resolve};
use crate::record::RecordKind;

/// Sections that settings may be stored for.
pub const STORED_SECTIONS: [&str; 4] = [
    "general_settings",
    "litellm_settings",
    "router_settings",
    "environment_variables",
];

/// A configuration's files as they were read, before anything is put in or decided: records can
/// be laid over them again and again.
#[derive(Clone)]
pub struct Source {
    pub(super) root: Node,
    pub(super) env: HashMap<String, String>,
    pub(super) needed: MasterKey,
    pub(super) files: Vec<PathBuf>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The tree holds secrets.
        f.debug_struct("Source")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// What records add. All values are in clear.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Deployments.
    pub models: Vec<StoredModel>,
    /// Credentials of providers.
    pub credentials: Vec<StoredCredential>,
    /// Keys of sections.
    pub settings: Vec<StoredSetting>,
}

/// A deployment that was made by the management API.
#[derive(Clone, Default)]
pub struct StoredModel {
    /// Id of its record, and of the deployment.
    pub id: String,
    /// Name that clients ask for.
    pub model_name: String,
    /// Its parameters, opened.
    pub litellm_params: Map<String, Json>,
    /// Its description.
    pub model_info: Map<String, Json>,
    /// It gets no request.
    pub blocked: bool,
}

/// A credential that was made by the management API.
#[derive(Clone, Default)]
pub struct StoredCredential {
    /// Its name.
    pub name: String,
    /// Its values, opened.
    pub values: Map<String, Json>,
}

/// Keys of one section that were set by the management API.
#[derive(Clone, Default)]
pub struct StoredSetting {
    /// The section.
    pub section: String,
    /// Its keys, opened.
    pub values: Map<String, Json>,
}

impl fmt::Debug for StoredModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredModel({}, {})", self.id, self.model_name)
    }
}

impl fmt::Debug for StoredCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredCredential({})", self.name)
    }
}

impl fmt::Debug for StoredSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.values.keys().collect();
        write!(f, "StoredSetting({}, {names:?})", self.section)
    }
}

/// A record that is not in force, and why. Shown as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Kind of the record.
    pub kind: RecordKind,
    /// Its id.
    pub id: String,
    /// Field and reason, one for each problem.
    pub problems: Vec<String>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = (self.kind.as_str(), &self.id);
        write!(f, "record {kind}/{id}: {}", self.problems.join("; "))
    }
}

/// Files and records together.
#[derive(Clone, Debug)]
pub struct Laid {
    /// The configuration; `None` when the files themselves have errors.
    pub config: Option<Config>,
    /// Every problem of files and records.
    pub problems: Vec<Problem>,
    /// Records that are not in force.
    pub left_out: Vec<LeftOut>,
}

impl Source {
    /// What the files write under a key of a section, references to variables unresolved.
    pub fn written(&self, section: &str, key: &str) -> Option<Json> {
        let node = self.root.get(section)?.get(key)?;
        (!node.is_null()).then(|| to_json(node))
    }

    /// The configuration of the files with the records over them.
    pub fn with(&self, overlay: &Overlay) -> Laid {
        let mut overlay = overlay.clone();
        let mut left_out: Vec<LeftOut> = Vec::new();
        loop {
            let mut problems = Problems::default();
            let mut root = self.root.clone();
            overlay.lay_on(&mut root, &mut problems);
            let config = resolve(root, &self.env, self.needed, &mut problems);
            let failed = problems.any_error();
            let problems = problems.sorted(&self.files);
            let config = (!failed).then_some(config);
            let (bad, in_records) = overlay.blamed(&problems);
            if config.is_some() || (bad.is_empty() && overlay.is_empty()) {
                return Laid {
                    config,
                    problems,
                    left_out,
                };
            }
            // An error of the files that shows only with records: all of them go, settings first.
            let bad = if in_records {
                bad
            } else {
                overlay.suspects(&problems)
            };
            overlay.remove(&bad);
            left_out.extend(bad);
        }
    }
}

impl Overlay {
    fn is_empty(&self) -> bool {
        self.models.is_empty() && self.credentials.is_empty() && self.settings.is_empty()
    }

    fn lay_on(&self, root: &mut Node, problems: &mut Problems) {
        let guard = Guard::of(root);
        for setting in &self.settings {
            setting.lay_on(root, &guard, problems);
        }
        for credential in &self.credentials {
            let entry = credential.entry(&guard, problems);
            let at = entry.at.clone();
            if let Some(list) = items(root, "credential_list", &at) {
                // The first of two with a name counts.
                list.insert(0, entry);
            }
        }
        for model in &self.models {
            let entry = model.entry(&guard, problems);
            let at = entry.at.clone();
            if let Some(list) = items(root, "model_list", &at) {
                list.push(entry);
            }
        }
    }

    /// Records that errors lie in, with the errors; and whether there are any.
    fn blamed(&self, problems: &[Problem]) -> (Vec<LeftOut>, bool) {
        let mut bad: Vec<LeftOut> = Vec::new();
        for problem in errors(problems) {
            let Some((kind, id)) = record_of(&problem.file) else {
                continue;
            };
            let reason = reason(problem);
            match bad.iter_mut().find(|one| one.kind == kind && one.id == id) {
                Some(known) => known.problems.push(reason),
                None => bad.push(LeftOut {
                    kind,
                    id: id.to_owned(),
                    problems: vec![reason],
                }),
            }
        }
        let found = !bad.is_empty();
        (bad, found)
    }

    /// Every setting, or every record when there is no setting, blamed for the errors in files.
    fn suspects(&self, problems: &[Problem]) -> Vec<LeftOut> {
        let reasons: Vec<String> = errors(problems).map(ToString::to_string).collect();
        let blame = |kind, id: &String| LeftOut {
            kind,
            id: id.clone(),
            problems: reasons.clone(),
        };
        if !self.settings.is_empty() {
            let sections = self.settings.iter().map(|one| &one.section);
            return sections.map(|id| blame(RecordKind::Setting, id)).collect();
        }
        let models = self.models.iter().map(|one| &one.id);
        let credentials = self.credentials.iter().map(|one| &one.name);
        models
            .map(|id| blame(RecordKind::Model, id))
            .chain(credentials.map(|id| blame(RecordKind::Credential, id)))
            .collect()
    }

    fn remove(&mut self, bad: &[LeftOut]) {
        let keeps =
            |kind: RecordKind, id: &str| !bad.iter().any(|one| one.kind == kind && one.id == id);
        self.models.retain(|one| keeps(RecordKind::Model, &one.id));
        self.settings
            .retain(|one| keeps(RecordKind::Setting, &one.section));
        self.credentials
            .retain(|one| keeps(RecordKind::Credential, &one.name));
    }
}

impl StoredSetting {
    fn lay_on(&self, root: &mut Node, guard: &Guard, problems: &mut Problems) {
        let name = self.section.as_str();
        let at = Position::of_record(RecordKind::Setting, name);
        if !STORED_SECTIONS.contains(&name) {
            problems.error(&at, name, "no section that can be set by a record");
            return;
        }
        let Some(section) = section(root, name, &at) else {
            return;
        };
        for (key, value) in &self.values {
            let path = format!("{name}.{key}");
            if name == "environment_variables" && is_reserved(key) {
                problems.error(&at, &path, "may not be set by a record");
                continue;
            }
            let value = guard.node(value, &at, &path, problems);
            put(section, key, value, &at);
        }
    }
}

impl StoredCredential {
    fn entry(&self, guard: &Guard, problems: &mut Problems) -> Node {
        let at = Position::of_record(RecordKind::Credential, &self.name);
        let path = "credential_values";
        let values = Json::Object(self.values.clone());
        let values = guard.node(&values, &at, path, problems);
        let mut entry = map(&at);
        put(&mut entry, "credential_name", text(&self.name, &at), &at);
        put(&mut entry, path, values, &at);
        entry
    }
}

impl StoredModel {
    fn entry(&self, guard: &Guard, problems: &mut Problems) -> Node {
        let at = Position::of_record(RecordKind::Model, &self.id);
        let mut info = self.model_info.clone();
        info.insert("id".to_owned(), Json::String(self.id.clone()));
        if self.blocked {
            info.insert("blocked".to_owned(), Json::Bool(true));
        }
        let mut entry = map(&at);
        put(&mut entry, "model_name", text(&self.model_name, &at), &at);
        for (key, value) in [
            ("litellm_params", &self.litellm_params),
            ("model_info", &info),
        ] {
            let value = Json::Object(value.clone());
            let value = guard.node(&value, &at, key, problems);
            put(&mut entry, key, value, &at);
        }
        entry
    }
}

/// Variables of the gateway's own secrets and places: no record may set or read them, or an
/// administrator could send the master key to a provider of their own.
pub fn is_reserved(variable: &str) -> bool {
    const NAMES: [&str; 3] = ["DIRECT_URL", "CONFIG_FILE_PATH", "IAM_TOKEN_DB_AUTH"];
    const HEADS: [&str; 4] = ["DATABASE_", "REDIS_", "MERIDIAN_", "LITELLM_CONFIG_"];
    const PARTS: [&str; 3] = ["MASTER_KEY", "SALT_KEY", "LICENSE"];
    NAMES.contains(&variable)
        || HEADS.iter().any(|head| variable.starts_with(head))
        || PARTS.iter().any(|part| variable.contains(part))
}

/// What no record may read.
struct Guard {
    /// The variable that the file takes its master key from.
    master_key: Option<String>,
}

impl Guard {
    fn of(root: &Node) -> Self {
        let key = root
            .get("general_settings")
            .and_then(|general| general.get("master_key"));
        let reference = key
            .and_then(Node::scalar)
            .and_then(|key| key.text().strip_prefix(environ::REFERENCE));
        Self {
            master_key: reference.map(str::to_owned),
        }
    }

    fn forbids(&self, text: &str) -> bool {
        let name = text.strip_prefix(environ::REFERENCE);
        name.is_some_and(|name| is_reserved(name) || self.master_key.as_deref() == Some(name))
    }

    /// A value of a record as a node of the tree.
    fn node(&self, json: &Json, at: &Position, path: &str, problems: &mut Problems) -> Node {
        let value = match json {
            Json::Null => Value::Scalar(Scalar::null()),
            Json::Bool(_) | Json::Number(_) => {
                Value::Scalar(Scalar::new(&json.to_string(), Style::Plain))
            }
            Json::String(text) if self.forbids(text) => {
                problems.error(at, path, "this variable may not be read by a record");
                Value::Scalar(Scalar::null())
            }
            Json::String(text) => Value::Scalar(Scalar::new(text, Style::Quoted)),
            Json::Array(items) => {
                let item = |item: &Json| self.node(item, at, path, problems);
                Value::List(items.iter().map(item).collect())
            }
            Json::Object(object) => {
                let entry = |(key, value): (&String, &Json)| Entry {
                    key: key.clone(),
                    key_at: at.clone(),
                    value: self.node(value, at, &format!("{path}.{key}"), problems),
                };
                Value::Map(object.iter().map(entry).collect())
            }
        };
        let at = at.clone();
        Node { value, at }
    }
}

impl Position {
    /// A record, which has no lines.
    pub fn of_record(kind: RecordKind, id: &str) -> Self {
        let file: Arc<str> = format!("{RECORD}{}/{id}", kind.as_str()).into();
        Self {
            file,
            line: 0,
            column: 0,
        }
    }

    /// Kind and id, if this is a record and not a place in a file.
    pub fn record(&self) -> Option<(RecordKind, &str)> {
        record_of(&self.file)
    }
}

const RECORD: &str = "record ";

fn record_of(file: &str) -> Option<(RecordKind, &str)> {
    let (kind, id) = file.strip_prefix(RECORD)?.split_once('/')?;
    Some((RecordKind::parse(kind)?, id))
}

fn errors(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    let is_error = |problem: &&Problem| problem.severity == Severity::Error;
    problems.iter().filter(is_error)
}

/// Path and message; the place of an entry in the list says nothing about a record.
fn reason(problem: &Problem) -> String {
    let path = match problem.path.strip_prefix("model_list[") {
        Some(rest) => rest.split_once("].").map_or("", |(_, path)| path),
        None => problem.path.as_str(),
    };
    match path {
        "" => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    }
}

fn map(at: &Position) -> Node {
    Node {
        value: Value::Map(Vec::new()),
        at: at.clone(),
    }
}

fn text(text: &str, at: &Position) -> Node {
    Node {
        value: Value::Scalar(Scalar::new(text, Style::Quoted)),
        at: at.clone(),
    }
}

/// The entry of a key, made when it is not there. `None` where the parent is no mapping, which the
/// audit reports.
fn entry<'n>(node: &'n mut Node, key: &str, at: &Position) -> Option<&'n mut Entry> {
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    let known = entries.iter().position(|entry| entry.key == key);
    if known.is_none() {
        entries.push(Entry {
            key: key.to_owned(),
            key_at: at.clone(),
            value: Node {
                value: Value::Scalar(Scalar::null()),
                at: at.clone(),
            },
        });
    }
    let index = known.unwrap_or(entries.len().saturating_sub(1));
    entries.get_mut(index)
}

/// Writes a value over what is there.
fn put(node: &mut Node, key: &str, value: Node, at: &Position) {
    if let Some(entry) = entry(node, key, at) {
        entry.key_at = at.clone();
        entry.value = value;
    }
}

/// A mapping under a key, made where nothing is written.
fn section<'n>(root: &'n mut Node, key: &str, at: &Position) -> Option<&'n mut Node> {
    let node = &mut entry(root, key, at)?.value;
    if node.is_null() {
        *node = map(at);
    }
    matches!(node.value, Value::Map(_)).then_some(node)
}

/// A list under a key, made where nothing is written.
fn items<'n>(root: &'n mut Node, key: &str, at: &Position) -> Option<&'n mut Vec<Node>> {
    let node = &mut entry(root, key, at)?.value;
    if node.is_null() {
        node.value = Value::List(Vec::new());
    }
    match &mut node.value {
        Value::List(items) => Some(items),
        _ => None,
    }
}
