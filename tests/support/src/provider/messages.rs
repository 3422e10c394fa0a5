//! Anthropic messages.

use super::answer::{Turn, Usage, fragments, quoted, word};
use super::body::Body;

fn input_usage(usage: Usage) -> String {
    // Anthropic counts cached tokens beside the input tokens, not among them.
    let input = usage
        .prompt
        .saturating_sub(usage.cached + usage.cache_write);
    format!(
        "\"input_tokens\":{input},\"cache_creation_input_tokens\":{},\
         \"cache_read_input_tokens\":{},\"cache_creation\":{{\"ephemeral_5m_input_tokens\":{},\
         \"ephemeral_1h_input_tokens\":0}}",
        usage.cache_write, usage.cached, usage.cache_write
    )
}

fn stop_reason(turn: &Turn<'_>) -> &'static str {
    match (turn.calls.is_empty(), turn.cut_short) {
        (false, _) => "tool_use",
        (true, true) => "max_tokens",
        (true, false) => "end_turn",
    }
}

pub(crate) fn json(turn: &Turn<'_>) -> Body {
    let mut blocks = Vec::new();
    if turn.reasoning > 0 {
        let thinking = quoted(&turn.whole_reasoning());
        blocks.push(format!(
            "{{\"type\":\"thinking\",\"thinking\":{thinking},\"signature\":\"c2lnZmFrZQ==\"}}"
        ));
    }
    for (index, call) in turn.calls.iter().enumerate() {
        blocks.push(format!(
            "{{\"type\":\"tool_use\",\"id\":\"toolu_fake{}x{index}\",\"name\":{},\"input\":{}}}",
            turn.seq,
            quoted(&call.name),
            call.arguments
        ));
    }
    if turn.calls.is_empty() {
        let text = quoted(&turn.whole_text());
        blocks.push(format!("{{\"type\":\"text\",\"text\":{text}}}"));
    }
    let usage = turn.reported(true).map_or(String::new(), |usage| {
        let input = input_usage(usage);
        format!(
            ",\"usage\":{{{input},\"output_tokens\":{},\"service_tier\":\"standard\"}}",
            usage.completion
        )
    });
    let text = format!(
        "{{\"model\":{},\"id\":\"msg_fake{}\",\"type\":\"message\",\"role\":\"assistant\",\
         \"content\":[{}],\"stop_reason\":\"{}\",\"stop_sequence\":null{usage}}}",
        turn.model,
        turn.seq,
        blocks.join(","),
        stop_reason(turn)
    );
    Body::whole(text.into_bytes(), turn.usage.completion as u32)
}

pub(crate) fn stream(turn: &Turn<'_>) -> Body {
    let mut body = Body::default();
    let usage = turn.reported(true);
    let start = usage.map_or(String::new(), |usage| {
        let input = input_usage(usage);
        format!(",\"usage\":{{{input},\"output_tokens\":1,\"service_tier\":\"standard\"}}")
    });
    body.named(
        "message_start",
        0,
        format_args!(
            "{{\"type\":\"message_start\",\"message\":{{\"model\":{},\"id\":\"msg_fake{}\",\
             \"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\
             \"stop_sequence\":null{start}}}}}",
            turn.model, turn.seq
        ),
    );
    body.named("ping", 0, format_args!("{{\"type\": \"ping\"}}"));
    let index = thinking_block(&mut body, turn);
    if turn.calls.is_empty() {
        text_block(&mut body, turn, index);
    } else {
        tool_blocks(&mut body, turn, index);
    }
    let end = usage.map_or(String::new(), |usage| {
        let input = input_usage(usage);
        format!(
            ",\"usage\":{{{input},\"output_tokens\":{}}}",
            usage.completion
        )
    });
    body.named(
        "message_delta",
        0,
        format_args!(
            "{{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{}\",\
             \"stop_sequence\":null}}{end}}}",
            stop_reason(turn)
        ),
    );
    body.named(
        "message_stop",
        0,
        format_args!("{{\"type\":\"message_stop\"}}"),
    );
    body
}

fn start_block(body: &mut Body, index: usize, block: &str) {
    body.named(
        "content_block_start",
        0,
        format_args!(
            "{{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":{block}}}"
        ),
    );
}

fn delta(body: &mut Body, index: usize, tokens: u32, delta: &str) {
    body.named(
        "content_block_delta",
        tokens,
        format_args!("{{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{delta}}}"),
    );
}

fn stop_block(body: &mut Body, index: usize) {
    body.named(
        "content_block_stop",
        0,
        format_args!("{{\"type\":\"content_block_stop\",\"index\":{index}}}"),
    );
}

/// Writes the thinking block, if any, and returns the next block's index.
fn thinking_block(body: &mut Body, turn: &Turn<'_>) -> usize {
    if turn.reasoning == 0 {
        return 0;
    }
    start_block(
        body,
        0,
        "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}",
    );
    for token in 0..turn.reasoning {
        let text = word(token);
        delta(
            body,
            0,
            1,
            &format!("{{\"type\":\"thinking_delta\",\"thinking\":\"{text}\"}}"),
        );
    }
    let signature = "{\"type\":\"signature_delta\",\"signature\":\"c2lnZmFrZQ==\"}";
    delta(body, 0, 0, signature);
    stop_block(body, 0);
    1
}

fn text_block(body: &mut Body, turn: &Turn<'_>, index: usize) {
    start_block(body, index, "{\"type\":\"text\",\"text\":\"\"}");
    let padding = turn.padding();
    for token in 0..turn.text {
        let text = word(token);
        let text = format!("{{\"type\":\"text_delta\",\"text\":\"{text}{padding}\"}}");
        delta(body, index, 1, &text);
    }
    stop_block(body, index);
}

fn tool_blocks(body: &mut Body, turn: &Turn<'_>, first: usize) {
    for (offset, call) in turn.calls.iter().enumerate() {
        let index = first + offset;
        let block = format!(
            "{{\"type\":\"tool_use\",\"id\":\"toolu_fake{}x{offset}\",\"name\":{},\"input\":{{}}}}",
            turn.seq,
            quoted(&call.name)
        );
        start_block(body, index, &block);
        for fragment in fragments(&call.arguments) {
            let part = quoted(&fragment);
            let part = format!("{{\"type\":\"input_json_delta\",\"partial_json\":{part}}}");
            delta(body, index, 1, &part);
        }
        stop_block(body, index);
    }
}
