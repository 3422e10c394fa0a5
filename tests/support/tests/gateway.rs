//! The gateway harness, tried on a stand-in: a script with the gateway's command line.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;

use meridian_testkit::config::Config;
use meridian_testkit::deadline::{SOON, eventually};
use meridian_testkit::gateway::Setup;

/// Answers everything, 503 for its first half second; keeps a file in its data directory; refuses
/// a configuration that says so.
const STAND_IN: &str = r#"#!/usr/bin/env python3
import http.server, os, sys, time
arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))
assert sys.argv[1] == "serve" and "HOME" not in os.environ, sys.argv
if "broken: true" in open(arguments["--config"]).read():
    sys.exit("config.yaml:3:1: broken")
os.makedirs(arguments["--data-dir"], exist_ok=True)
with open(arguments["--data-dir"] + "/starts", "a") as starts:
    starts.write("x")
ready_at = time.monotonic() + 0.5

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if time.monotonic() > ready_at else 503)
        self.send_header("content-length", "0")
        self.end_headers()

print("WORD", os.environ.get("WORD"), flush=True)
http.server.HTTPServer(("127.0.0.1", int(arguments["--port"])), Answer).serve_forever()
"#;

fn stand_in(dir: &tempfile::TempDir) -> String {
    let path = dir.path().join("stand-in");
    std::fs::write(&path, STAND_IN).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_gateway_starts_dies_and_starts_again_on_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(&stand_in(&dir), &Config::new()).env("WORD", "given");
    let mut gateway = setup.start().await;
    assert!(gateway.is_ready().await);
    assert!(gateway.log().contains("WORD given"));
    assert!(gateway.rss_kib() > 0);
    assert_eq!(gateway.kill().await.signal(), Some(9));
    assert!(!gateway.is_ready().await);
    gateway.start().await;
    let starts = std::fs::read_to_string(gateway.data_dir().join("starts")).unwrap();
    assert_eq!(starts, "xx");
    assert_eq!(gateway.stop(SOON).await.signal(), Some(15));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new().raw("broken: true");
    let (status, log) = Setup::new(&stand_in(&dir), &config).refuse().await;
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("config.yaml:3:1"), "{log}");
}

#[tokio::test]
async fn a_dropped_gateway_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Setup::new(&stand_in(&dir), &Config::new()).start().await;
    let proc = format!("/proc/{}", gateway.pid());
    drop(gateway);
    let gone = || (!std::path::Path::new(&proc).exists()).then_some(());
    eventually(SOON, "the process to be gone", gone).await;
}
