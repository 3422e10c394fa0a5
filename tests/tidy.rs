//! House rules that neither rustc nor clippy knows: sizes, names, imports, dependencies, documents.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "tidy/dependencies.rs"]
mod dependencies;

const LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Words that say nothing about what a thing is; `handler` is axum's own in `src/admin`.
const BANNED_WORDS: &str = "manager helper helpers util utils common data info processor service";

/// Names that other people chose and we have to keep.
const FOREIGN_NAMES: [&str; 2] = ["ServiceTier", "model_info"];

/// Who may import whom inside `src/`. A new edge is one line here, to be seen in review.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("priority", &[]),
    ("byte_budget", &[]),
    ("turnstile", &[]),
    ("http_get", &["clock"]),
    ("remote", &["http_get"]),
    ("telemetry", &["clock"]),
    ("upstream", &["clock", "telemetry"]),
    ("credentials", &["clock", "http_get", "telemetry"]),
    ("store", &["clock", "credentials", "priority"]),
    ("registry", &["store"]),
    ("journal", &["clock", "store", "telemetry"]),
    ("owners", &["clock", "journal", "store", "telemetry"]),
    ("routing", &["clock"]),
    ("redis", &["clock"]),
    ("cache", &["clock", "redis", "telemetry"]),
    ("records", &["clock", "journal", "store", "telemetry"]),
    (
        "shared",
        &["clock", "records", "redis", "routing", "store", "telemetry"],
    ),
    (
        "escrow",
        &[
            "clock",
            "journal",
            "registry",
            "shared",
            "store",
            "telemetry",
        ],
    ),
    (
        "rules",
        &["clock", "credentials", "routing", "telemetry", "upstream"],
    ),
    ("config_load", &["clock"]),
    ("check", &["clock", "config_load", "credentials"]),
    ("migrate", &["config_load", "store"]),
    ("merged", &["clock", "store"]),
    ("price_source", &["clock", "http_get", "telemetry"]),
    ("import", &["clock", "config_load", "journal", "store"]),
    (
        "state",
        &[
            "byte_budget",
            "cache",
            "clock",
            "escrow",
            "journal",
            "owners",
            "records",
            "registry",
            "remote",
            "routing",
            "rules",
            "shared",
            "store",
            "telemetry",
            "turnstile",
            "upstream",
        ],
    ),
    (
        "plane",
        &[
            "byte_budget",
            "cache",
            "clock",
            "credentials",
            "escrow",
            "journal",
            "owners",
            "records",
            "registry",
            "remote",
            "routing",
            "rules",
            "state",
            "telemetry",
            "upstream",
        ],
    ),
    (
        "admin",
        &[
            "cache",
            "clock",
            "escrow",
            "journal",
            "merged",
            "owners",
            "registry",
            "routing",
            "rules",
            "state",
            "store",
            "telemetry",
        ],
    ),
    ("server", &["*"]),
    ("cli", &["*"]),
];

/// Files and folders that may start a task; each task is joined or aborted at shutdown.
const MAY_SPAWN: [&str; 3] = [
    "src/server",
    "src/upstream/resolve.rs",
    "src/store/postgres/mod.rs",
];

struct Source {
    /// Path from the repository's root.
    path: String,
    text: String,
}

impl Source {
    /// Lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Lines of code: no comments, nothing from the first `#[cfg(test)]` module on.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self
            .text
            .find("#[cfg(test)]\nmod ")
            .unwrap_or(self.text.len());
        let lines = (1..).zip(self.text[..tests].lines());
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_product(&self) -> bool {
        let test = self.path.contains("/tests/") || self.path.ends_with("/tests.rs");
        (self.path.starts_with("src/") || self.path.starts_with("core/src/")) && !test
    }

    /// The module of `src/` that the file belongs to.
    fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let name = inner.split('/').next()?.trim_end_matches(".rs");
        (!matches!(name, "lib" | "main")).then_some(name)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let text = std::fs::read_to_string(root().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files() -> Vec<Source> {
    let mut found = Vec::new();
    let folders = ["src", "core", "tests", "benches", "examples", "loadtest"];
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != "node_modules" {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source {
                    path: relative,
                    text,
                });
            }
        }
    }
    assert!(found.iter().any(|source| source.path == "tests/tidy.rs"));
    found
}

fn assert_none(rule: &str, complaints: &[String]) {
    assert!(
        complaints.is_empty(),
        "{rule}:\n  {}",
        complaints.join("\n  ")
    );
}

