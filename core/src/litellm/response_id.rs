//! Ids of responses that LiteLLM gave out: they say which deployment made the response.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What such an id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LitellmResponseId {
    /// `model_info.id` of the deployment.
    pub deployment_id: String,
    /// The provider's own id.
    pub response_id: String,
}

/// Reads `resp_` and the base64 of `litellm:custom_llm_provider:P;model_id:D;response_id:R`. A
/// provider's own id is `None`.
pub fn read(id: &str) -> Option<LitellmResponseId> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let encoded = id.strip_prefix("resp_")?;
    let decoded = GeneralPurpose::new(&STANDARD, config)
        .decode(encoded)
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let facts = text.strip_prefix("litellm:")?;
    // The provider's id comes last and may hold anything.
    let (before, response_id) = facts.split_once(";response_id:")?;
    let deployment_id = before.split_once(";model_id:")?.1;
    let is_whole = !deployment_id.is_empty() && !response_id.is_empty();
    is_whole.then(|| LitellmResponseId {
        deployment_id: deployment_id.to_owned(),
        response_id: response_id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_STANDARD;

    #[test]
    fn litellms_ids_name_deployment_and_response_and_others_do_not() {
        let text = "litellm:custom_llm_provider:openai;model_id:d-1;response_id:resp_abc";
        let id = format!("resp_{}", BASE64_STANDARD.encode(text));
        let expected = LitellmResponseId {
            deployment_id: "d-1".to_owned(),
            response_id: "resp_abc".to_owned(),
        };
        assert_eq!(read(&id), Some(expected.clone()));
        assert_eq!(read(id.trim_end_matches('=')), Some(expected));
        for own in [
            "resp_68af4030baa48193b0b43b4c2a176a1a0e6967589f081e77",
            "resp_",
            "msg_1",
            "resp_bGl0ZWxsbTo=",
        ] {
            assert_eq!(read(own), None, "{own}");
        }
    }
}
