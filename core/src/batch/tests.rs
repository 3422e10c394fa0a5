//! Batches, their output and their bills.

use serde_json::json;

use super::*;
use crate::money::NanoUsd;
use crate::price::{BillingPlace, PriceBook};
use crate::usage::ServiceTier;

fn line(model: &str, prompt: u64, completion: u64) -> String {
    json!({"id": "r", "custom_id": "c", "error": null, "response": {"status_code": 200, "body": {
        "id": "chatcmpl-1", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "a \"usage\": {\"prompt_tokens\": 9}"}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion}}}})
    .to_string()
}

fn read(line: &str) -> Line {
    Line::read(line.as_bytes(), Endpoint::ChatCompletions)
}

#[test]
fn a_batch_says_whether_it_is_over_and_where_its_output_lies() {
    let batch = |fields: serde_json::Value| Batch::read(fields.to_string().as_bytes());
    for status in [
        "validating",
        "in_progress",
        "finalizing",
        "cancelling",
        "new",
    ] {
        assert!(
            !batch(json!({"status": status})).unwrap().is_final,
            "{status}"
        );
        assert!(!is_over(json!({"status": status}).to_string().as_bytes()));
    }
    for status in ["completed", "failed", "expired", "cancelled"] {
        assert!(
            batch(json!({"status": status})).unwrap().is_final,
            "{status}"
        );
        assert!(is_over(json!({"status": status}).to_string().as_bytes()));
    }
    let whole = batch(json!({
        "id": "batch_1", "status": "completed", "endpoint": "/v1/embeddings", "model": "m",
        "output_file_id": "file-1", "error_file_id": null,
        "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 13}}));
    let usage = Usage {
        prompt: 10,
        cache_read: 4,
        completion: 3,
        reasoning: 1,
        ..Usage::default()
    };
    assert_eq!(
        whole,
        Some(Batch {
            is_final: true,
            endpoint: Endpoint::Embeddings,
            model: Some("m".to_owned()),
            usage: Some(usage),
            output: Output::File("file-1".to_owned()),
        })
    );
    // Zeros say nothing, and a name that would lead elsewhere is none.
    let odd = batch(json!({"status": "expired", "usage": {"input_tokens": 0},
        "output_file_id": "../keys", "endpoint": "/v2/x"}));
    let odd = odd.unwrap();
    assert_eq!((odd.usage, odd.output), (None, Output::Unusable));
    assert_eq!(odd.endpoint, Endpoint::ChatCompletions);
    assert!(batch(json!({"error": {"message": "no"}})).is_none());
    assert!(Batch::read(b"[").is_none());
}

#[test]
fn an_output_that_cannot_be_asked_for_is_not_none() {
    let batch = |fields: serde_json::Value| Batch::read(fields.to_string().as_bytes());
    let output = |id: serde_json::Value| {
        let batch = batch(json!({"status": "completed", "output_file_id": id}));
        batch.unwrap().output
    };
    for none in [json!(null), json!("")] {
        assert_eq!(output(none), Output::None);
    }
    assert_eq!(
        batch(json!({"status": "failed"})).unwrap().output,
        Output::None
    );
    let long = "a".repeat(1_024);
    for (id, path) in [("Zm9v+/==", "Zm9v%2B%2F%3D%3D"), (&long, &long)] {
        assert_eq!(output(json!(id)), Output::File(path.to_owned()));
    }
    for unusable in [json!(7), json!("a b"), json!("a?b"), json!(long + "a")] {
        assert_eq!(output(unusable), Output::Unusable);
    }
}

#[test]
fn a_line_is_what_its_answer_used() {
    let usage = Usage {
        prompt: 7,
        completion: 2,
        tier: ServiceTier::Batch,
        ..Usage::default()
    };
    let used = Line::Used {
        model: "m".to_owned(),
        usage,
        estimated: false,
    };
    assert_eq!(read(&line("m", 7, 2)), used);
    let free = [
        "",
        " \r",
        r#"{"id":"r","response":null,"error":{"code":"batch_expired","message":"x"}}"#,
        r#"{"response":{"status_code":400,"body":{"error":{"message":"no"}}},"error":null}"#,
        r#"{"response":{"status_code":200,"body":{"error":{"message":"no"}}},"error":null}"#,
    ];
    for text in free {
        assert_eq!(read(text), Line::Free, "{text}");
    }
    for text in ["{", "[]", "{}", r#"{"response":{"status_code":200}}"#] {
        assert_eq!(read(text), Line::Unreadable, "{text}");
    }
    let silent = r#"{"response":{"status_code":200,"body":{"model":"m","choices":[{"index":0,
        "message":{"content":"some words that were written"}}]}}}"#;
    let Line::Used {
        usage, estimated, ..
    } = read(silent)
    else {
        panic!("an answer without usage was used all the same")
    };
    assert!(estimated && usage.completion > 0, "{usage:?}");
}

