//! Targets of the providers: base, path and credential.

use std::path::Path;

use super::*;
use crate::config::{Config, MasterKey, load_with};

fn config(params: &str, env: &[(&str, &str)]) -> (Config, Vec<String>) {
    let text = format!("model_list: [{{model_name: m, litellm_params: {{{params}}}}}]");
    let env = env
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let env = env.collect();
    let mut read = |_: &Path| Ok(text.clone());
    let loaded = load_with(&mut read, Path::new("c"), &env, MasterKey::Generated);
    let problems: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    let config = loaded.config.unwrap_or_else(|| panic!("{problems:?}"));
    (config, problems)
}

/// `URL path, style` of an operation.
fn url(params: &str, endpoint: Endpoint, tail: &str) -> (String, AuthStyle) {
    let (config, _) = config(params, &[]);
    let deployment = &config.models[0];
    let target = deployment.target.as_ref().unwrap();
    let path = target.path(endpoint, tail, &deployment.model);
    let origin = BaseUrl {
        path: String::new(),
        ..target.base.clone()
    };
    (format!("{origin}{path}"), target.auth)
}

fn chat(params: &str) -> (String, AuthStyle) {
    url(params, Endpoint::ChatCompletions, "/chat/completions")
}

#[test]
fn openai_and_its_like_get_the_path_behind_their_base() {
    let (openai, style) = chat("model: gpt-4o, api_key: k");
    assert_eq!(openai, "https://api.openai.com/v1/chat/completions");
    assert_eq!(style, AuthStyle::Bearer);
    let (own, style) =
        chat("model: openai/x, api_base: 'http://localhost:8000/v1/', api_key: null");
    assert_eq!(own, "http://localhost:8000/v1/chat/completions");
    assert_eq!(style, AuthStyle::None);
    let (ollama, _) = chat("model: ollama/x, api_base: 'http://localhost:11434'");
    assert_eq!(ollama, "http://localhost:11434/v1/chat/completions");
    let (whole, _) =
        chat("model: groq/x, api_key: k, base_url: 'https://g.example/v1/chat/completions'");
    assert_eq!(whole, "https://g.example/v1/chat/completions");
    let vllm = "model: hosted_vllm/x, api_base: 'http://localhost:1/v1'";
    let (messages, _) = url(vllm, Endpoint::Messages, "/messages");
    assert_eq!(messages, "http://localhost:1/v1/messages");
}

#[test]
fn azure_dates_name_the_deployment_in_the_path_where_azure_has_it_there() {
    let azure = "model: azure/my gpt, api_key: k, api_base: 'https://r.openai.azure.com/', \
        api_version: 2024-10-21";
    let (url_chat, style) = chat(azure);
    let expected = "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions\
        ?api-version=2024-10-21";
    assert_eq!((url_chat.as_str(), style), (expected, AuthStyle::ApiKey));
    let (responses, _) = url(azure, Endpoint::ResponsesItem, "/responses/r1?include=x");
    let expected =
        "https://r.openai.azure.com/openai/responses/r1?include=x&api-version=2024-10-21";
    assert_eq!(responses, expected);
    let pasted = "model: azure/x, api_key: k, api_base: 'https://r.openai.azure.com/openai/\
        deployments/real/chat/completions?api-version=2025-01-01'";
    let expected = "https://r.openai.azure.com/openai/deployments/real/chat/completions?api-version=2025-01-01";
    assert_eq!(chat(pasted).0, expected);
    let token = "model: azure/x, azure_ad_token: t, api_base: 'https://r.openai.azure.com'";
    let (default, style) = chat(token);
    assert!(default.ends_with("?api-version=2025-02-01-preview"));
    assert_eq!(style, AuthStyle::Bearer);
}

#[test]
fn azure_v1_is_chosen_by_version_or_by_base() {
    let base = "model: azure/x, api_key: k, api_base: 'https://r.openai.azure.com";
    for (rest, query) in [
        ("', api_version: v1", ""),
        ("', api_version: latest", ""),
        ("/openai/v1'", ""),
        ("/openai/v1/', api_version: preview", "?api-version=preview"),
        ("/openai', api_version: preview", "?api-version=preview"),
    ] {
        let expected = format!("https://r.openai.azure.com/openai/v1/chat/completions{query}");
        assert_eq!(chat(&format!("{base}{rest}")).0, expected, "{rest}");
    }
}

