//! Real clients hold streamed conversations with a tool call: first with the fake provider itself,
//! which shows that the scripts are right, then through the gateway.
#![cfg(test)]

#[path = "it/message_batches/account.rs"]
mod account;
#[path = "clients/agents.rs"]
mod agents;
#[path = "it/anthropic_files/account.rs"]
mod files;
#[path = "it/turns/signers/mod.rs"]
mod signers;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use meridian_testkit::config::Config;
use meridian_testkit::fake::Fake;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{POOR_KEY, Provider, Row, UPSTREAM_KEY};
use meridian_testkit::run::Run;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(120);
const BAD_KEY: &str = "sk-wrong-0123456789abcdef";

/// Something that clients are pointed at. The processes live as long as it does.
struct Target {
    url: String,
    key: String,
    poor_key: String,
    /// Embeds where the conversation's own model does not.
    embedding_model: Option<&'static str>,
    provider: Provider,
    _gateway: Option<Gateway>,
}

fn direct() -> Target {
    let provider = Provider::start();
    Target {
        url: provider.url(),
        key: UPSTREAM_KEY.to_owned(),
        poor_key: POOR_KEY.to_owned(),
        embedding_model: None,
        provider,
        _gateway: None,
    }
}

/// A gateway with one key that may spend and one whose budget is smaller than any request.
async fn gateway() -> Target {
    let provider = Provider::start();
    let config = Config::standard(&provider);
    let gateway = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config)
        .start()
        .await;
    let key = gateway.key(&json!({"max_budget": 10})).await;
    let poor_key = gateway.key(&json!({"max_budget": 0})).await;
    Target {
        url: gateway.url(),
        key,
        poor_key,
        embedding_model: None,
        provider,
        _gateway: Some(gateway),
    }
}

/// A gateway whose models speak another dialect than their names let clients expect: OpenAI's
/// clients reach a model of Anthropic's API and the other way round, through `claude_is`.
async fn crossed(claude_is: &str) -> Target {
    let provider = Provider::start();
    let url = provider.url();
    let (base, more) = match claude_is.starts_with("azure/") {
        true => (url.clone(), "api_version: v1"),
        false => (format!("{url}/v1"), ""),
    };
    let config = Config::new()
        .model("fake-ok", "anthropic/claude-fake", &url, "")
        .model("claude-*", claude_is, &base, more)
        .model("embeds", "openai/fake-ok", &format!("{url}/v1"), "")
        .litellm("drop_params: true");
    let gateway = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config)
        .start()
        .await;
    let key = gateway.key(&json!({"max_budget": 10})).await;
    let poor_key = gateway.key(&json!({"max_budget": 0})).await;
    Target {
        url: gateway.url(),
        key,
        poor_key,
        embedding_model: Some("embeds"),
        provider,
        _gateway: Some(gateway),
    }
}

/// A gateway with a model `claude` of this provider of Anthropic's.
async fn claude(fake: &Fake) -> Target {
    let config = Config::new().model("claude", "anthropic/claude-x", &fake.url, "");
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &config);
    let gateway = setup.start().await;
    Target {
        url: gateway.url(),
        key: gateway.key(&json!({"max_budget": 10})).await,
        poor_key: gateway.key(&json!({"max_budget": 0})).await,
        embedding_model: None,
        provider: Provider::start(),
        _gateway: Some(gateway),
    }
}

/// Where the SDKs are; installs them if need be. Stops with the installer's words if it cannot.
fn installed() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/clients.sh");
        let ran = std::process::Command::new(script).arg(&home).output();
        let why = match ran {
            Ok(output) if output.status.success() => return home,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        panic!("scripts/clients.sh could not install the client SDKs:\n{why}");
    })
}

impl Target {
    fn script(&self, program: &Path, script: PathBuf, model: &str) -> Run {
        let arguments = [
            ("--base-url", self.url.as_str()),
            ("--key", &self.key),
            ("--bad-key", BAD_KEY),
            ("--poor-key", &self.poor_key),
            ("--model", model),
            ("--embedding-model", self.embedding_model.unwrap_or(model)),
        ];
        let run = Run::new(program)
            .arg(script)
            .limit(LIMIT)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let add = |run: Run, (name, value): (&str, &str)| run.arg(name).arg(value);
        arguments.into_iter().fold(run, add)
    }

    async fn python(&self, script: &str, model: &str) {
        self.run_python(script, model).await;
        self.saw_a_tool_result();
    }

    async fn run_python(&self, script: &str, model: &str) {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python");
        let python = installed().join("python/bin/python");
        let run = self.script(&python, scripts.join(script), model);
        run.succeed().await;
    }

    async fn node(&self, script: &str, model: &str) {
        let script = installed().join("node").join(script);
        let run = self.script(Path::new("node"), script, model);
        run.succeed().await;
        self.saw_a_tool_result();
    }

