//! Keys of `model_info`.

use super::Kind::{Any, Bool, List, Price, Text, Texts};
use super::general::NO_HEALTH;
use super::models::{PRICE, REGIONS, RETURNED};
use super::{COUNT, Key, Kind, later, off, on};

pub(super) const MODEL_INFO: &[Key] = &[
    on(
        "id",
        Text,
        "identity of the deployment; default: a digest of the entry, before variables",
    ),
    on("mode", Kind::Word(MODES), "what the model is for"),
    on(
        "base_model",
        Text,
        "name to look the price up by, for Azure deployment names",
    ),
    on(
        "access_groups",
        Texts,
        "names that keys may list instead of the model",
    ),
    on("*cost_per_*", Price, PRICE),
    on("*token_cost*", Price, PRICE),
    on("tiered_pricing", Price, PRICE),
    on("regional_*", Price, "price uplift of regional processing"),
    on("max_tokens", Any, "returned by `/model/info`"),
    on(
        "max_input_tokens",
        COUNT,
        "longest prompt of `enable_pre_call_checks`; default: the price map's",
    ),
    on("max_output_tokens", Any, "returned by `/model/info`"),
    on("litellm_provider", Text, RETURNED),
    on("supports_*", Any, RETURNED),
    on("order", COUNT, "as in `litellm_params`, which wins"),
    on("allowed_regions", Texts, REGIONS),
    on("blocked", Bool, "it gets no request; default false"),
    on(
        "disable_background_health_check",
        Bool,
        "it is not probed; default false",
    ),
    later(
        "team_id",
        Text,
        "the model is not reserved for the team; list models on keys",
    ),
    later(
        "team_public_model_name",
        Text,
        "the model is not reserved for the team",
    ),
    later(
        "supported_environments",
        Texts,
        "the deployment is used in every environment",
    ),
    later("health_check_*", Any, NO_HEALTH),
    later(
        "enforce_supported_endpoints",
        Bool,
        "endpoints are not restricted by it",
    ),
    later("access_windows", List, "the deployment is used at any time"),
    later(
        "ptu_count",
        COUNT,
        "provisioned throughput is not accounted",
    ),
    off("tier", Text, RETURNED),
    off("db_model", Bool, "the list in the file is the only one"),
];

/// LiteLLM's values of `model_info.mode`.
const MODES: &[&str] = &[
    "chat",
    "completion",
    "embedding",
    "image_generation",
    "image_edit",
    "audio_transcription",
    "audio_speech",
    "moderation",
    "rerank",
    "responses",
    "realtime",
    "batch",
    "search",
    "ocr",
    "video_generation",
];
