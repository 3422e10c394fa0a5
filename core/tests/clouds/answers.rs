//! Recorded answers and streams in every caller's dialect.

use super::*;

const STREAMS: [(ProviderDialect, &str); 14] = [
    (Converse, "bedrock/converse_stream_text.bin"),
    (Converse, "bedrock/converse_stream_tools.bin"),
    (Converse, "bedrock/converse_stream_thinking.bin"),
    (Gemini, "gemini/stream_text.sse"),
    (Gemini, "gemini/stream_tools.sse"),
    (Gemini, "gemini/stream_tool_thought_signature.sse"),
    (Gemini, "gemini/agw_stream_tool.sse"),
    (Gemini, "gemini/web_search_stream.sse"),
    (Gemini, "gemini/vertex_flex_stream.sse"),
    (
        Gemini,
        "gemini/vercel_google-stream-tool-call-arguments.chunks.ndjson",
    ),
    (Cohere, "cohere/vercel_cohere-text.chunks.ndjson"),
    (Cohere, "cohere/vercel_cohere-tool-call.chunks.ndjson"),
    (Cohere, "cohere/vercel_cohere-empty-tool-call.chunks.ndjson"),
    (Cohere, "cohere/vercel_cohere-reasoning.chunks.ndjson"),
];

const CLIENTS: [ClientDialect; 3] = [Chat, Messages, Responses];

#[test]
fn streams_are_the_same_at_every_cut() {
    for (provider, name) in STREAMS {
        let bytes = fixture(name);
        for client in CLIENTS {
            let pair = pair(client, provider);
            let whole = stream(pair, &[&bytes]);
            assert_eq!(whole.1, Ending::Complete, "{name} {client:?}");
            assert!(!events(&whole.0).is_empty());
            // Every byte of short streams; of long ones every 17th, another one for each client.
            let step = if bytes.len() > 4_000 { 17 } else { 1 };
            for cut in (client as usize..bytes.len()).step_by(step) {
                let (left, right) = bytes.split_at(cut);
                assert!(
                    stream(pair, &[left, right]) == whole,
                    "{name} {client:?} cut at {cut}"
                );
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert!(
                stream(pair, &single) == whole,
                "{name} {client:?} byte by byte"
            );
        }
    }
}

/// Text, and (id, name, arguments) of calls, of a stream of chat chunks.
fn chat_of(bytes: &[u8]) -> (String, Vec<(String, String, String)>, Value) {
    let mut text = String::new();
    let mut calls: Vec<(String, String, String)> = Vec::new();
    let mut finish = Value::Null;
    for chunk in events(bytes) {
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        text.push_str(delta["content"].as_str().unwrap_or_default());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = call["index"].as_u64().unwrap() as usize;
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if at == calls.len() {
                let name = word(&call["function"]["name"]);
                calls.push((word(&call["id"]), name, String::new()));
            }
            calls[at].2.push_str(&word(&call["function"]["arguments"]));
        }
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    (text, calls, finish)
}

#[test]
fn chat_gets_texts_calls_and_consumption() {
    for (provider, name) in STREAMS {
        let (out, _) = stream(pair(Chat, provider), &[&fixture(name)]);
        let (text, calls, finish) = chat_of(&out);
        assert!(out.ends_with(b"data: [DONE]\n\n"), "{name}");
        assert!(!text.is_empty() || !calls.is_empty(), "{name}");
        let expected = if calls.is_empty() {
            "stop"
        } else {
            "tool_calls"
        };
        assert_eq!(finish, expected, "{name}");
        for (id, called, arguments) in &calls {
            assert!(!id.is_empty() && !called.is_empty(), "{name}");
            assert!(
                json_of(arguments.as_bytes()).is_object(),
                "{name}: {arguments}"
            );
        }
        let last = events(&out).pop().unwrap();
        let usage = &last["usage"];
        let total =
            usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
        assert!(total > 0 && usage["total_tokens"] == total, "{name}");
    }
}

#[test]
fn messages_get_the_grammar_of_anthropic() {
    for (provider, name) in STREAMS {
        let (out, _) = stream(pair(Messages, provider), &[&fixture(name)]);
        let mut open = None;
        let mut kinds = Vec::new();
        for event in events(&out) {
            let kind = event["type"].as_str().unwrap().to_owned();
            match kind.as_str() {
                "content_block_start" => {
                    assert_eq!(open, None, "{name}: blocks run one after the other");
                    open = Some(event["index"].clone());
                }
                "content_block_delta" => assert_eq!(open, Some(event["index"].clone())),
                "content_block_stop" => assert_eq!(open.take(), Some(event["index"].clone())),
                _ => {}
            }
            kinds.push(kind);
        }
        assert_eq!(
            kinds.first().map(String::as_str),
            Some("message_start"),
            "{name}"
        );
        assert_eq!(
            kinds.last().map(String::as_str),
            Some("message_stop"),
            "{name}"
        );
        assert!(
            kinds.contains(&"message_delta".to_owned()) && open.is_none(),
            "{name}"
        );
    }
}

#[test]
fn thoughts_and_their_proofs_reach_messages() {
    let bytes = fixture("bedrock/converse_stream_thinking.bin");
    let (out, _) = stream(pair(Messages, Converse), &[&bytes]);
    let events = events(&out);
    let delta = |kind: &str| {
        let mut found = events.iter().filter(|event| event["delta"]["type"] == kind);
        found.next().cloned()
    };
    let signature = delta("signature_delta").unwrap();
    assert!(
        signature["delta"]["signature"]
            .as_str()
            .unwrap()
            .starts_with("Eu0CCkgIBxABGAIq")
    );
    assert_eq!(delta("thinking_delta").unwrap()["delta"]["thinking"], "The");
    let usage = &events[events.len() - 2]["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"]),
        (&json!(36), &json!(73))
    );
}

