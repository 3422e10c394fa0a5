//! The load tests and drills: what can be held without k6.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python(code: &str) -> String {
    let ran = Command::new("python3")
        .args(["-B", "-c", code])
        .current_dir(root().join("loadtest"))
        .output()
        .expect("python3: scripts/setup.sh test installs it");
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{errors}");
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

fn names(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn every_script_is_run_and_explained() {
    let known = names(&python("import run; print(*run.SCRIPTS)"));
    let files = std::fs::read_dir(root().join("loadtest/k6"))
        .unwrap()
        .flatten();
    let files: BTreeSet<String> = files
        .filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned()))
        .filter(|name| !["lib", "compare"].contains(&name.as_str()))
        .collect();
    assert_eq!(known, files);
    let page = std::fs::read_to_string(root().join("loadtest/README.md")).unwrap();
    let drills = names(&python("import drill; print(*drill.DRILLS)"));
    for name in known.union(&drills) {
        assert!(page.contains(&format!("\n| `{name}` | ")), "{name}");
    }
}

#[test]
fn figures_are_what_the_samples_say() {
    python("import unittest; unittest.main('test_figures', argv=['figures'])");
}

#[test]
fn the_gateway_takes_the_configuration_that_load_tests_use() {
    let yaml = python("import run; print(run.gateway_config([9100, 9101]))");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, yaml).unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_meridian"))
        .args(["check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stdout)
    );
}
