//! Whose model it is: Converse passes fields of one vendor's models in
//! `additionalModelRequestFields`, and other vendors' models refuse them.

use crate::translate::capability::{Capabilities, Flag};

/// Vendor of a model on Bedrock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Anthropic's.
    Claude,
    /// Amazon's own.
    Nova,
    /// OpenAI's open models.
    OpenAi,
    /// Another one.
    Other,
    /// The id does not tell: an application profile or provisioned throughput.
    Unknown,
}

impl Family {
    /// Reads the vendor's part of an id or ARN (`us.anthropic.claude-..`), which is not a pattern
    /// but how Bedrock makes its ids; where there is none, flags that only Claude has count.
    pub(super) fn of(model: &str, capabilities: &Capabilities) -> Self {
        let is_arn = model.starts_with("arn:");
        let id = model.rsplit('/').next().unwrap_or(model);
        for part in id.split('.').take(2) {
            match part {
                "anthropic" => return Self::Claude,
                "amazon" => return Self::Nova,
                "openai" => return Self::OpenAi,
                _ => {}
            }
        }
        let claudes = [Flag::AdaptiveThinking, Flag::LegacyThinking, Flag::Prefill];
        if claudes.iter().any(|flag| capabilities.get(*flag).is_some()) {
            return Self::Claude;
        }
        match is_arn || !id.contains('.') {
            true => Self::Unknown,
            false => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendor_is_read_from_ids_arns_and_flags() {
        let plain = Capabilities::default();
        let of = |model| Family::of(model, &plain);
        assert_eq!(of("us.anthropic.claude-sonnet-4-5-v1:0"), Family::Claude);
        assert_eq!(of("amazon.nova-lite-v1:0"), Family::Nova);
        assert_eq!(of("openai.gpt-oss-120b-1:0"), Family::OpenAi);
        assert_eq!(of("meta.llama4-scout-v1:0"), Family::Other);
        let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-x";
        assert_eq!(of(arn), Family::Claude);
        let profile = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc";
        assert_eq!(of(profile), Family::Unknown);
        let claude = Capabilities::default().with(Flag::AdaptiveThinking, true);
        assert_eq!(Family::of(profile, &claude), Family::Claude);
    }
}
