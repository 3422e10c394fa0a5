//! Rules for dependencies: what `core` may name, and those of deny.toml.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{assert_none, read, root};

/// `core` has rules and no deeds; each of these earns its place there.
const CORE_DEPENDENCIES: [&str; 15] = [
    "aes-gcm",
    "arc-swap",
    "base64",
    "bytes",
    "crc32fast",
    "crypto_secretbox",
    "hmac",
    "jiff",
    "memchr",
    "saphyr-parser",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
];

#[test]
fn core_depends_on_little() {
    let manifest = read("core/Cargo.toml");
    let section = manifest.split("[dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let name = |line: &str| {
        line.split(['.', ' ', '='])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let named: BTreeSet<String> = section
        .lines()
        .map(name)
        .filter(|n| !n.is_empty())
        .collect();
    let allowed: BTreeSet<String> = CORE_DEPENDENCIES.map(str::to_owned).into();
    let more: Vec<&String> = named.difference(&allowed).collect();
    assert!(more.is_empty(), "core/Cargo.toml: {more:?}");
}

/// Strings of a list in deny.toml.
fn deny_list(section: &str, key: &str) -> Vec<String> {
    let text = read("deny.toml");
    let section = text
        .split(&format!("[{section}]"))
        .nth(1)
        .unwrap()
        .to_owned();
    let list = section.split(&format!("\n{key} = [")).nth(1).unwrap();
    let list = list.split("\n]").next().unwrap();
    let strings = list.split('"').skip(1).step_by(2);
    strings.map(str::to_owned).collect()
}

#[test]
fn dependencies_come_from_one_place_under_known_licences() {
    // The rules of deny.toml, without the tool and without its advisory database.
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let (banned, licences) = (deny_list("bans", "deny"), deny_list("licenses", "allow"));
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if banned.iter().any(|banned| banned == name) {
            complaints.push(format!("{name} is banned"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.ends_with("/crates.io-index")) {
            complaints.push(format!("{name} comes from {source:?}"));
        }
        let expression = package["license"].as_str().unwrap_or_default();
        if !licensed(expression, &licences) {
            complaints.push(format!("{name}: licence {expression:?}"));
        }
    }
    assert_none("dependencies (deny.toml)", &complaints);
}

/// Whether an SPDX expression can be met: every AND part has one OR part that is allowed.
fn licensed(expression: &str, allowed: &[String]) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    let choice = |part: &str| {
        part.split(" OR ")
            .any(|one| allowed.iter().any(|a| a == one.trim()))
    };
    flat.split(" AND ").all(choice)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT".to_owned(), "Unicode-3.0".to_owned()];
    assert!(licensed("(MIT OR GPL-3.0) AND Unicode-3.0", &allowed));
    assert!(!licensed("MIT AND GPL-3.0", &allowed));
}