#[test]
fn files_say_what_they_are_for_and_stay_small() {
    let mut complaints = Vec::new();
    for source in rust_files() {
        if !source.text.starts_with("//! ") {
            complaints.push(format!("{}: does not begin with a //! line", source.path));
        }
        let count = source.text.lines().count();
        if count > LINES_MAX {
            complaints.push(format!("{}: {count} lines", source.path));
        }
        for (number, line) in source.lines() {
            // Rustfmt breaks all but literals, and recorded bodies in tests are best whole.
            let literal = !source.is_product() && line.contains('"');
            if line.chars().count() > COLUMNS_MAX && !literal {
                complaints.push(format!(
                    "{}:{number}: over {COLUMNS_MAX} columns",
                    source.path
                ));
            }
        }
    }
    assert_none("files", &complaints);
}

#[test]
fn functions_stay_small() {
    let mut complaints = Vec::new();
    for source in rust_files() {
        for (number, length) in function_lengths(&source.text) {
            if length > FUNCTION_LINES_MAX {
                complaints.push(format!("{}:{number}: {length} lines", source.path));
            }
        }
    }
    assert_none("functions", &complaints);
}

/// Line and length of every function. Rustfmt puts the closing brace under the first letter.
fn function_lengths(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let mut words = code.split(' ');
        let modifier = |word: &str| {
            matches!(word, "pub" | "async" | "const" | "unsafe") || word.starts_with("pub(")
        };
        if words.find(|word| !modifier(word)) != Some("fn") {
            continue;
        }
        let closing = format!("{}}}", &line[..line.len() - code.len()]);
        let rest = &lines[index..];
        let ended = |line: &&str| line.ends_with(['{', '}', ';']);
        let signature = rest.iter().position(ended).unwrap_or(0);
        let end = match rest[signature].ends_with('{') {
            true => rest
                .iter()
                .position(|line| **line == closing)
                .unwrap_or(rest.len()),
            false => signature,
        };
        found.push((index + 1, end + 1));
    }
    found
}