#[test]
fn embeddings_and_responses_are_read_by_their_own_shape() {
    let body = r#"{"response":{"status_code":200,"body":{"object":"list","model":"e","data":[],
        "usage":{"prompt_tokens":5,"total_tokens":5}}}}"#;
    let Line::Used { usage, .. } = Line::read(body.as_bytes(), Endpoint::Embeddings) else {
        panic!("embeddings")
    };
    assert_eq!((usage.prompt, usage.completion), (5, 0));
    let body = r#"{"response":{"status_code":200,"body":{"object":"response","model":"e",
        "status":"completed","output":[],"usage":{"input_tokens":5,"output_tokens":6,
        "input_tokens_details":{"cached_tokens":3},"total_tokens":11}}}}"#;
    let Line::Used { usage, .. } = Line::read(body.as_bytes(), Endpoint::Responses) else {
        panic!("responses")
    };
    assert_eq!(
        (usage.prompt, usage.cache_read, usage.completion),
        (5, 3, 6)
    );
}

#[test]
fn lines_come_whole_however_they_are_cut_and_a_long_one_is_passed_over() {
    let text = b"one\n\ntwo\r\nfar too long a line\nthree";
    for size in 1..=text.len() {
        let mut lines = Lines::new(8);
        let mut seen: Vec<Option<Vec<u8>>> = Vec::new();
        let mut each = |cut: Cut<'_>| {
            seen.push(match cut {
                Cut::Whole(line) => Some(line.to_vec()),
                Cut::TooLong => None,
            });
        };
        for piece in text.chunks(size) {
            lines.push(piece, &mut each);
            assert!(lines.held() <= 8);
        }
        lines.end(&mut each);
        let expected: [Option<&[u8]>; 5] = [
            Some(b"one"),
            Some(b""),
            Some(b"two\r"),
            None,
            Some(b"three"),
        ];
        assert_eq!(
            seen,
            expected.map(|line| line.map(<[u8]>::to_vec)),
            "{size}"
        );
    }
}

fn book() -> PriceBook {
    PriceBook::from_json(
        br#"{"openai/own": {"litellm_provider": "openai", "mode": "chat",
            "input_cost_per_token": 4e-6, "output_cost_per_token": 8e-6,
            "input_cost_per_token_batches": 1e-6, "output_cost_per_token_batches": 3e-6},
        "openai/half": {"litellm_provider": "openai", "mode": "chat",
            "input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7},
        "openai/steps": {"litellm_provider": "openai", "mode": "chat",
            "input_cost_per_token": 2e-6, "input_cost_per_token_above_200k_tokens": 4e-6,
            "output_cost_per_token": 1e-5}}"#,
    )
    .unwrap()
}

#[test]
fn each_line_is_priced_by_itself_at_the_batch_price_of_its_model() {
    let book = book();
    let mut tally = Tally::default();
    let models = ["own", "half", "own", "steps", "steps", "nobody-knows"];
    let prompts = [100, 1_001, 10, 150_000, 250_000, 5];
    for (model, prompt) in models.iter().zip(prompts) {
        tally.add(read(&line(model, prompt, 1)), |name| {
            let price = book.find("openai", name, None);
            let price = price.map(|price| &*Box::leak(Box::new(price)));
            Priced {
                model_group: if name == "own" { "public" } else { "" },
                price: price.map(|price| &**price),
                place: BillingPlace::default(),
            }
        });
    }
    tally.add(Line::Free, |_| unreachable!());
    let parts = tally.parts();
    let costs: Vec<(&str, i64, bool)> = parts
        .iter()
        .map(|part| (part.model.as_str(), part.cost.0, part.price_unknown))
        .collect();
    // Half of 150 and 600 nano-dollars; of 2,000 below and 4,000 above 200,000 tokens.
    let steps = 150_000 * 1_000 + 250_000 * 2_000 + 2 * 5_000;
    let expected = [
        ("half", 1_001 * 75 + 300, false),
        ("nobody-knows", 0, true),
        ("own", 110 * 1_000 + 2 * 3_000, false),
        ("steps", steps, false),
    ];
    assert_eq!(costs, expected);
    assert_eq!((parts[2].requests, parts[2].usage.prompt), (2, 110));
    assert_eq!(parts[2].model_group, "public");
    assert!(parts.iter().all(|part| !part.estimated));
}

