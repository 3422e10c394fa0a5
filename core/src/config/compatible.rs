//! Providers and servers that speak OpenAI's dialect, as data.

/// One row: LiteLLM's name, where it is and where its key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compatible {
    /// LiteLLM's provider name.
    pub label: &'static str,
    /// Its base URL; `None`: `api_base` is required.
    pub(super) base: Option<&'static str>,
    /// Variables that hold its key; empty: it may be used without one.
    pub(super) key_variables: &'static [&'static str],
}

/// The row of a LiteLLM provider name.
pub(super) fn find(label: &str) -> Option<&'static Compatible> {
    ROWS.iter().find(|row| row.label == label)
}

/// Every row.
pub(super) fn every() -> impl Iterator<Item = &'static Compatible> {
    ROWS.iter()
}

const fn hosted(
    label: &'static str,
    base: &'static str,
    key_variables: &'static [&'static str],
) -> Compatible {
    let base = Some(base);
    Compatible {
        label,
        base,
        key_variables,
    }
}

/// A server of one's own: no default key, often no default place.
const fn own(label: &'static str, base: Option<&'static str>) -> Compatible {
    let key_variables = &[];
    Compatible {
        label,
        base,
        key_variables,
    }
}

const ROWS: &[Compatible] = &[
    own("openai_like", None),
    own("custom_openai", None),
    own("litellm_proxy", None),
    own("lm_studio", None),
    own("xinference", None),
    own("llamafile", Some("http://127.0.0.1:8080/v1")),
    own(
        "docker_model_runner",
        Some("http://localhost:12434/engines/v1"),
    ),
    own("ollama", Some("http://localhost:11434/v1")),
    own("ollama_chat", Some("http://localhost:11434/v1")),
    hosted("ai21", "https://api.ai21.com/studio/v1", &["AI21_API_KEY"]),
    hosted(
        "ai21_chat",
        "https://api.ai21.com/studio/v1",
        &["AI21_API_KEY"],
    ),
    hosted(
        "anyscale",
        "https://api.endpoints.anyscale.com/v1",
        &["ANYSCALE_API_KEY"],
    ),
    hosted(
        "baseten",
        "https://inference.baseten.co/v1",
        &["BASETEN_API_KEY"],
    ),
    hosted(
        "cerebras",
        "https://api.cerebras.ai/v1",
        &["CEREBRAS_API_KEY"],
    ),
    hosted(
        "codestral",
        "https://codestral.mistral.ai/v1",
        &["CODESTRAL_API_KEY"],
    ),
    hosted(
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        DASHSCOPE,
    ),
    hosted(
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        &["DEEPINFRA_API_KEY"],
    ),
    hosted(
        "deepseek",
        "https://api.deepseek.com/beta",
        &["DEEPSEEK_API_KEY"],
    ),
    hosted(
        "featherless_ai",
        "https://api.featherless.ai/v1",
        &["FEATHERLESS_AI_API_KEY"],
    ),
    hosted(
        "fireworks_ai",
        "https://api.fireworks.ai/inference/v1",
        FIREWORKS,
    ),
    hosted(
        "friendliai",
        "https://api.friendli.ai/serverless/v1",
        &["FRIENDLI_TOKEN"],
    ),
    hosted(
        "github",
        "https://models.inference.ai.azure.com",
        &["GITHUB_API_KEY"],
    ),
    hosted("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    hosted(
        "huggingface",
        "https://router.huggingface.co/v1",
        &["HUGGINGFACE_API_KEY", "HF_TOKEN"],
    ),
    hosted(
        "hyperbolic",
        "https://api.hyperbolic.xyz/v1",
        &["HYPERBOLIC_API_KEY"],
    ),
    hosted(
        "inception",
        "https://api.inceptionlabs.ai/v1",
        &["INCEPTION_API_KEY"],
    ),
    hosted("lambda_ai", "https://api.lambda.ai/v1", &["LAMBDA_API_KEY"]),
    hosted(
        "meta_llama",
        "https://api.llama.com/compat/v1",
        &["LLAMA_API_KEY"],
    ),
    hosted("minimax", "https://api.minimax.io/v1", &["MINIMAX_API_KEY"]),
    hosted("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"]),
    hosted(
        "moonshot",
        "https://api.moonshot.ai/v1",
        &["MOONSHOT_API_KEY"],
    ),
    hosted("morph", "https://api.morphllm.com/v1", &["MORPH_API_KEY"]),
    hosted(
        "nebius",
        "https://api.studio.nebius.ai/v1",
        &["NEBIUS_API_KEY"],
    ),
    hosted(
        "novita",
        "https://api.novita.ai/v3/openai",
        &["NOVITA_API_KEY"],
    ),
    hosted(
        "nscale",
        "https://inference.api.nscale.com/v1",
        &["NSCALE_API_KEY"],
    ),
    hosted(
        "nvidia_nim",
        "https://integrate.api.nvidia.com/v1",
        &["NVIDIA_NIM_API_KEY"],
    ),
    hosted(
        "openrouter",
        "https://openrouter.ai/api/v1",
        &["OPENROUTER_API_KEY", "OR_API_KEY"],
    ),
    hosted("perplexity", "https://api.perplexity.ai", PERPLEXITY),
    hosted(
        "sambanova",
        "https://api.sambanova.ai/v1",
        &["SAMBANOVA_API_KEY"],
    ),
    hosted("together_ai", "https://api.together.xyz/v1", TOGETHER),
    hosted("v0", "https://api.v0.dev/v1", &["V0_API_KEY"]),
    hosted(
        "vercel_ai_gateway",
        "https://ai-gateway.vercel.sh/v1",
        VERCEL,
    ),
    hosted(
        "volcengine",
        "https://ark.cn-beijing.volces.com/api/v3",
        &["VOLCENGINE_API_KEY"],
    ),
    hosted(
        "wandb",
        "https://api.inference.wandb.ai/v1",
        &["WANDB_API_KEY"],
    ),
    hosted("xai", "https://api.x.ai/v1", &["XAI_API_KEY"]),
    hosted("zai", "https://api.z.ai/api/paas/v4", &["ZAI_API_KEY"]),
];

const DASHSCOPE: &[&str] = &["DASHSCOPE_API_KEY"];
const FIREWORKS: &[&str] = &["FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"];
const PERPLEXITY: &[&str] = &["PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"];
const TOGETHER: &[&str] = &[
    "TOGETHERAI_API_KEY",
    "TOGETHER_API_KEY",
    "TOGETHER_AI_TOKEN",
];
const VERCEL: &[&str] = &["VERCEL_AI_GATEWAY_API_KEY"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::base_url::BaseUrl;

    #[test]
    fn every_default_url_is_one() {
        for row in ROWS {
            if let Some(base) = row.base {
                assert!(BaseUrl::parse(base).is_ok(), "{}", row.label);
            }
        }
    }
}
