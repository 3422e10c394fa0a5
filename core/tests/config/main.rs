//! The configuration as its users meet it: LiteLLM files in, problems with places out.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_core::config::{
    Config, Fsync, Loaded, MasterKey, OnDisconnect, Severity, TrustedProxies, load, load_with,
};
use meridian_core::endpoint::Dialect;
use meridian_core::money::NanoUsd;
use meridian_core::routing::policy::{LatencyArgs, Strategy};

#[cfg(test)]
mod adjustments;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod database;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod links;
#[cfg(test)]
mod models;
#[cfg(test)]
mod overlay;
#[cfg(test)]
mod problems;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod random;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod regions;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod sources;

const KEY: &str = "general_settings: {master_key: sk-0123456789abcdef}\n";

fn env(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    pairs.iter().map(owned).collect()
}

fn load_files(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Loaded {
    let files: BTreeMap<PathBuf, &str> = files
        .iter()
        .map(|&(path, text)| (PathBuf::from(path), text))
        .collect();
    let mut read = |path: &Path| {
        let text = files.get(path).map(|text| (*text).to_owned());
        text.ok_or_else(|| "no such file".to_owned())
    };
    load(&mut read, Path::new("c.yaml"), &env(variables))
}

fn load_text(text: &str) -> Loaded {
    load_files(&[("c.yaml", text)], &[])
}

fn shown(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

/// A configuration that must load; problems are given back as text.
#[cfg(test)]
fn good(text: &str, variables: &[(&str, &str)]) -> (Config, Vec<String>) {
    let loaded = load_files(&[("c.yaml", text)], variables);
    let problems = shown(&loaded);
    (
        loaded.config.unwrap_or_else(|| panic!("{problems:#?}")),
        problems,
    )
}

/// Problems of a configuration with a master key and one mock model before it.
fn problems_of(rest: &str) -> Vec<String> {
    let model = "model_list: [{model_name: m, litellm_params: {model: mock/m}}]\n";
    shown(&load_text(&format!("{KEY}{model}{rest}")))
}