#[test]
fn an_exception_inside_a_stream_is_an_error() {
    let mut bytes = fixture("bedrock/converse_stream_text.bin");
    bytes.truncate(u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize);
    let message = br#"{"message":"Too many tokens, please wait before trying again."}"#;
    write_exception("throttlingException", message, &mut bytes).unwrap();
    for client in CLIENTS {
        let mut stream = Stream::new(pair(client, Converse), reply()).unwrap();
        let mut out = Vec::new();
        let progress = stream.feed(&bytes, &mut out).unwrap();
        assert!(progress.error);
        assert_eq!(stream.finish(&mut out), Ending::ProviderError);
        let complaint = stream.facts().error.clone().unwrap();
        assert_eq!(
            (complaint.status(), complaint.kind.as_deref()),
            (429, Some("throttlingException"))
        );
    }
}

#[test]
fn a_cut_stream_is_never_called_complete() {
    for (provider, name) in STREAMS {
        let bytes = fixture(name);
        for end in [bytes.len() / 3, bytes.len() / 2] {
            let pair = pair(Chat, provider);
            let (out, ending) = stream(pair, &[&bytes[..end]]);
            assert!(
                matches!(ending, Ending::Cut | Ending::Empty),
                "{name} {ending:?}"
            );
            assert!(!String::from_utf8_lossy(&out).contains("[DONE]"), "{name}");
        }
    }
}

#[test]
fn damaged_frames_are_an_error_of_the_stream() {
    let bytes = fixture("bedrock/synthetic_bad_crc.bin");
    let mut stream = Stream::new(pair(Chat, Converse), reply()).unwrap();
    let error = stream.feed(&bytes, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("checksum"));
}

#[test]
fn whole_answers_reach_every_caller() {
    let answers = [
        (
            Converse,
            "bedrock/converse_thinking_sig.response.json",
            "Here are the basic steps",
        ),
        (
            Converse,
            "bedrock/converse_structured.response.json",
            "London",
        ),
        (
            Gemini,
            "gemini/vertex_text.response.json",
            "The capital of France is Paris.",
        ),
        (Gemini, "gemini/tools_structured.response.json", "London"),
        (
            Cohere,
            "cohere/chat_basic.response.json",
            "Hello! How can I assist you today?",
        ),
        (
            Cohere,
            "cohere/vercel_cohere-tool-call.json",
            "San Francisco",
        ),
    ];
    for (provider, name, text) in answers {
        for client in CLIENTS {
            let pair = pair(client, provider);
            let answer = meridian_core::translate::response(pair, &fixture(name), reply()).unwrap();
            let told = json_of(&answer.body).to_string();
            assert!(told.contains(text), "{name} {client:?}: {told}");
            assert!(answer.usage.is_some() && answer.facts.terminal, "{name}");
        }
    }
}

#[test]
fn a_blocked_prompt_is_a_filter_for_every_caller() {
    for name in [
        "gemini/agw_blocked.json",
        "gemini/vertex_model_armor_blocked.response.json",
    ] {
        let tell = |client| {
            let pair = pair(client, Gemini);
            let answer = meridian_core::translate::response(pair, &fixture(name), reply()).unwrap();
            json_of(&answer.body)
        };
        assert_eq!(tell(Chat)["choices"][0]["finish_reason"], "content_filter");
        assert_eq!(tell(Messages)["stop_reason"], "refusal");
    }
}
