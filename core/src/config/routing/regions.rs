//! Which regions are near, and which may serve a model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::deployment::Deployment;
use crate::config::problem::Problems;
use crate::config::section::Area;
use crate::config::tree::{Node, Value};
use crate::region;
use crate::routing::policy::RegionPolicy;

const DEFAULT: &str = "default_region";

/// `meridian.default_region`, when it is a name.
pub(in crate::config) fn default_region<'a>(
    meridian: &Area<'a>,
    problems: &mut Problems,
) -> Option<&'a str> {
    name(meridian, DEFAULT, problems)
}

/// The name of a region under `key`.
pub(in crate::config) fn name<'a>(
    area: &Area<'a>,
    key: &str,
    problems: &mut Problems,
) -> Option<&'a str> {
    let text = area.text(key)?;
    if !region::is_name(text) {
        let message = format!("expected {}", region::EXPECTED);
        problems.error(area.at(key), &area.path_of(key), message);
        return None;
    }
    Some(text)
}

/// The names of regions under `key`, in their order.
pub(in crate::config) fn names(area: &Area<'_>, key: &str, problems: &mut Problems) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (text, at) in area.texts(key) {
        let why = match text {
            _ if !region::is_name(text) => format!("expected {}", region::EXPECTED),
            _ if found.iter().any(|known| known == text) => format!("`{text}` is listed twice"),
            _ => {
                found.push(text.to_owned());
                continue;
            }
        };
        problems.error(at, &area.path_of(key), why);
    }
    if found.len() > region::NAMES_MAX {
        let message = format!("more than {} regions", region::NAMES_MAX);
        problems.error(area.at(key), &area.path_of(key), message);
    }
    found
}

/// `own` is what the command line says; without it a node is in the default region.
pub(super) fn resolve(
    meridian: &Area<'_>,
    own: Option<&str>,
    deployments: &[Deployment],
    problems: &mut Problems,
) -> RegionPolicy {
    if let Some(own) = own.filter(|own| !region::is_name(own)) {
        let message = format!("`--region {own}`: expected {}", region::EXPECTED);
        problems.error(meridian.start(), "", message);
    }
    let default = meridian.text(DEFAULT).filter(|text| region::is_name(text));
    let own = own.or(default);
    let policy = RegionPolicy {
        own: own.map(str::to_owned),
        nearest: nearest(&meridian.child("regions"), own, problems),
        allowed_of_group: allowed(deployments, problems),
        allowed_of_team: teams(&meridian.child("regions"), problems),
    };
    check_own(meridian, own, deployments, problems);
    policy
}

/// Regions that a team is bound to, by its id. A team without a list is free.
fn teams(regions: &Area<'_>, problems: &mut Problems) -> BTreeMap<String, Arc<BTreeSet<String>>> {
    const KEY: &str = "teams";
    let table = regions.child(KEY);
    let entries = regions.get(KEY).map_or(&[][..], Node::entries);
    let mut found = BTreeMap::new();
    for entry in entries {
        let allowed: BTreeSet<String> = names(&table, &entry.key, problems).into_iter().collect();
        if allowed.is_empty() {
            let message = "expected at least one region; a team that is not named here is free";
            problems.error(&entry.key_at, &table.path_of(&entry.key), message);
        }
        found.insert(entry.key.clone(), Arc::new(allowed));
    }
    found
}

/// One list, or one for each region of which that of `own` counts.
fn nearest(regions: &Area<'_>, own: Option<&str>, problems: &mut Problems) -> Vec<String> {
    const KEY: &str = "nearest";
    let Some(node) = regions.get(KEY) else {
        return Vec::new();
    };
    let (at, path) = (&node.at, regions.path_of(KEY));
    let Some(own) = own else {
        let message = "no effect: start with `--region NAME`, or write `meridian.default_region`";
        problems.warning(at, &path, message);
        return Vec::new();
    };
    let list = match &node.value {
        Value::Map(entries) => {
            let table = regions.child(KEY);
            let mut list = None;
            for entry in entries {
                let row = names(&table, &entry.key, problems);
                if !region::is_name(&entry.key) {
                    let message = format!("expected {}", region::EXPECTED);
                    problems.error(&entry.key_at, &table.path_of(&entry.key), message);
                }
                list = list.or((entry.key == own).then_some(row));
            }
            if list.is_none() {
                let message = format!("no list for `{own}`, this node's region");
                problems.warning(at, &path, message);
            }
            list.unwrap_or_default()
        }
        _ => names(regions, KEY, problems),
    };
    if list.iter().any(|region| region == own) {
        let message = format!("`{own}` is this node's own region, which always comes first");
        problems.error(at, &path, message);
    }
    list
}

/// Regions that may serve a model. Its deployments agree on them, or say nothing.
fn allowed(
    deployments: &[Deployment],
    problems: &mut Problems,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for deployment in deployments {
        let Some(allowed) = &deployment.allowed_regions else {
            continue;
        };
        let name = &deployment.model_name;
        let known = found.entry(name.clone()).or_insert_with(|| allowed.clone());
        if known != allowed {
            let message = format!(
                "`allowed_regions` differ among the deployments of `{name}`; they hold for the \
                 whole model"
            );
            problems.error(&deployment.position, "model_list", message);
        }
    }
    for (name, allowed) in &found {
        let mut members = deployments.iter().filter(|one| one.model_name == *name);
        let inside = |one: &Deployment| {
            let region = one.region_name.as_ref();
            region.is_some_and(|region| allowed.contains(region))
        };
        let first = members.clone().next();
        if let (Some(first), false) = (first, members.any(inside)) {
            let message = format!(
                "no deployment of `{name}` is in one of its `allowed_regions`: every request is \
                 refused"
            );
            problems.warning(&first.position, "model_list", message);
        }
    }
    found
}

/// A mistyped own region would send everything far away.
fn check_own(
    meridian: &Area<'_>,
    own: Option<&str>,
    deployments: &[Deployment],
    problems: &mut Problems,
) {
    let regions = || {
        deployments
            .iter()
            .filter_map(|one| one.region_name.as_deref())
    };
    let Some(own) =
        own.filter(|own| regions().next().is_some() && !regions().any(|one| one == *own))
    else {
        return;
    };
    let message = format!("no deployment is in this node's region `{own}`; others serve it");
    problems.warning(meridian.at(DEFAULT), &meridian.path_of(DEFAULT), message);
}
