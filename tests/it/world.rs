//! One gateway with its fake provider, and the requests that tests send.

use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::insist;
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Options, Provider};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

/// How long the ledger may take until a row shows on a busy machine.
const LEDGER_WITHIN: Duration = Duration::from_secs(15);

/// The inference APIs that tests run through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completions,
    Responses,
    Messages,
    Embeddings,
}

impl Api {
    /// The APIs that stream.
    pub(crate) const STREAMING: [Self; 3] = [Self::Chat, Self::Responses, Self::Messages];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// A model of [`Config::standard`] whose name is a script of the fake provider.
    pub(crate) fn model(self, script: &str) -> String {
        match self {
            Self::Messages => format!("anthropic-m{script}"),
            _ => format!("fake-m{script}"),
        }
    }

    /// A body that asks for `model`, with a marker that provider and ledger show.
    pub(crate) fn body(self, model: &str, marker: &str, stream: bool) -> Value {
        let messages = json!([{"role": "user", "content": "How do tides work?"}]);
        let mut body = match self {
            Self::Chat => json!({"model": model, "messages": messages, "user": marker}),
            Self::Completions => json!({"model": model, "prompt": "Tides", "user": marker}),
            Self::Responses => json!({"model": model, "input": "Tides", "user": marker}),
            Self::Embeddings => json!({"model": model, "input": "Tides", "user": marker}),
            Self::Messages => json!({
                "model": model, "messages": messages, "max_tokens": 500,
                "metadata": {"user_id": marker},
            }),
        };
        if stream {
            body["stream"] = json!(true);
        }
        body
    }

    /// A request of the master key.
    pub(crate) fn ask(self, script: &str, marker: &str, stream: bool) -> Request {
        self.ask_as(MASTER_KEY, script, marker, stream)
    }

    /// A request of a key.
    pub(crate) fn ask_as(self, key: &str, script: &str, marker: &str, stream: bool) -> Request {
        let body = self.body(&self.model(script), marker, stream);
        Request::post(self.path(), &body).bearer(key)
    }
}

/// A gateway and its provider.
pub(crate) struct World {
    pub(crate) provider: Provider,
    pub(crate) gateway: Gateway,
}

impl World {
    /// The standard configuration with more lines of the `meridian` section.
    pub(crate) async fn new(meridian: &str) -> Self {
        Self::with(meridian, |config| config).await
    }

    /// The standard configuration, changed.
    pub(crate) async fn with(meridian: &str, change: impl FnOnce(Config) -> Config) -> Self {
        let provider = Provider::start();
        let config = change(standard(&provider));
        Self::over(provider, config, meridian).await
    }

    /// A provider that replays recordings of this directory.
    pub(crate) async fn replaying(fixtures: PathBuf) -> Self {
        let options = Options {
            fixtures: Some(fixtures),
            ..Options::default()
        };
        let provider = Provider::start_with(options).unwrap();
        let config = standard(&provider);
        Self::over(provider, config, "").await
    }

    /// This provider and configuration.
    pub(crate) async fn over(provider: Provider, config: Config, meridian: &str) -> Self {
        let setup = Setup::new(binary(), &with_section(config, meridian));
        let gateway = setup.start().await;
        Self { provider, gateway }
    }

    pub(crate) async fn send(&self, request: &Request) -> Response {
        self.gateway.send(request).await
    }

    /// All rows of the ledger with this marker, once there is one.
    pub(crate) async fn rows(&self, marker: &str) -> Vec<Value> {
        rows_of(&self.gateway, marker).await
    }

    /// The one row of the ledger with this marker.
    pub(crate) async fn row(&self, marker: &str) -> Value {
        let mut rows = self.rows(marker).await;
        assert_eq!(rows.len(), 1, "{marker}: {rows:#?}");
        rows.remove(0)
    }
}

/// All rows of a gateway's ledger with this marker, once there is one.
pub(crate) async fn rows_of(gateway: &Gateway, marker: &str) -> Vec<Value> {
    let target = format!("/spend/logs/v2?page_size=100&end_user={marker}");
    insist(LEDGER_WITHIN, async || {
        let answer = gateway.report(&target).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        match answer.json()["data"].as_array() {
            Some(rows) if !rows.is_empty() => Ok(rows.clone()),
            _ => Err(format!("no row for {marker}")),
        }
    })
    .await
}

/// The standard configuration, with Claude models whose names are scripts.
pub(crate) fn standard(provider: &Provider) -> Config {
    let url = provider.url();
    Config::standard(provider).model("anthropic-*", "anthropic/fake-*", &url, "")
}

/// Models whose names are scripts: `fake-*` in OpenAI's dialect, `cl-*` in Anthropic's.
pub(crate) fn scripted(provider: &Provider) -> Config {
    let url = provider.url();
    Config::new()
        .model("fake-*", "openai/fake-*", &format!("{url}/v1"), "")
        .model("cl-*", "anthropic/fake-*", &url, "")
}

/// The same, each request tried once.
pub(crate) fn tried_once(provider: &Provider) -> Config {
    scripted(provider).router("num_retries: 0")
}

/// A gateway that tries each request once.
pub(crate) async fn gateway(provider: &Provider) -> Gateway {
    Setup::new(binary(), &tried_once(provider)).start().await
}

/// The gateway's binary.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_meridian")
}

/// Adds lines of the `meridian` section.
pub(crate) fn with_section(config: Config, lines: &str) -> Config {
    if lines.is_empty() {
        return config;
    }
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    config.raw(&format!("meridian:\n{lines}"))
}

/// Where the recorded answers are.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/fixtures")
}

/// A value inside a row's metadata.
pub(crate) fn meta<'r>(row: &'r Value, name: &str) -> &'r Value {
    &row["metadata"][name]
}
