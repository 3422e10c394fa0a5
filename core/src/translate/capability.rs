//! What a model can do, from the price map's flags: data, never patterns of model names.

use serde_json::{Map, Value};

/// A flag of the price map that a translation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// `supports_sampling_params`: temperature, top_p, top_k.
    Sampling,
    /// `supports_forced_tool_use`: a tool choice other than auto and none.
    ForcedTools,
    /// `supports_adaptive_thinking`.
    AdaptiveThinking,
    /// `supports_legacy_thinking`: `thinking.type: enabled` beside the adaptive one.
    LegacyThinking,
    /// `thinking_always_on`: cannot be turned off.
    ThinkingAlwaysOn,
    /// `supports_mid_conversation_system`.
    MidSystem,
    /// `supports_native_structured_output`: `output_config.format`.
    NativeFormat,
    /// `supports_bedrock_native_structured_output`.
    BedrockNativeFormat,
    /// `supports_output_config`: `output_config.effort`.
    OutputConfig,
    /// `supports_response_schema`.
    ResponseSchema,
    /// `supports_reasoning`.
    Reasoning,
    /// `supports_none_reasoning_effort`.
    EffortNone,
    /// `supports_minimal_reasoning_effort`.
    EffortMinimal,
    /// `supports_xhigh_reasoning_effort`.
    EffortXhigh,
    /// `supports_max_reasoning_effort`.
    EffortMax,
    /// `supports_assistant_prefill`.
    Prefill,
    /// `supports_vision`.
    Vision,
    /// `supports_pdf_input`.
    Pdf,
    /// `supports_audio_input`.
    AudioInput,
    /// `supports_audio_output`.
    AudioOutput,
    /// `supports_function_calling`.
    Functions,
    /// `supports_parallel_function_calling`.
    ParallelFunctions,
    /// `supports_tool_choice`.
    ToolChoice,
    /// `supports_system_messages`.
    SystemMessages,
    /// `supports_prompt_caching`.
    PromptCaching,
    /// `supports_web_search`.
    WebSearch,
}

/// Flags and their names in the price map.
const FLAGS: [(Flag, &str); 26] = [
    (Flag::Sampling, "supports_sampling_params"),
    (Flag::ForcedTools, "supports_forced_tool_use"),
    (Flag::AdaptiveThinking, "supports_adaptive_thinking"),
    (Flag::LegacyThinking, "supports_legacy_thinking"),
    (Flag::ThinkingAlwaysOn, "thinking_always_on"),
    (Flag::MidSystem, "supports_mid_conversation_system"),
    (Flag::NativeFormat, "supports_native_structured_output"),
    (
        Flag::BedrockNativeFormat,
        "supports_bedrock_native_structured_output",
    ),
    (Flag::OutputConfig, "supports_output_config"),
    (Flag::ResponseSchema, "supports_response_schema"),
    (Flag::Reasoning, "supports_reasoning"),
    (Flag::EffortNone, "supports_none_reasoning_effort"),
    (Flag::EffortMinimal, "supports_minimal_reasoning_effort"),
    (Flag::EffortXhigh, "supports_xhigh_reasoning_effort"),
    (Flag::EffortMax, "supports_max_reasoning_effort"),
    (Flag::Prefill, "supports_assistant_prefill"),
    (Flag::Vision, "supports_vision"),
    (Flag::Pdf, "supports_pdf_input"),
    (Flag::AudioInput, "supports_audio_input"),
    (Flag::AudioOutput, "supports_audio_output"),
    (Flag::Functions, "supports_function_calling"),
    (
        Flag::ParallelFunctions,
        "supports_parallel_function_calling",
    ),
    (Flag::ToolChoice, "supports_tool_choice"),
    (Flag::SystemMessages, "supports_system_messages"),
    (Flag::PromptCaching, "supports_prompt_caching"),
    (Flag::WebSearch, "supports_web_search"),
];

/// What is known of one model. Made once for a deployment, not for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Longest output in tokens.
    pub max_output_tokens: Option<u64>,
    /// Words that `reasoning_effort` may have; empty when the map does not list them.
    pub efforts: Vec<String>,
    /// Bit per flag: the map has a word on it.
    known: u32,
    /// Bit per flag: it is true.
    set: u32,
}

impl Capabilities {
    /// Reads the fields of a price-map entry (`Price::info`), the deployment's own over it.
    pub fn of(fields: &Map<String, Value>) -> Self {
        let mut found = Self {
            max_output_tokens: fields.get("max_output_tokens").and_then(Value::as_u64),
            ..Self::default()
        };
        if let Some(Value::Array(levels)) = fields.get("reasoning_effort_levels") {
            let words = levels.iter().filter_map(Value::as_str);
            found.efforts = words.map(ToOwned::to_owned).collect();
        }
        for (flag, name) in FLAGS {
            if let Some(set) = fields.get(name).and_then(Value::as_bool) {
                found = found.with(flag, set);
            }
        }
        found
    }

    /// The same with one flag set or cleared.
    pub fn with(mut self, flag: Flag, set: bool) -> Self {
        let bit = 1 << flag as u8;
        self.known |= bit;
        self.set = self.set & !bit | u32::from(set) << flag as u8;
        self
    }

    /// True or false as the map says; `None` where it says nothing: such a model gets what was
    /// asked for, and its provider decides.
    pub fn get(&self, flag: Flag) -> Option<bool> {
        let bit = 1 << flag as u8;
        (self.known & bit != 0).then_some(self.set & bit != 0)
    }

    /// Known to be able.
    pub fn can(&self, flag: Flag) -> bool {
        self.get(flag) == Some(true)
    }

    /// Known not to be able.
    pub fn cannot(&self, flag: Flag) -> bool {
        self.get(flag) == Some(false)
    }

    /// Whether a word of `reasoning_effort` is known to be refused.
    pub fn refuses_effort(&self, word: &str) -> bool {
        if !self.efforts.is_empty() {
            return !self.efforts.iter().any(|effort| effort == word);
        }
        match word {
            "none" => self.cannot(Flag::EffortNone),
            "minimal" => self.cannot(Flag::EffortMinimal),
            "xhigh" => self.cannot(Flag::EffortXhigh),
            "max" => self.cannot(Flag::EffortMax),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flags_are_true_false_or_unknown() {
        let Value::Object(fields) = json!({
            "supports_sampling_params": false, "supports_vision": true,
            "max_output_tokens": 64000, "thinking_always_on": null,
        }) else {
            panic!("an object");
        };
        let found = Capabilities::of(&fields);
        assert!(found.cannot(Flag::Sampling) && found.can(Flag::Vision));
        assert_eq!(found.get(Flag::ThinkingAlwaysOn), None);
        assert_eq!(found.max_output_tokens, Some(64000));
        assert!(!found.refuses_effort("xhigh"));
        let listed = Capabilities {
            efforts: vec!["low".to_owned()],
            ..found
        };
        assert!(listed.refuses_effort("high") && !listed.refuses_effort("low"));
    }

    #[test]
    fn every_flag_has_one_bit_and_one_name() {
        for (at, (flag, name)) in FLAGS.iter().enumerate() {
            assert_eq!(*flag as usize, at, "{name}");
        }
    }
}
