//! Names that lead to models: the models' own, patterns and aliases.

use std::collections::{BTreeMap, HashSet};

use super::deployment::Deployment;
use super::problem::{Position, Problems};
use super::section::Area;
use super::tree::{Entry, Node};

/// Another name of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The model it leads to, chains followed.
    pub model: String,
    /// Not listed by `/v1/models`.
    pub hidden: bool,
}

/// Most aliases from a name to its model.
const ALIAS_HOPS_MAX: usize = 8;

/// The names of `model_list`.
pub(super) struct Models<'a> {
    exact: HashSet<&'a str>,
    patterns: Vec<&'a Deployment>,
}

impl<'a> Models<'a> {
    pub(super) fn new(deployments: &'a [Deployment]) -> Self {
        let (patterns, exact): (Vec<_>, Vec<_>) = deployments
            .iter()
            .partition(|deployment| deployment.is_wildcard());
        let exact = exact
            .into_iter()
            .map(|deployment| deployment.model_name.as_str());
        Self {
            exact: exact.collect(),
            patterns,
        }
    }

    fn serve(&self, name: &str) -> bool {
        self.exact.contains(name) || self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

/// Every name that leads to a model.
pub(super) struct Names<'a> {
    pub(super) aliases: &'a BTreeMap<String, Alias>,
    pub(super) models: &'a Models<'a>,
}

impl Names<'_> {
    /// Reports a name that leads nowhere.
    pub(super) fn check(&self, name: &str, at: &Position, path: &str, problems: &mut Problems) {
        if name != "*" && !self.aliases.contains_key(name) && !self.models.serve(name) {
            problems.warning(at, path, format!("no model `{name}` in `model_list`"));
        }
    }

    /// The model that a name leads to; the name itself when it is no alias.
    pub(super) fn model<'n>(&'n self, name: &'n str) -> &'n str {
        self.aliases.get(name).map_or(name, |alias| &alias.model)
    }
}

struct Written<'a> {
    model: &'a str,
    hidden: bool,
    at: &'a Position,
    path: String,
}

/// Aliases of both sections (the router's win), chains followed; a target must exist.
pub(super) fn aliases(
    router: &Area<'_>,
    litellm: &Area<'_>,
    models: &Models<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, Alias> {
    const KEY: &str = "model_group_alias";
    let mut written = BTreeMap::new();
    for section in [litellm, router] {
        let path = section.path_of(KEY);
        for entry in section.get(KEY).map_or(&[][..], Node::entries) {
            if let Some(alias) = read(entry, &path, problems) {
                written.insert(entry.key.as_str(), alias);
            }
        }
    }
    let mut aliases = BTreeMap::new();
    for (name, alias) in &written {
        match follow(name, &written, models) {
            Ok(model) => {
                let (model, hidden) = (model.to_owned(), alias.hidden);
                aliases.insert((*name).to_owned(), Alias { model, hidden });
            }
            Err(why) => problems.error(alias.at, &alias.path, why),
        }
        if models.exact.contains(name) && alias.model != *name {
            let message = format!("`{name}` is also a model; the alias wins");
            problems.notice(alias.at, &alias.path, message);
        }
    }
    aliases
}

/// `alias: model` or `alias: {model: name, hidden: true}`.
fn read<'a>(entry: &'a Entry, path: &str, problems: &mut Problems) -> Option<Written<'a>> {
    let node = &entry.value;
    let path = format!("{path}.{}", entry.key);
    let hidden = node.get("hidden").and_then(|node| node.scalar()?.as_bool());
    let Some(model) = node.scalar().or_else(|| node.get("model")?.scalar()) else {
        let message = "expected a model name, or `{model: name, hidden: true}`";
        problems.error(&node.at, &path, message);
        return None;
    };
    Some(Written {
        model: model.text(),
        hidden: hidden.unwrap_or(false),
        at: &node.at,
        path,
    })
}

fn follow<'a>(
    name: &str,
    written: &BTreeMap<&'a str, Written<'a>>,
    models: &Models<'_>,
) -> Result<&'a str, String> {
    let mut at = name;
    let mut model = None;
    for _ in 0..ALIAS_HOPS_MAX {
        // An alias of its own name only hides or shows the model.
        let next = written
            .get(at)
            .filter(|next| model.is_none() || next.model != at);
        let Some(next) = next else { break };
        model = Some(next.model);
        if next.model == at {
            break;
        }
        at = next.model;
        if at == name {
            return Err(format!(
                "leads back to itself; name a model instead of `{at}`"
            ));
        }
    }
    match model {
        Some(model) if models.serve(model) => Ok(model),
        _ if written.contains_key(at) => Err(format!(
            "leads in a circle, or through more than {ALIAS_HOPS_MAX} aliases"
        )),
        _ => Err(format!("no model `{at}` in `model_list`")),
    }
}
