//! The systemd units, held against systemd itself where it is installed (`scripts/setup.sh test`).

use std::path::{Path, PathBuf};
use std::process::Command;

/// Highest exposure that `systemd-analyze security` may find, times ten.
const EXPOSURE_MAX: &str = "20";
const BINARY: &str = "/usr/bin/meridian";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The units in a folder of their own, with the program that was built here.
fn units(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("systemd")).unwrap().flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "service")
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(BINARY), "{}", path.display());
        let copy = dir.join(entry.file_name());
        std::fs::write(&copy, text.replace(BINARY, env!("CARGO_BIN_EXE_meridian"))).unwrap();
        found.push(copy);
    }
    assert_eq!(found.len(), 4);
    found
}

/// Runs `systemd-analyze`; its output when it fails.
fn analyze(arguments: &[&str], unit: &Path) -> Result<(), String> {
    let ran = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output()
        .expect("systemd-analyze: scripts/setup.sh test installs it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match ran.status.success() {
        true => Ok(()),
        false => Err(text(&ran.stdout) + &text(&ran.stderr)),
    }
}

#[test]
fn systemd_understands_every_unit() {
    let dir = tempfile::tempdir().unwrap();
    for unit in units(dir.path()) {
        let verified = analyze(&["verify", "--man=no"], &unit);
        assert_eq!(verified, Ok(()), "{}", unit.display());
    }
}

#[test]
fn no_unit_is_more_exposed_than_it_need_be() {
    let dir = tempfile::tempdir().unwrap();
    for unit in units(dir.path()) {
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        let judged = analyze(&["security", "--offline=true", &threshold], &unit);
        assert_eq!(judged, Ok(()), "{}", unit.display());
    }
}

#[test]
fn the_install_script_puts_everything_in_place_and_keeps_what_an_operator_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let install = || {
        let ran = Command::new("bash")
            .arg(root().join("systemd/install.sh"))
            .arg(env!("CARGO_BIN_EXE_meridian"))
            .env("DESTDIR", dir.path())
            .output();
        let ran = ran.unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{errors}");
    };
    install();
    let at = |path: &str| dir.path().join(path);
    for path in [
        "usr/bin/meridian",
        "usr/sbin/meridian-upgrade",
        "usr/lib/systemd/system/meridian.service",
        "usr/lib/systemd/system/meridian@.service",
        "usr/lib/systemd/system/meridian-admin.service",
        "usr/lib/systemd/system/meridian-migrate.service",
        "usr/lib/sysusers.d/meridian.conf",
        "usr/lib/tmpfiles.d/meridian.conf",
    ] {
        assert!(at(path).is_file(), "{path}");
    }
    std::fs::write(
        at("etc/meridian/meridian.env"),
        "LITELLM_MASTER_KEY=sk-mine\n",
    )
    .unwrap();
    install();
    let kept = std::fs::read_to_string(at("etc/meridian/meridian.env")).unwrap();
    assert_eq!(kept, "LITELLM_MASTER_KEY=sk-mine\n");
}
