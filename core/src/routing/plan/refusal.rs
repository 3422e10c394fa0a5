//! What a client is told when no deployment gets its request.

use super::Refusal;
use crate::error::{GatewayError, UpstreamError};
use crate::time::MonoUs;

/// The request that was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The canonical path, e.g. `/chat/completions`.
    pub route: &'static str,
    /// What the client asked for.
    pub model: &'a str,
    /// Tags of the request.
    pub tags: &'a [String],
    /// Estimated length of the prompt in tokens.
    pub prompt_tokens: u64,
    /// Ids of the group's deployments, in the order of the candidates.
    pub ids: &'a [&'a str],
    /// What the budgets of the group's deployments say, if that is why it is refused.
    pub spent: Option<&'a GatewayError>,
    /// Now.
    pub now: MonoUs,
}

impl Refusal {
    /// The client's error.
    pub fn error(&self, request: &Refused<'_>) -> GatewayError {
        let model = request.model.to_owned();
        match self {
            Self::NotServed => GatewayError::EndpointNotServed {
                route: request.route,
                model,
            },
            Self::Region { allowed } => GatewayError::RegionNotAllowed {
                model,
                allowed: allowed.iter().cloned().collect(),
            },
            Self::Tags => GatewayError::TagsNotAllowed {
                model,
                tags: request.tags.to_vec(),
            },
            Self::PromptTooLong { max } => too_long(request.prompt_tokens, *max),
            Self::Budget => {
                let busy = || GatewayError::NoDeployment {
                    model,
                    cooling: Vec::new(),
                    retry_after_s: 1,
                };
                request.spent.cloned().unwrap_or_else(busy)
            }
            Self::Busy { until, cooling } => {
                let id = |index: &usize| request.ids.get(*index).map(|id| (*id).to_owned());
                let wait = until.since(request.now).as_secs_f64().ceil() as u64;
                GatewayError::NoDeployment {
                    model,
                    cooling: cooling.iter().filter_map(id).collect(),
                    retry_after_s: wait.max(1),
                }
            }
        }
    }
}

/// As a provider would say it: clients look for these words and shorten their prompt.
fn too_long(tokens: u64, max: u64) -> GatewayError {
    let message = format!(
        "litellm.ContextWindowExceededError: litellm.BadRequestError: \
         ContextWindowExceededError: prompt is too long: {tokens} tokens > {max} maximum"
    );
    GatewayError::Upstream(Box::new(UpstreamError {
        status: 400,
        message,
        kind: Some("invalid_request_error".to_owned()),
        param: None,
        code: Some("context_length_exceeded".to_owned()),
        retry_after_s: None,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_refusal_has_its_own_status_and_says_when_to_come_back() {
        let request = Refused {
            route: "/chat/completions",
            model: "m",
            tags: &[],
            prompt_tokens: 12,
            ids: &["a", "b"],
            spent: None,
            now: MonoUs(5),
        };
        let until = MonoUs(5).plus(Duration::from_millis(4_100));
        let allowed = [String::from("eu-west-1")].into();
        let cases = [
            (Refusal::NotServed, 400, None),
            (Refusal::Region { allowed }, 403, None),
            (Refusal::Tags, 401, None),
            (Refusal::PromptTooLong { max: 9 }, 400, None),
            (
                Refusal::Busy {
                    until,
                    cooling: vec![1],
                },
                429,
                Some(5),
            ),
        ];
        for (refusal, status, wait) in cases {
            let reply = refusal.error(&request).reply();
            assert_eq!(
                (reply.status, reply.retry_after_s),
                (status, wait),
                "{refusal:?}"
            );
        }
        let busy = Refusal::Busy {
            until,
            cooling: vec![1],
        }
        .error(&request);
        assert!(busy.to_string().ends_with("cooldown_list=['b']"));
        let long = Refusal::PromptTooLong { max: 9 }
            .error(&request)
            .to_string();
        assert!(long.contains("prompt is too long: 12 tokens > 9 maximum"));
    }
}
