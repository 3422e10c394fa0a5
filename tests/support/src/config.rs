//! A gateway configuration in LiteLLM's YAML, written line by line as a user would.

use crate::provider::{Provider, UPSTREAM_KEY};

/// The master key of every test gateway.
pub const MASTER_KEY: &str = "sk-master-0123456789abcdef";

/// Prices of a model in nano-dollars per token.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    /// A prompt token.
    pub input: u64,
    /// A completion token.
    pub output: u64,
}

/// Configuration of a test gateway.
#[derive(Clone, Debug, Default)]
pub struct Config {
    models: String,
    litellm: String,
    router: String,
    general: String,
    rest: String,
}

impl Config {
    /// A configuration with the master key and no model.
    pub fn new() -> Self {
        Self::default()
    }

    /// One of everything that the fake provider can be: `fake-*` (OpenAI, any script name),
    /// `claude-*` and `claude-fake*` (Anthropic), `az-fake` (dated Azure), `az1-fake` (Azure v1),
    /// `foundry-claude` (Foundry). Prices are those of `NANO_USD`.
    pub fn standard(provider: &Provider) -> Self {
        let url = provider.url();
        Self::new()
            .model("fake-*", "openai/fake-*", &format!("{url}/v1"), "")
            .model("claude-*", "anthropic/claude-*", &url, "")
            .model(
                "text-embedding-fake",
                "openai/text-embedding-fake",
                &format!("{url}/v1"),
                "",
            )
            .model(
                "az-fake",
                "azure/az-fake",
                &url,
                "api_version: \"2024-10-21\"",
            )
            .model("az1-fake", "azure/az1-fake", &url, "api_version: v1")
            .model(
                "foundry-claude",
                "azure_ai/claude-fake",
                &format!("{url}/anthropic"),
                "",
            )
    }

    /// Adds a deployment with the fake provider's key. `more` are further lines of
    /// `litellm_params`.
    pub fn model(mut self, name: &str, upstream: &str, api_base: &str, more: &str) -> Self {
        self.models += &format!(
            "  - model_name: \"{name}\"\n    litellm_params:\n      model: \"{upstream}\"\n      \
             api_base: \"{api_base}\"\n      api_key: {UPSTREAM_KEY}\n      \
             input_cost_per_token: 0.000001\n      output_cost_per_token: 0.000002\n"
        );
        self.models += &indented(more, 6);
        self
    }

    /// Adds a deployment with the fake provider's key and prices of its own.
    pub fn priced(mut self, name: &str, upstream: &str, api_base: &str, prices: Prices) -> Self {
        let dollars = |nano: u64| format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
        let (input, output) = (dollars(prices.input), dollars(prices.output));
        self.models += &format!(
            "  - model_name: \"{name}\"\n    litellm_params:\n      model: \"{upstream}\"\n      \
             api_base: \"{api_base}\"\n      api_key: {UPSTREAM_KEY}\n      \
             input_cost_per_token: {input}\n      output_cost_per_token: {output}\n"
        );
        self
    }

    /// Adds lines to `litellm_settings`.
    pub fn litellm(mut self, lines: &str) -> Self {
        self.litellm += &indented(lines, 2);
        self
    }

    /// Adds lines to `router_settings`.
    pub fn router(mut self, lines: &str) -> Self {
        self.router += &indented(lines, 2);
        self
    }

    /// Adds lines to `general_settings`.
    pub fn general(mut self, lines: &str) -> Self {
        self.general += &indented(lines, 2);
        self
    }

    /// Adds top-level lines as they are.
    pub fn raw(mut self, lines: &str) -> Self {
        self.rest += &indented(lines, 0);
        self
    }

    /// The YAML.
    pub fn yaml(&self) -> String {
        let models = match self.models.is_empty() {
            true => "model_list: []\n".to_owned(),
            false => format!("model_list:\n{}", self.models),
        };
        let section = |name: &str, lines: &str| match lines.is_empty() {
            true => String::new(),
            false => format!("{name}:\n{lines}"),
        };
        let general = format!("  master_key: {MASTER_KEY}\n{}", self.general);
        [
            models,
            section("litellm_settings", &self.litellm),
            section("router_settings", &self.router),
            section("general_settings", &general),
            self.rest.clone(),
        ]
        .concat()
    }
}

fn indented(lines: &str, by: usize) -> String {
    let indent = " ".repeat(by);
    lines
        .lines()
        .map(|line| format!("{indent}{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_nest_as_yaml_wants_them() {
        let config = Config::new()
            .model(
                "m",
                "openai/m",
                "http://127.0.0.1:1/v1",
                "rpm: 3\ntimeout: 5",
            )
            .litellm("drop_params: true");
        let yaml = config.yaml();
        assert!(
            yaml.contains("\n      rpm: 3\n      timeout: 5\n"),
            "{yaml}"
        );
        assert!(
            yaml.contains("\nlitellm_settings:\n  drop_params: true\n"),
            "{yaml}"
        );
        assert!(
            yaml.contains("\ngeneral_settings:\n  master_key: sk-master"),
            "{yaml}"
        );
    }
}
