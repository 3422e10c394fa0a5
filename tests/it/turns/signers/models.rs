//! A configuration with a model of each provider, all of them in the fake.

use meridian_testkit::config::MASTER_KEY;
use serde_json::json;

/// The YAML. `agents` is the provider that clients reach under the names which they know.
pub(crate) fn yaml(url: &str, agents: Option<&str>) -> String {
    let all = models(url);
    let line = |name: &str, model: &str| {
        format!("  - model_name: \"{name}\"\n    litellm_params: {{model: {model}}}\n")
    };
    let mut lines: String = all.iter().map(|(name, model)| line(name, model)).collect();
    if let Some((_, model)) = all.iter().find(|(name, _)| Some(*name) == agents) {
        lines.push_str(&line("claude-*", model));
        lines.push_str(&line("gpt-*", model));
    }
    // Agents send tools and parameters that only their own provider has.
    let losses = match agents {
        Some(_) => "litellm_settings:\n  drop_params: true\n",
        None => "",
    };
    format!(
        "model_list:\n{lines}general_settings:\n  master_key: {MASTER_KEY}\n\
         router_settings:\n  num_retries: 0\n{losses}"
    )
}

fn models(url: &str) -> [(&'static str, String); 8] {
    let aws = format!(
        "aws_region_name: eu-west-1, aws_access_key_id: AKIAFAKE, aws_secret_access_key: s, \
         api_base: '{url}'"
    );
    let pem = include_str!("../../../../src/credentials/tests/client.pem");
    let account = json!({
        "type": "service_account", "client_email": "e@p1.iam", "private_key": pem,
        "token_uri": format!("{url}/token"),
    });
    let google = format!(
        "vertex_project: p1, vertex_location: europe-west1, api_base: '{url}', \
         vertex_credentials: '{account}'"
    );
    let key = "api_key: sk-fake-0123456789";
    let claude = "eu.anthropic.claude-x-v1:0";
    [
        (
            "anthropic",
            format!("anthropic/claude-x, {key}, api_base: '{url}'"),
        ),
        ("bedrock", format!("'bedrock/{claude}', {aws}")),
        ("converse", format!("'bedrock/converse/{claude}', {aws}")),
        (
            "vertex-claude",
            format!("'vertex_ai/claude-x@20260101', {google}"),
        ),
        ("vertex-gemini", format!("vertex_ai/gemini-3-x, {google}")),
        (
            "gemini",
            format!("gemini/gemini-3-x, {key}, api_base: '{url}'"),
        ),
        (
            "openai",
            format!("openai/responses/gpt-x, {key}, api_base: '{url}/v1'"),
        ),
        ("chat", format!("groq/llama-x, {key}, api_base: '{url}/v1'")),
    ]
}
