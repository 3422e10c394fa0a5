//! Where a failed request of a model goes.

use std::collections::BTreeMap;

use super::{Sections, small};
use crate::config::names::Names;
use crate::config::problem::Problems;
use crate::config::section::Area;
use crate::config::tree::{Node, Value};
use crate::routing::policy::FallbackPolicy;

/// LiteLLM's default.
const DEPTH_MAX: u32 = 5;
/// Stands for every model.
const ANY: &str = "*";

pub(super) fn resolve(
    sections: &Sections<'_>,
    names: &Names<'_>,
    problems: &mut Problems,
) -> FallbackPolicy {
    let mut reader = Reader { names, problems };
    let mut policy = FallbackPolicy {
        general: reader.list(sections.place("fallbacks"), "fallbacks"),
        context_window: reader.list(
            sections.place("context_window_fallbacks"),
            "context_window_fallbacks",
        ),
        content_policy: reader.list(
            sections.place("content_policy_fallbacks"),
            "content_policy_fallbacks",
        ),
        depth_max: DEPTH_MAX,
    };
    reader.default(sections.place("default_fallbacks"), &mut policy.general);
    match sections.router.count("max_fallbacks") {
        // 0 in the policy would be the default.
        Some(0) => FallbackPolicy {
            depth_max: DEPTH_MAX,
            ..FallbackPolicy::default()
        },
        Some(depth) => FallbackPolicy {
            depth_max: small(depth),
            ..policy
        },
        None => policy,
    }
}

struct Reader<'a> {
    names: &'a Names<'a>,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    /// Two shapes: `{group: [..]}` is LiteLLM's, `{model, fallback_models}` is what people also
    /// write.
    fn list(&mut self, area: &Area<'_>, key: &str) -> BTreeMap<String, Vec<String>> {
        let path = area.path_of(key);
        let mut found = BTreeMap::new();
        for item in area.get(key).map_or(&[][..], Node::items) {
            let row = Area::new(Some(item), &item.at, path.clone());
            if let Some(model) = row.text("model").filter(|_| row.has("fallback_models")) {
                let message = format!("LiteLLM does not read this form; write `{model}: [...]`");
                self.problems.warning(&item.at, &path, message);
                self.names
                    .check(model, row.at("model"), &path, self.problems);
                if let Some(to) = row.get("fallback_models") {
                    self.add(&mut found, model, to, &path);
                }
                continue;
            }
            if item.entries().is_empty() {
                let message = "expected `model: [other model, ...]`";
                self.problems.error(&item.at, &path, message);
            }
            for entry in item.entries() {
                self.names
                    .check(&entry.key, &entry.key_at, &path, self.problems);
                self.add(&mut found, &entry.key, &entry.value, &path);
            }
        }
        found
    }

    /// LiteLLM appends them as the fallbacks of `*`, so such an entry comes first and counts.
    fn default(&mut self, area: &Area<'_>, general: &mut BTreeMap<String, Vec<String>>) {
        const KEY: &str = "default_fallbacks";
        let Some(node) = area.get(KEY) else { return };
        self.add(general, ANY, node, &area.path_of(KEY));
    }

    /// The first list of a model counts. Requests are looked up by their model, so a list that is
    /// written for an alias is the model's.
    fn add(
        &mut self,
        found: &mut BTreeMap<String, Vec<String>>,
        model: &str,
        to: &Node,
        path: &str,
    ) {
        let to_names = self.targets(to, path);
        let written = model;
        let model = self.names.model(written);
        if model != written {
            let message = format!("`{written}` is an alias: this holds for `{model}` by any name");
            self.problems.notice(&to.at, path, message);
        }
        if found.contains_key(model) {
            let message = format!("no effect: `{model}` has fallbacks above, which count");
            self.problems.warning(&to.at, path, message);
        } else if !to_names.is_empty() {
            found.insert(model.to_owned(), to_names);
        }
    }

    fn targets(&mut self, node: &Node, path: &str) -> Vec<String> {
        let nodes = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut found = Vec::new();
        for node in nodes {
            match node.scalar() {
                Some(scalar) => {
                    self.names
                        .check(scalar.text(), &node.at, path, self.problems);
                    found.push(self.names.model(scalar.text()).to_owned());
                }
                None => self
                    .problems
                    .error(&node.at, path, "expected the name of a model"),
            }
        }
        found
    }
}