#[test]
fn what_cannot_be_read_makes_the_bill_an_estimate() {
    let mut tally = Tally::default();
    let unknown = |_: &str| Priced {
        model_group: "",
        price: None,
        place: BillingPlace::default(),
    };
    tally.add(read(&line("m", 1, 1)), unknown);
    tally.add(Line::Unreadable, unknown);
    assert_eq!(tally.unread(), 1);
    assert!(tally.parts().iter().all(|part| part.estimated));
}

#[test]
fn a_price_with_steps_or_a_fee_is_one_by_request() {
    let book = book();
    let is_by_request = |name| book.find("openai", name, None).unwrap().is_by_request();
    assert_eq!(
        ["own", "half", "steps"].map(is_by_request),
        [false, false, true]
    );
}

#[test]
fn whoever_bills_a_batch_makes_the_same_records() {
    let made = json!({
        "call_id": "0190b6e2-0000-7000-8000-000000000001", "endpoint": "batches",
        "response_id": "batch_1", "payer": {"team_id": "t", "end_user": "c"}, "model_group": "",
        "deployment_id": "d1", "provider": "openai", "started": 5, "ended": 6, "usage": {},
        "cost": 0, "end_reason": "complete", "status": 200, "attempts": 1,
        "context": {"tags": ["a"], "batch": "made"},
    });
    let made: SpendRecord = serde_json::from_value(made).unwrap();
    let part = |model: &str, cost| Part {
        model: model.to_owned(),
        model_group: format!("our-{model}"),
        cost: NanoUsd(cost),
        requests: 1,
        ..Part::default()
    };
    let parts = vec![part("a", 7), part("b", 9)];
    let bills = bill(&made, parts.clone(), WallMs(1_000));
    let again = bill(&made, parts.clone(), WallMs(2_000));
    let ids = |bills: &[SpendRecord]| bills.iter().map(|one| one.call_id).collect::<Vec<_>>();
    assert_eq!(ids(&bills), ids(&again));
    assert_ne!(bills[0].call_id, bills[1].call_id);
    let mut elsewhere = made.clone();
    elsewhere.deployment_id = "d2".to_owned();
    assert_ne!(ids(&bill(&elsewhere, parts, WallMs(1_000))), ids(&bills));
    let first = &bills[0];
    assert_eq!(first.payer, made.payer);
    assert_eq!(first.context.tags, ["a"]);
    assert_eq!(first.context.batch, Some(Step::Used));
    assert_eq!((first.cost, first.started), (NanoUsd(7), WallMs(1_000)));
    assert_eq!(
        (first.model_group.as_str(), first.model.as_str()),
        ("our-a", "a")
    );
    assert_eq!(first.response_id.as_deref(), Some("batch_1"));
    let kept = serde_json::to_string(first).unwrap();
    assert_eq!(serde_json::from_str::<SpendRecord>(&kept).unwrap(), *first);
}

fn requests(body: &str) -> Result<Requests, String> {
    let spans = crate::wire::span::BodySpans::scan(body.as_bytes()).unwrap();
    Requests::read(body.as_bytes(), &spans).map_err(|error| error.to_string())
}

#[test]
fn the_requests_of_a_message_batch_get_the_names_of_their_provider() {
    let body = r#"{"a":1,"requests":[ {"custom_id":"1","params":{"model":"m","x":{"model":"no"}}},
        {"params":{"max_tokens":1,"model":"\u006e"},"custom_id":"2"},{"params":{"model":"m"}}]}"#;
    let read = requests(body).unwrap();
    assert_eq!(read.models(), ["m", "n"]);
    let names = ["m-1".to_owned(), "a\"b".to_owned()];
    let renamed = read.renamed(body.as_bytes(), &names);
    assert!(renamed.len() as u64 <= read.renamed_bytes(&names));
    let list = r#"[ {"custom_id":"1","params":{"model":"m-1","x":{"model":"no"}}},
        {"params":{"max_tokens":1,"model":"a\"b"},"custom_id":"2"},{"params":{"model":"m-1"}}]"#;
    assert_eq!(String::from_utf8(renamed).unwrap(), list);
}

