//! Chat completions and legacy completions.

use super::answer::{Turn, Usage, fragments, quoted, word};
use super::body::Body;

const CREATED: u64 = 1_700_000_000;

fn usage_json(usage: Usage) -> String {
    let Usage {
        prompt,
        completion,
        cached,
        cache_write: _,
        reasoning,
    } = usage;
    let total = prompt + completion;
    format!(
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\
         \"total_tokens\":{total},\"prompt_tokens_details\":{{\"cached_tokens\":{cached},\
         \"audio_tokens\":0}},\"completion_tokens_details\":{{\"reasoning_tokens\":{reasoning},\
         \"audio_tokens\":0}}}}"
    )
}

fn finish(turn: &Turn<'_>) -> &'static str {
    match (turn.calls.is_empty(), turn.cut_short) {
        (false, _) => "tool_calls",
        (true, true) => "length",
        (true, false) => "stop",
    }
}

fn call_json(turn: &Turn<'_>, index: usize, arguments: &str) -> String {
    let name = quoted(&turn.calls[index].name);
    format!(
        "{{\"index\":{index},\"id\":\"call_fake{}x{index}\",\"type\":\"function\",\
         \"function\":{{\"name\":{name},\"arguments\":{}}}}}",
        turn.seq,
        quoted(arguments)
    )
}

pub(crate) fn json(turn: &Turn<'_>) -> Body {
    let (seq, model) = (turn.seq, &turn.model);
    let mut message = String::from("{\"role\":\"assistant\",\"content\":");
    if turn.calls.is_empty() {
        message += &quoted(&turn.whole_text());
    } else {
        let call = |index: usize| call_json(turn, index, &turn.calls[index].arguments);
        let calls: Vec<String> = (0..turn.calls.len()).map(call).collect();
        message += &format!("null,\"tool_calls\":[{}]", calls.join(","));
    }
    if turn.reasoning > 0 {
        message += &format!(",\"reasoning_content\":{}", quoted(&turn.whole_reasoning()));
    }
    message += ",\"refusal\":null}";
    let usage = turn.reported(true).map_or(String::new(), |usage| {
        format!(",\"usage\":{}", usage_json(usage))
    });
    let text = format!(
        "{{\"id\":\"chatcmpl-fake{seq}\",\"object\":\"chat.completion\",\"created\":{CREATED},\
         \"model\":{model},\"choices\":[{{\"index\":0,\"message\":{message},\
         \"logprobs\":null,\"finish_reason\":\"{}\"}}]{usage},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_fake\"}}",
        finish(turn)
    );
    Body::whole(text.into_bytes(), turn.usage.completion as u32)
}

pub(crate) fn stream(turn: &Turn<'_>) -> Body {
    let mut body = Body::default();
    let reported = turn.reported(turn.ask.include_usage);
    let nulls = if reported.is_some() {
        ",\"usage\":null"
    } else {
        ""
    };
    let head = format!(
        "{{\"id\":\"chatcmpl-fake{}\",\"object\":\"chat.completion.chunk\",\
         \"created\":{CREATED},\"model\":{},\"system_fingerprint\":\"fp_fake\",\"choices\":[",
        turn.seq, turn.model
    );
    let mut delta = |tokens: u32, delta: &str, finish: &str| {
        body.event(
            tokens,
            format_args!(
                "{head}{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
                 \"finish_reason\":{finish}}}]{nulls}}}"
            ),
        );
    };
    delta(
        0,
        "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}",
        "null",
    );
    for index in 0..turn.reasoning {
        let text = word(index);
        delta(1, &format!("{{\"reasoning_content\":\"{text}\"}}"), "null");
    }
    let padding = turn.padding();
    for index in 0..turn.text {
        let text = word(index);
        delta(1, &format!("{{\"content\":\"{text}{padding}\"}}"), "null");
    }
    for (index, call) in turn.calls.iter().enumerate() {
        let first = call_json(turn, index, "");
        delta(0, &format!("{{\"tool_calls\":[{first}]}}"), "null");
        for fragment in fragments(&call.arguments) {
            let part = quoted(&fragment);
            let part = format!("{{\"index\":{index},\"function\":{{\"arguments\":{part}}}}}");
            delta(1, &format!("{{\"tool_calls\":[{part}]}}"), "null");
        }
    }
    delta(0, "{}", &quoted(finish(turn)));
    if let Some(usage) = reported {
        let usage = usage_json(usage);
        body.event(0, format_args!("{head}],\"usage\":{usage}}}"));
    }
    body.event(0, format_args!("[DONE]"));
    body
}

fn legacy_finish(turn: &Turn<'_>) -> &'static str {
    if turn.cut_short { "length" } else { "stop" }
}

pub(crate) fn legacy_json(turn: &Turn<'_>) -> Body {
    let text = quoted(&turn.whole_text());
    let usage = turn.reported(true).map_or(String::new(), |usage| {
        format!(",\"usage\":{}", usage_json(usage))
    });
    let json = format!(
        "{{\"id\":\"cmpl-fake{}\",\"object\":\"text_completion\",\"created\":{CREATED},\
         \"model\":{},\"choices\":[{{\"text\":{text},\"index\":0,\"logprobs\":null,\
         \"finish_reason\":\"{}\"}}]{usage}}}",
        turn.seq,
        turn.model,
        legacy_finish(turn)
    );
    Body::whole(json.into_bytes(), turn.usage.completion as u32)
}

pub(crate) fn legacy_stream(turn: &Turn<'_>) -> Body {
    let mut body = Body::default();
    let reported = turn.reported(turn.ask.include_usage);
    let nulls = if reported.is_some() {
        ",\"usage\":null"
    } else {
        ""
    };
    let head = format!(
        "{{\"id\":\"cmpl-fake{}\",\"object\":\"text_completion\",\"created\":{CREATED},\
         \"model\":{},\"choices\":[",
        turn.seq, turn.model
    );
    let last = quoted(legacy_finish(turn));
    for index in 0..=turn.text {
        let done = index == turn.text;
        let (text, finish) = if done {
            ("", last.as_str())
        } else {
            (word(index), "null")
        };
        body.event(
            u32::from(!done),
            format_args!(
                "{head}{{\"text\":\"{text}\",\"index\":0,\"logprobs\":null,\
                 \"finish_reason\":{finish}}}]{nulls}}}"
            ),
        );
    }
    if let Some(usage) = reported {
        let usage = usage_json(usage);
        body.event(0, format_args!("{head}],\"usage\":{usage}}}"));
    }
    body.event(0, format_args!("[DONE]"));
    body
}
