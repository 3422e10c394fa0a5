//! Body fields that a caller may not set: upstreams, credentials and prices, unless allowed.
//!
//! Names are LiteLLM's (`reference/litellm.md` 2.4), facts of its interface.

/// What happens to a top-level field of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldRule {
    /// It is the provider's business.
    Pass,
    /// It is left out without a word.
    Strip,
    /// The request is refused (`BannedField`) unless `allow_client_side_credentials` is on or the
    /// deployment's `configurable_clientside_auth_params` names the field.
    Reject,
}

/// Says where and as whom the gateway calls, sorted.
const REJECTED: [&str; 45] = [
    "api_base",
    "arize_api_key",
    "arize_space_id",
    "arize_space_key",
    "aws_bedrock_runtime_endpoint",
    "aws_role_name",
    "aws_sts_endpoint",
    "aws_web_identity_token",
    "azure_ad_token",
    "base_url",
    "braintrust_api_base",
    "braintrust_api_key",
    "deployment_url",
    "dynamodb_endpoint_url",
    "galileo_api_key",
    "galileo_base_url",
    "gcs_bucket_name",
    "gcs_path_service_account",
    "helicone_api_base",
    "helicone_api_key",
    "humanloop_api_key",
    "langfuse_host",
    "langfuse_public_key",
    "langfuse_secret",
    "langfuse_secret_key",
    "langsmith_api_key",
    "langsmith_base_url",
    "langsmith_project",
    "langsmith_sampling_rate",
    "langtrace_api_key",
    "lunary_public_key",
    "opik_api_key",
    "phoenix_api_key",
    "posthog_api_key",
    "posthog_api_url",
    "promptlayer_api_key",
    "s3_endpoint_url",
    "sagemaker_base_url",
    "slack_webhook_url",
    "traceloop_api_key",
    "user_config",
    "vertex_credentials",
    "wandb_api_key",
    "wandb_base_url",
    "weave_project_id",
];

/// Settings of the gateway's own, sorted.
const STRIPPED: [&str; 10] = [
    "callbacks",
    "failure_callback",
    "litellm_disabled_callbacks",
    "logger_fn",
    "no-log",
    "proxy_server_request",
    "secret_fields",
    "service_callback",
    "standard_logging_object",
    "success_callback",
];

/// The rule for a field of the body.
pub fn field_rule(name: &str) -> FieldRule {
    let price = name.contains("cost_per_") || name.ends_with("_token_cost");
    if price || REJECTED.binary_search(&name).is_ok() {
        FieldRule::Reject
    } else if STRIPPED.binary_search(&name).is_ok() {
        FieldRule::Strip
    } else {
        FieldRule::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_choose_no_upstream_no_credential_and_no_price() {
        assert!(REJECTED.is_sorted() && STRIPPED.is_sorted());
        let banned = [
            "api_base",
            "base_url",
            "user_config",
            "aws_sts_endpoint",
            "vertex_credentials",
            "azure_ad_token",
            "langfuse_host",
            "langsmith_api_key",
            "input_cost_per_token",
            "output_cost_per_second",
            "cache_read_input_token_cost",
        ];
        for name in banned {
            assert_eq!(field_rule(name), FieldRule::Reject, "{name}");
        }
        for name in [
            "callbacks",
            "success_callback",
            "no-log",
            "standard_logging_object",
        ] {
            assert_eq!(field_rule(name), FieldRule::Strip, "{name}");
        }
        for name in [
            "model", "messages", "metadata", "store", "tools", "", "API_BASE",
        ] {
            assert_eq!(field_rule(name), FieldRule::Pass, "{name}");
        }
    }
}