#[test]
fn what_two_readers_may_understand_differently_makes_no_message_batch() {
    for (body, says) in [
        (r#"{}"#, "'requests' must be there once"),
        (
            r#"{"requests":[],"requests":[{"params":{"model":"m"}}]}"#,
            "'requests' must be there once",
        ),
        (r#"{"requests":{}}"#, "'requests' must be there once"),
        (r#"{"requests":[]}"#, "'requests' is empty"),
        (r#"{"requests":[7]}"#, "'requests[0]' must be an object"),
        (r#"{"requests":[{}]}"#, "'requests[0].params' is missing"),
        (
            r#"{"requests":[{"params":[]}]}"#,
            "'requests[0].params' must be an object",
        ),
        (
            r#"{"requests":[{"params":{"model":7}}]}"#,
            "'requests[0].params.model' must be the name",
        ),
        (
            r#"{"requests":[{"params":{"model":""}}]}"#,
            "'requests[0].params.model' must be the name",
        ),
        (
            r#"{"requests":[{"params":{"model":"m"}},{"params":{"model":"m","mode\u006c":"n"}}]}"#,
            "'requests[1].params.model' is there twice",
        ),
        (
            r#"{"requests":[{"params":{"model":"m"},"params":{"model":"n"}}]}"#,
            "'requests[0].params' is there twice",
        ),
    ] {
        let refused = requests(body).unwrap_err();
        assert!(refused.contains(says), "{body}: {refused}");
    }
    let models: Vec<String> = (0..=MODELS_MAX)
        .map(|number| format!(r#"{{"params":{{"model":"m{number}"}}}}"#))
        .collect();
    let most = format!(r#"{{"requests":[{}]}}"#, models[1..].join(","));
    assert_eq!(requests(&most).unwrap().models().len(), MODELS_MAX);
    let more = format!(r#"{{"requests":[{}]}}"#, models.join(","));
    assert!(requests(&more).unwrap_err().contains("64 models"));
}

#[test]
fn a_message_batch_says_how_it_stands() {
    let batch = |status: &str, succeeded: u32| {
        let body = format!(
            r#"{{"id":"b","processing_status":"{status}","request_counts":{{"succeeded":{succeeded}}}}}"#
        );
        (
            MessageBatch::read(body.as_bytes()).unwrap(),
            is_over(body.as_bytes()),
        )
    };
    let state = |is_over, was_used| MessageBatch { is_over, was_used };
    assert_eq!(batch("in_progress", 0), (state(false, false), false));
    assert_eq!(batch("canceling", 1), (state(false, true), false));
    assert_eq!(batch("ended", 0), (state(true, false), true));
    assert_eq!(batch("ended", 3), (state(true, true), true));
    assert_eq!(MessageBatch::read(b"{}"), None);
    let unsaid = br#"{"processing_status":"ended"}"#;
    assert!(MessageBatch::read(unsaid).unwrap().was_used);
}

#[test]
fn results_of_message_batches_are_with_whoever_tells_of_them() {
    let url = "https://api.anthropic.com/v1/messages/batches/b/results";
    let one = format!(r#"{{"id":"b","results_url":"{url}","x":"{url}"}}"#);
    let own = one.replacen("https://api.anthropic.com", "", 1);
    assert_eq!(with_own_results(one.as_bytes()).unwrap(), own.as_bytes());
    assert_eq!(with_own_results(own.as_bytes()), None);
    let list = format!(r#"{{"data":[{one},{{"results_url":null}},{one}]}}"#);
    let owns = format!(r#"{{"data":[{own},{{"results_url":null}},{own}]}}"#);
    assert_eq!(with_own_results(list.as_bytes()).unwrap(), owns.as_bytes());
    for other in [
        "",
        "[]",
        r#"{"results_url":7}"#,
        r#"{"results_url":"https://x.test/y"}"#,
    ] {
        assert_eq!(with_own_results(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn results_of_a_message_batch_are_read_line_by_line() {
    let message = r#"{"custom_id":"1","result":{"type":"succeeded","message":{"id":"m","type":"message",
        "role":"assistant","model":"claude-x","content":[{"type":"text","text":"hi"}],
        "stop_reason":"end_turn","usage":{"input_tokens":7,"cache_read_input_tokens":2,
        "cache_creation_input_tokens":0,"output_tokens":3,"service_tier":"batch"}}}}"#;
    let Line::Used {
        model,
        usage,
        estimated,
    } = Line::read_message(message.as_bytes())
    else {
        panic!("it was used")
    };
    assert_eq!((model.as_str(), estimated), ("claude-x", false));
    assert_eq!((usage.prompt, usage.completion), (9, 3));
    assert_eq!(usage.tier, ServiceTier::Batch);
    for free in [
        "",
        "  ",
        r#"{"result":{"type":"errored"}}"#,
        r#"{"result":{"type":"canceled"}}"#,
        r#"{"result":{"type":"expired"}}"#,
    ] {
        assert_eq!(Line::read_message(free.as_bytes()), Line::Free, "{free}");
    }
    for unread in [
        "x",
        "{}",
        r#"{"result":{"type":"new"}}"#,
        r#"{"result":{"type":"succeeded"}}"#,
    ] {
        assert_eq!(
            Line::read_message(unread.as_bytes()),
            Line::Unreadable,
            "{unread}"
        );
    }
}