    /// Claude Code, offline: the model asks for a shell command, which really runs.
    async fn claude_code(&self) {
        let home = tempfile::tempdir().expect("a temporary directory");
        let run = agents::claude_code((&self.url, &self.key), home.path(), "run the command");
        let said = run.succeed().await;
        assert_eq!(said.trim(), "the quick brown fox jumps");
        self.saw_a_tool_result();
        let ran = |row: &Row| body_of(row).contains("from-the-tool\"");
        assert!(self.provider.rows().iter().any(ran), "no command ran");
    }

    /// The provider was sent a result by the client's tool, not only asked.
    fn saw_a_tool_result(&self) {
        let result = |row: &Row| {
            let body = body_of(row);
            [
                "\"tool_call_id\"",
                "\"tool_result\"",
                "\"function_call_output\"",
            ]
            .iter()
            .any(|name| body.contains(name))
        };
        assert!(self.provider.rows().iter().any(result), "no tool was used");
    }
}

fn body_of(row: &Row) -> String {
    let request = row.request.clone().unwrap_or_default();
    String::from_utf8_lossy(&request.body).into_owned()
}

#[tokio::test]
async fn openai_python_directly() {
    direct().python("openai_sdk.py", "fake-ok").await;
}

#[tokio::test]
async fn openai_python_through_the_gateway() {
    gateway().await.python("openai_sdk.py", "fake-ok").await;
}

#[tokio::test]
async fn anthropic_python_directly() {
    direct().python("anthropic_sdk.py", "claude-fake").await;
}

#[tokio::test]
async fn anthropic_python_through_the_gateway() {
    let target = gateway().await;
    target.python("anthropic_sdk.py", "claude-fake").await;
}

#[tokio::test]
async fn anthropic_python_makes_batches_through_the_gateway() {
    let results = json!({"custom_id": "r", "result": {"type": "succeeded", "message": {"id": "m",
        "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "words"}],
        "usage": {"input_tokens": 7, "output_tokens": 3}}}});
    let account = account::Account {
        results: results.to_string(),
        ..account::Account::default()
    };
    let account = Mutex::new(account);
    let fake = Fake::start(move |asked| account::answer(&mut account.lock().unwrap(), asked)).await;
    claude(&fake)
        .await
        .run_python("anthropic_batches.py", "claude")
        .await;
}

#[tokio::test]
async fn anthropic_python_keeps_files_through_the_gateway() {
    let account = Mutex::new(files::Account::default());
    let fake = Fake::start(move |asked| files::answer(&mut account.lock().unwrap(), asked)).await;
    claude(&fake)
        .await
        .run_python("anthropic_files.py", "claude")
        .await;
}

#[tokio::test]
async fn langchain_directly() {
    let models = "fake-ok,claude-fake";
    direct().python("langchain_sdks.py", models).await;
}

#[tokio::test]
async fn langchain_through_the_gateway() {
    let models = "fake-ok,claude-fake";
    gateway().await.python("langchain_sdks.py", models).await;
}

#[tokio::test]
async fn openai_node_directly() {
    direct().node("openai_sdk.js", "fake-ok").await;
}

#[tokio::test]
async fn openai_node_through_the_gateway() {
    gateway().await.node("openai_sdk.js", "fake-ok").await;
}

#[tokio::test]
async fn anthropic_node_directly() {
    direct().node("anthropic_sdk.js", "claude-fake").await;
}

#[tokio::test]
async fn anthropic_node_through_the_gateway() {
    let target = gateway().await;
    target.node("anthropic_sdk.js", "claude-fake").await;
}

#[tokio::test]
async fn claude_code_directly() {
    direct().claude_code().await;
}

#[tokio::test]
async fn claude_code_through_the_gateway() {
    gateway().await.claude_code().await;
}

#[tokio::test]
async fn openai_python_reaches_a_model_of_anthropics_api() {
    let target = crossed("openai/fake-ok").await;
    target.python("openai_sdk.py", "fake-ok").await;
}

#[tokio::test]
async fn openai_node_reaches_a_model_of_anthropics_api() {
    let target = crossed("openai/fake-ok").await;
    target.node("openai_sdk.js", "fake-ok").await;
}

#[tokio::test]
async fn anthropic_python_reaches_a_model_behind_chat_and_behind_responses() {
    for upstream in ["openai/fake-ok", "azure/az1-fake"] {
        let target = crossed(upstream).await;
        target.python("anthropic_sdk.py", "claude-fake").await;
    }
}

#[tokio::test]
async fn claude_code_runs_on_models_behind_chat_and_behind_responses() {
    for upstream in ["openai/fake-ok", "azure/az1-fake"] {
        crossed(upstream).await.claude_code().await;
    }
}