#[test]
fn foundry_and_anthropic_get_messages_however_the_base_is_written() {
    let messages = |params: &str| url(params, Endpoint::Messages, "/messages");
    for rest in ["", "/", "/v1", "/v1/messages"] {
        let base = format!("model: claude-x, api_key: k, api_base: 'https://a.example{rest}'");
        let expected = (
            "https://a.example/v1/messages".to_owned(),
            AuthStyle::XApiKey,
        );
        assert_eq!(messages(&base), expected, "{rest}");
    }
    for rest in ["", "/anthropic", "/anthropic/v1/messages"] {
        let base = format!(
            "model: azure_ai/claude-x, api_key: k, api_base: 'https://f.services.ai.azure.com{rest}'"
        );
        let expected = "https://f.services.ai.azure.com/anthropic/v1/messages".to_owned();
        assert_eq!(
            messages(&base),
            (expected, AuthStyle::XApiKeyAndApiKey),
            "{rest}"
        );
    }
    let other = "model: azure_ai/grok, api_key: k, api_base: 'https://f.services.ai.azure.com'";
    let expected = "https://f.services.ai.azure.com/models/chat/completions\
        ?api-version=2024-05-01-preview";
    assert_eq!(chat(other), (expected.to_owned(), AuthStyle::ApiKey));
    let oauth = "model: claude-x, api_key: sk-ant-oat-1";
    assert_eq!(messages(oauth).1, AuthStyle::Bearer);
}

#[test]
fn the_environment_fills_in_what_a_deployment_leaves_out() {
    let env = [
        ("AZURE_API_KEY", "key"),
        ("AZURE_API_BASE", "https://env.example"),
        ("AZURE_API_VERSION", "v1"),
    ];
    let (config, problems) = config("model: azure/x", &env);
    let target = config.models[0].target.as_ref().unwrap();
    assert_eq!(target.base.to_string(), "https://env.example/openai/v1");
    assert_eq!(target.api_key.as_ref().unwrap().reveal(), "key");
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn what_will_not_work_is_said() {
    let said = |params: &str| config(params, &[]).1.join("\n");
    assert!(said("model: gpt-4o").contains("`OPENAI_API_KEY` is not set"));
    let clear = said("model: openai/x, api_key: k, api_base: 'http://10.0.0.1/v1'");
    assert!(clear.contains("api_base: the credential crosses the network in clear text"));
    let local = said("model: openai/x, api_key: k, api_base: 'http://127.0.0.1/v1'");
    assert_eq!(local, "");
    let bare = said("model: openai/x, api_key: k, api_base: 'https://vllm.example'");
    assert!(bare.contains("most servers want https://vllm.example/v1"));
    assert!(said("model: replicate/x").contains("not served by this version; requests get 400"));
}

#[test]
fn the_list_of_models_belongs_to_the_account() {
    let path = |params: &str| {
        let (config, _) = config(params, &[]);
        config.models[0].target.as_ref().unwrap().models_path()
    };
    let base = "api_base: 'https://h.example', api_key: k";
    for (params, expected) in [
        ("model: gpt-4o, api_key: k".to_owned(), Some("/v1/models")),
        (
            "model: anthropic/claude-x, api_key: k".to_owned(),
            Some("/v1/models"),
        ),
        (
            format!("model: azure/d, api_version: 2024-10-21, {base}"),
            Some("/openai/models?api-version=2024-10-21"),
        ),
        (
            format!("model: azure/d, api_version: v1, {base}"),
            Some("/openai/v1/models"),
        ),
        (
            "model: azure_ai/phi, api_base: 'https://x.services.ai.azure.com/models'".to_owned(),
            None,
        ),
    ] {
        assert_eq!(path(&params).as_deref(), expected, "{params}");
    }
}
