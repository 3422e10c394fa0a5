//! Claude Code and Codex, the real programs, on models of every cloud: thoughts come back as they
//! were signed, tools really run, and a stream that breaks does not end the conversation.

use std::path::Path;

use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::run::Run;
use serde_json::json;

use crate::signers::{Shape, Signers, models};
use crate::{LIMIT, installed};

/// Tools that run in one conversation.
const CALLS: usize = 3;

/// Claude Code, offline, which may run shell commands.
pub(crate) fn claude_code((url, key): (&str, &str), home: &Path, ask: &str) -> Run {
    let package = "node/node_modules/@anthropic-ai/claude-code-linux-x64/claude";
    Run::new(installed().join(package))
        .arg("--print")
        .arg(ask)
        .arg("--allowedTools")
        .arg("Bash")
        .dir(home)
        .limit(LIMIT)
        .env("HOME", &home.to_string_lossy())
        .env("ANTHROPIC_BASE_URL", url)
        .env("ANTHROPIC_AUTH_TOKEN", key)
        .env("ANTHROPIC_MODEL", "claude-opus-4-8")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
}

/// A gateway whose every model that an agent may name lies at this provider.
struct Agents {
    signers: Signers,
    gateway: Gateway,
    key: String,
}

impl Agents {
    async fn on(provider: &str, cuts: bool) -> Self {
        let signers = Signers::start(CALLS, cuts).await;
        let yaml = models::yaml(&signers.fake.url, Some(provider));
        let setup = Setup::with_yaml(env!("CARGO_BIN_EXE_meridian"), &yaml);
        let gateway = setup.start().await;
        let key = gateway.key(&json!({})).await;
        Self {
            signers,
            gateway,
            key,
        }
    }

    fn claude_code(&self, home: &Path, ask: &str) -> Run {
        claude_code((&self.gateway.url(), &self.key), home, ask)
    }

    fn codex(&self, home: &Path, config: &str) -> Run {
        std::fs::write(home.join("config.toml"), config).expect("a file");
        let package = "node/node_modules/@openai/codex-linux-x64/vendor/\
            x86_64-unknown-linux-musl/bin/codex";
        Run::new(installed().join(package))
            .arg("exec")
            .arg("--skip-git-repo-check")
            .arg("--dangerously-bypass-approvals-and-sandbox")
            .arg("--model")
            .arg("gpt-5.1-codex")
            .arg("run the command")
            .dir(home)
            .limit(LIMIT)
            .env("HOME", &home.to_string_lossy())
            .env("CODEX_HOME", &home.to_string_lossy())
            .env("OPENAI_API_KEY", &self.key)
            .env("CODEX_API_KEY", &self.key)
    }

    /// What a program said at last; it ended well.
    async fn said(&self, run: Run, what: &str) -> String {
        let ran = run.finish().await;
        let asked = self.signers.fake.asked();
        let asked = asked
            .iter()
            .map(|one| format!("{} {}", one.method(), one.target()));
        let asked: Vec<String> = asked.collect();
        let (out, err, log) = (&ran.stdout, &ran.stderr, self.gateway.log());
        assert_eq!(ran.code, Some(0), "{what}: {out}\n{err}\n{asked:#?}\n{log}");
        ran.stdout
    }

    /// The conversation went on to its end, and nothing that the model had signed was lost.
    fn went_well(&self, shape: Shape, what: &str) {
        assert_eq!(self.signers.refused(), Vec::<String>::new(), "{what}");
        let asked = self.signers.asked(shape);
        let ran = format!("from-the-tool-{}", CALLS - 1);
        let results = asked.iter().filter(|one| {
            let body = String::from_utf8_lossy(&one.body).into_owned();
            body.matches(&ran).count() > 1
        });
        assert!(results.count() > 0, "{what}: the last command did not run");
    }
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

impl Agents {
    /// Claude Code calls its tool as often as it is told, and says so at the end.
    async fn claude_code_ends_its_task(&self, shape: Shape, provider: &str) {
        let home = home();
        let run = self.claude_code(home.path(), "run the command");
        let said = self.said(run, provider).await;
        let wanted = format!("done after {CALLS} calls");
        assert_eq!(said.trim(), wanted, "{provider}");
        self.went_well(shape, provider);
    }
}

#[tokio::test]
async fn claude_code_runs_its_tools_at_every_cloud_and_its_thoughts_come_back_signed() {
    for (provider, shape) in [
        ("bedrock", Shape::Claude),
        ("converse", Shape::Converse),
        ("vertex-claude", Shape::Claude),
        ("vertex-gemini", Shape::Gemini),
        ("gemini", Shape::Gemini),
        ("openai", Shape::Responses),
    ] {
        let agents = Agents::on(provider, false).await;
        agents.claude_code_ends_its_task(shape, provider).await;
    }
}

#[tokio::test]
async fn claude_code_goes_on_behind_a_stream_that_broke() {
    for (provider, shape) in [
        ("bedrock", Shape::Claude),
        ("vertex-claude", Shape::Claude),
        ("gemini", Shape::Gemini),
        ("openai", Shape::Responses),
    ] {
        let agents = Agents::on(provider, true).await;
        agents.claude_code_ends_its_task(shape, provider).await;
        assert!(
            agents.signers.asked(shape).len() > CALLS + 1,
            "{provider}: nothing was cut"
        );
    }
}

#[tokio::test]
async fn claude_code_counts_tokens_at_every_cloud() {
    for provider in ["bedrock", "vertex-claude", "gemini", "openai"] {
        let agents = Agents::on(provider, false).await;
        let home = home();
        let run = agents.claude_code(home.path(), "/context");
        let said = agents.said(run, provider).await;
        assert!(said.contains("oken"), "{provider}: {said}");
        assert_eq!(agents.signers.refused(), Vec::<String>::new(), "{provider}");
    }
}

#[tokio::test]
async fn codex_runs_its_tools_at_every_cloud_and_its_thoughts_come_back_signed() {
    for (provider, shape) in [
        ("openai", Shape::Responses),
        ("bedrock", Shape::Converse),
        ("vertex-claude", Shape::Claude),
        ("gemini", Shape::Gemini),
    ] {
        let agents = Agents::on(provider, false).await;
        let home = home();
        let config = format!(
            "model_provider = \"gw\"\n[model_providers.gw]\nname = \"gw\"\n\
             base_url = \"{}/v1\"\nenv_key = \"OPENAI_API_KEY\"\nwire_api = \"responses\"\n",
            agents.gateway.url()
        );
        let run = agents.codex(home.path(), &config);
        let said = agents.said(run, provider).await;
        assert!(
            said.contains(&format!("done after {CALLS} calls")),
            "{provider}: {said}"
        );
        agents.went_well(shape, provider);
    }
}

/// Its own provider is asked over a WebSocket first: one refusal, and HTTP from there on.
#[tokio::test]
async fn codex_leaves_its_websocket_at_once() {
    let agents = Agents::on("openai", false).await;
    let home = home();
    let config = format!("openai_base_url = \"{}/v1\"\n", agents.gateway.url());
    let run = agents.codex(home.path(), &config);
    let said = agents.said(run, "openai").await;
    assert!(
        said.contains(&format!("done after {CALLS} calls")),
        "{said}"
    );
    agents.went_well(Shape::Responses, "openai");
}
