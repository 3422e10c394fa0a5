//! What a caller can cause, and what a status says alone.

use super::*;

#[test]
fn bare_statuses_have_a_meaning() {
    use FailureClass::{Auth, Client, Overload, Quota, RateLimit, Server, Timeout};
    let cases = [
        (400, Client),
        (401, Auth),
        (402, Quota),
        (403, Auth),
        (404, Client),
        (408, Timeout),
        (409, Server),
        (413, Client),
        (422, Client),
        (429, RateLimit),
        (499, Server),
        (500, Server),
        (502, Server),
        (503, Overload),
        (504, Timeout),
        (529, Overload),
        (599, Server),
    ];
    for (status, class) in cases {
        for body in ["", "<html><title>no</title></html>", "{}"] {
            assert_eq!(
                judge(Provider::OpenAi, status, body).class,
                class,
                "{status} {body}"
            );
        }
    }
}

#[test]
fn what_a_caller_can_cause_is_nobodys_fault() {
    let credit = "your credit balance is too low";
    let cases = [
        (
            400,
            openai(
                "invalid_request_error",
                &format!("Invalid value: '{credit}'"),
            ),
        ),
        (
            400,
            anthropic(
                "invalid_request_error",
                &format!("{credit}: Extra inputs are not permitted"),
            ),
        ),
        (
            400,
            anthropic(
                "invalid_request_error",
                "messages.0: insufficient_quota overloaded_error 429",
            ),
        ),
        (
            413,
            anthropic("request_too_large", "Request exceeds the maximum size"),
        ),
        (
            429,
            openai(
                "tokens",
                "Request too large for gpt-4 on tokens per min (TPM): Limit 10, Requested 20.",
            ),
        ),
        (
            404,
            openai(
                "invalid_request_error",
                "This is a chat model, use another endpoint",
            ),
        ),
        (404, r#"{"detail":"Not Found"}"#.to_owned()),
        (404, anthropic("not_found_error", "File not found: file_1")),
        (
            403,
            openai(
                "PERMISSION_DENIED",
                "You do not have permission to access the File x",
            ),
        ),
    ];
    for (status, body) in cases {
        let verdict = judge(Provider::Anthropic, status, &body);
        assert_eq!(verdict.blame, Blame::Nobody, "{status} {body}: {verdict:?}");
    }
    for silence in [Silence::CallersDeadline, Silence::CallerGone] {
        assert_eq!(silence.verdict().blame, Blame::Nobody);
    }
}

#[test]
fn a_model_that_a_client_named_through_a_wildcard_is_its_own_mistake() {
    let complaint = || Complaint {
        message: "The model `gpt-99` does not exist".to_owned(),
        code: Some("model_not_found".to_owned()),
        ..Complaint::default()
    };
    let judged = |named_by_client| {
        let origin = Origin {
            provider: Provider::OpenAi,
            named_by_client,
        };
        of_complaint(origin, complaint(), 404, None, None).verdict
    };
    assert_eq!(judged(false).blame, Blame::Deployment);
    assert_eq!(judged(false).again, Again::Elsewhere);
    assert_eq!(judged(true), FailureClass::Client.verdict());
}

#[test]
fn only_a_wait_that_was_asked_for_is_passed_on() {
    let answer = ErrorAnswer {
        status: 429,
        retry_after: Some("7"),
        retry_after_ms: None,
        body: b"{}",
        provider: "",
    };
    let origin = Origin {
        provider: Provider::OpenAi,
        named_by_client: false,
    };
    let judged = of_answer(origin, &answer, None, WallMs(0));
    assert_eq!(judged.fault.error.retry_after_s, Some(7));
    assert_eq!(
        judged.fault.error.message,
        "litellm.RateLimitError: RateLimitError: OpenAIException - {}"
    );
}

#[test]
fn classes_and_verdicts_agree() {
    for class in FailureClass::ALL {
        let verdict = class.verdict();
        assert_eq!(verdict.class, class);
        let callers = matches!(
            class,
            FailureClass::Client
                | FailureClass::Cancelled
                | FailureClass::ContextWindow
                | FailureClass::ContentPolicy
        );
        assert_eq!(verdict.blame == Blame::Nobody, callers, "{class:?}");
        assert_eq!(
            class.policy_error().is_none(),
            class == FailureClass::Cancelled
        );
    }
}