#[test]
fn names_mean_something() {
    let mut complaints = Vec::new();
    for source in rust_files() {
        let stem = Path::new(&source.path)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let mut names = vec![(1, stem)];
        for (number, line) in source.lines() {
            let mut words = line.trim_start().split([' ', '<', '(', '{', ';', ':']);
            let is_kind = |word: &&str| matches!(*word, "struct" | "enum" | "trait");
            let visible = |word: &&str| word.starts_with("pub") || *word == "crate)";
            let first = words.find(|word| !visible(word));
            if first.as_ref().is_some_and(is_kind) {
                names.push((number, words.next().unwrap_or_default().to_owned()));
            }
        }
        let in_admin = source.path.starts_with("src/admin");
        for (number, name) in names {
            let handler = |word: &String| word == "handler" && !in_admin;
            let banned =
                |word: &String| BANNED_WORDS.split(' ').any(|one| one == word) || handler(word);
            if words_of(&name).iter().any(banned) && !FOREIGN_NAMES.contains(&name.as_str()) {
                complaints.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    assert_none("names that say nothing", &complaints);
}

/// `KeyInfo` and `key_info` are both `key`, `info`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), letter != '_') {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

#[test]
fn nothing_stops_the_product_or_hides_a_complaint() {
    let stops = [
        ".unwrap()",
        ".expect(\"",
        "panic!(",
        "todo!(",
        "unimplemented!(",
        "println!(",
        "eprintln!(",
        "print!(",
        "dbg!(",
    ];
    let mut complaints = Vec::new();
    for source in rust_files()
        .iter()
        .filter(|source| source.path != "tests/tidy.rs")
    {
        if source.is_product() {
            for (number, line) in source.product_lines() {
                let stop = stops.iter().find(|stop| line.contains(**stop));
                if let Some(stop) = stop {
                    complaints.push(format!("{}:{number}: {stop}", source.path));
                }
            }
        }
        for (number, line) in source.lines() {
            let hides = ["#[allow", "#![allow", "#[ignore"];
            let unfinished = ["TODO", "FIXME", "XXX:", "HACK:"];
            let nameless = unfinished.iter().any(|word| line.contains(word))
                && line.contains("//")
                && !(line.contains("TODO(") && line.contains('#'));
            if nameless || hides.iter().any(|hide| line.trim_start().starts_with(hide)) {
                complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(
        "use `#[expect(lint, reason = \"..\")]` and `TODO(name): #issue`",
        &complaints,
    );
}

#[test]
fn modules_import_only_what_they_may() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut complaints = Vec::new();
    for source in rust_files().iter().filter(|source| source.is_product()) {
        let Some(module) = source.module() else {
            continue;
        };
        let Some(allowed) = table.get(module) else {
            complaints.push(format!("{}: {module} is not in MAY_IMPORT", source.path));
            continue;
        };
        for (number, line) in source.product_lines() {
            for imported in imports(line) {
                let free = allowed.contains(&"*") && (imported != "server" || module == "cli");
                let own = imported == module || !table.contains_key(imported.as_str());
                if !free && !own && !allowed.contains(&imported.as_str()) {
                    complaints.push(format!("{}:{number}: sees {imported}", source.path));
                }
            }
        }
    }
    assert_none("imports (MAY_IMPORT in tests/tidy.rs)", &complaints);
}

/// Modules named after `crate::` on a line, groups included.
fn imports(line: &str) -> Vec<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut found = Vec::new();
    for after in line.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(group) => found.extend(group.split(',').map(|name| word(name.trim()))),
            None => found.push(word(after)),
        }
    }
    found
}

#[test]
fn plane_and_admin_never_meet() {
    let sees = |who: &str, whom: &str| {
        MAY_IMPORT
            .iter()
            .any(|(module, allowed)| *module == who && allowed.contains(&whom))
    };
    assert!(!sees("plane", "admin") && !sees("admin", "plane"));
    let only_cli = MAY_IMPORT
        .iter()
        .filter(|(_, allowed)| allowed.contains(&"server"));
    assert_eq!(only_cli.count(), 0);
}

#[test]
fn tasks_start_where_somebody_ends_them() {
    let starts = [
        "tokio::spawn(",
        "task::spawn(",
        "thread::spawn(",
        "spawn_local(",
    ];
    let mut complaints = Vec::new();
    for source in rust_files().iter().filter(|source| source.is_product()) {
        let listed = MAY_SPAWN.iter().any(|path| source.path.starts_with(path));
        for (number, line) in source.product_lines() {
            if !listed && starts.iter().any(|start| line.contains(start)) {
                complaints.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none("tasks (MAY_SPAWN in tests/tidy.rs)", &complaints);
}

#[test]
fn every_error_is_documented() {
    let code = read("core/src/error.rs");
    let body = code.split("pub enum GatewayError {").nth(1).unwrap();
    let body = body.split("\n}").next().unwrap();
    let variant = |line: &str| {
        let name = line.strip_prefix("    ")?;
        name.starts_with(char::is_uppercase)
            .then(|| imports(&format!("crate::{name}")).remove(0))
    };
    let defined: BTreeSet<String> = body.lines().filter_map(variant).collect();
    let page = read("docs/ERRORS.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows
        .filter_map(|row| row.split('`').next())
        .map(str::to_owned)
        .collect();
    assert!(defined.len() > 10);
    assert_eq!(
        defined, documented,
        "core/src/error.rs against docs/ERRORS.md"
    );
}

#[test]
fn committed_files_name_no_machine() {
    let words = [
        concat!("/root", "/"),
        concat!("/work", "/shared"),
        concat!("regist", "ry.npmjs"),
    ];
    let listed = std::process::Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output();
    let listed = String::from_utf8_lossy(&listed.unwrap().stdout).into_owned();
    let mut complaints = Vec::new();
    for path in listed.lines().filter(|path| *path != "Cargo.lock") {
        let text = std::fs::read(root().join(path)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if let Some(word) = words.iter().find(|word| text.contains(**word)) {
            complaints.push(format!("{path}: {word}"));
        }
    }
    assert_none("machine paths and registry hosts", &complaints);
}

#[test]
fn the_rules_themselves_work() {
    let long = "fn a(\n    b: u8,\n) {\n    c();\n}\n\nfn d();\n    fn e() {\n  {\n  }\n    }\n";
    assert_eq!(function_lengths(long), [(1, 5), (7, 1), (8, 4)]);
    assert_eq!(words_of("KeyInfo_x"), ["", "key", "info", "x"]);
    assert_eq!(
        imports("use crate::{a, b::c}; crate::d::e"),
        ["a", "b", "d"]
    );
}
