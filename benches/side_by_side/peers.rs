//! The systems under test, each pinned to core 0.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::load::Target;
use super::measure;

/// A running peer.
pub(crate) struct Peer {
    /// Its name in the table.
    pub name: &'static str,
    /// How to reach it.
    pub target: Target,
    child: Child,
    _files: tempfile::TempDir,
}

const MASTER_KEY: &str = "sk-bench-master";

impl Peer {
    /// Starts a peer in front of the upstream; `None` if it is not installed.
    pub(crate) async fn start(name: &str, upstream: u16) -> Option<Self> {
        let files = tempfile::tempdir().unwrap();
        let port = free_port();
        let (name, command) = match name {
            "nginx" => ("nginx", nginx(&files, port, upstream)?),
            "pingora" => ("pingora", bare_pingora(port, upstream)),
            "meridian" => ("meridian", meridian(&files, port, upstream)),
            other => panic!("unknown peer {other}"),
        };
        let mut pinned = Command::new("taskset");
        pinned
            .args(["-c", "0"])
            .args(command)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = pinned.spawn().expect("taskset starts the peer");
        wait_for(port).await;
        let mut target = Target {
            port,
            bearer: "none".into(),
            path: "/v1/chat/completions",
        };
        if name == "meridian" {
            target.bearer = virtual_key(port).await;
        }
        Some(Self {
            name,
            target,
            child,
            _files: files,
        })
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        measure::tree(self.child.id())
    }

    /// Ends it.
    pub(crate) fn stop(mut self) {
        let pids = self.pids();
        let ids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let _ = Command::new("kill").arg("-9").args(ids).status();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn wait_for(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .is_err()
    {
        assert!(Instant::now() < deadline, "peer did not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn nginx(files: &tempfile::TempDir, port: u16, upstream: u16) -> Option<Vec<String>> {
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx"]
        .iter()
        .find(|path| PathBuf::from(path).exists())?;
    let dir = files.path().display();
    let config = format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/error;\n\
         events {{ worker_connections 20000; }}\n\
         http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n\
         fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; }}\n\
         server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; tcp_nodelay on;\n\
         location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_buffering off;\n\
         proxy_set_header Connection \"\"; }} }} }}\n"
    );
    let path = files.path().join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    Some(vec![
        (*program).into(),
        "-c".into(),
        path.display().to_string(),
    ])
}

fn bare_pingora(port: u16, upstream: u16) -> Vec<String> {
    vec![
        example("bare_proxy"),
        port.to_string(),
        upstream.to_string(),
    ]
}

/// Examples are built beside the benches' `deps` folder.
fn example(name: &str) -> String {
    let bench = std::env::current_exe().unwrap();
    let profile = bench
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/<profile>/deps");
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "build it first: cargo build --release --example {name}"
    );
    path.display().to_string()
}

fn meridian(files: &tempfile::TempDir, port: u16, upstream: u16) -> Vec<String> {
    let config = format!(
        "general_settings: {{master_key: {MASTER_KEY}}}\n\
         litellm_settings: {{callbacks: [prometheus], max_budget: 1000000, budget_duration: 30d}}\n\
         model_list:\n\
         {}",
        ["bench", "bench-stream", "bench-idle"]
            .map(|model| format!(
                "  - model_name: {model}\n    litellm_params: {{model: openai/{model}, \
                 api_base: 'http://127.0.0.1:{upstream}/v1', api_key: sk-upstream, \
                 input_cost_per_token: 0.00000015, output_cost_per_token: 0.0000006}}\n"
            ))
            .concat()
    );
    let path = files.path().join("config.yaml");
    std::fs::write(&path, config).unwrap();
    let data = files.path().join("data");
    [
        env!("CARGO_BIN_EXE_meridian"),
        "serve",
        "--config",
        &path.display().to_string(),
        "--host",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--data-dir",
        &data.display().to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A virtual key with every limit on.
async fn virtual_key(port: u16) -> String {
    let body = r#"{"models":[],"max_budget":1000000,"budget_duration":"30d","rpm_limit":100000000,"tpm_limit":100000000000,"max_parallel_requests":100000,"user_id":"u1","team_id":"t1"}"#;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // A key's team has to be there; made twice, the second is refused.
        let _there = post(port, "/team/new", r#"{"team_id":"t1"}"#).await;
        if let Some(key) = generate(port, body).await {
            return key;
        }
        assert!(Instant::now() < deadline, "no virtual key");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn generate(port: u16, body: &str) -> Option<String> {
    let answer = post(port, "/key/generate", body).await?;
    let from = answer.find("\"key\":\"sk-")? + 7;
    let length = answer[from..].find('"')?;
    Some(answer[from..from + length].to_owned())
}

async fn post(port: u16, path: &str, body: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .ok()?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {MASTER_KEY}\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}
