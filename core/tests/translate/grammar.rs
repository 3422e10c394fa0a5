//! What each client dialect lets a stream look like, checked event by event.

use meridian_core::translate::ClientDialect;
use serde_json::Value;

/// One event: its name and its data.
pub(crate) struct Event {
    pub(crate) name: Option<String>,
    pub(crate) data: Value,
}

/// Events of a stream; `[DONE]` is a string.
pub(crate) fn events(stream: &[u8]) -> Vec<Event> {
    let text = std::str::from_utf8(stream).unwrap();
    assert!(
        text.is_empty() || text.ends_with("\n\n"),
        "whole events leave"
    );
    let mut found = Vec::new();
    for raw in text.split("\n\n").filter(|raw| !raw.is_empty()) {
        let mut event = Event {
            name: None,
            data: Value::Null,
        };
        for line in raw.lines() {
            if let Some(name) = line.strip_prefix("event: ") {
                event.name = Some(name.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.data = match data {
                    "[DONE]" => Value::from("[DONE]"),
                    data => {
                        serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))
                    }
                };
            } else {
                panic!("a line that is neither event nor data: {line}");
            }
        }
        found.push(event);
    }
    found
}

/// Fails unless the stream is one that the client's SDK takes. `whole`: it came to its end.
pub(crate) fn check(client: ClientDialect, stream: &[u8], whole: bool) {
    let events = events(stream);
    match client {
        ClientDialect::Chat => chat(&events, whole),
        ClientDialect::Messages => messages(&events, whole),
        ClientDialect::Responses => responses(&events, whole),
        ClientDialect::Embeddings | ClientDialect::Rerank => panic!("no streams"),
    }
}

fn chat(events: &[Event], whole: bool) {
    let mut known = std::collections::BTreeSet::new();
    let (mut begun, mut finished, mut done, mut failed) = (false, false, false, false);
    for event in events {
        assert!(!done && !failed, "nothing after the end");
        assert_eq!(event.name, None);
        if event.data == "[DONE]" {
            done = true;
            continue;
        }
        if event.data.get("error").is_some() {
            failed = true;
            continue;
        }
        assert_eq!(event.data["object"], "chat.completion.chunk");
        assert!(event.data["id"].as_str().unwrap().starts_with("chatcmpl-"));
        assert!(event.data["created"].is_u64() && event.data["model"].is_string());
        for choice in event.data["choices"].as_array().unwrap() {
            assert!(!finished, "no delta after a finish reason");
            let delta = choice["delta"].as_object().unwrap();
            if !begun {
                assert_eq!(delta["role"], "assistant");
            }
            begun = true;
            for call in delta
                .get("tool_calls")
                .into_iter()
                .flat_map(|list| list.as_array().unwrap())
            {
                let index = call["index"].as_u64().unwrap();
                if known.insert(index) {
                    assert!(!call["id"].as_str().unwrap().is_empty());
                    assert!(call["type"].is_string());
                    assert!(call.to_string().contains("\"name\""));
                }
                assert!(known.len() as u64 > index, "calls are numbered from zero");
            }
            finished |= choice["finish_reason"].is_string();
        }
    }
    assert_eq!(done, whole);
    assert!(!whole || finished);
}

fn messages(events: &[Event], whole: bool) {
    let (mut begun, mut stopped, mut failed) = (false, false, false);
    let mut open: Option<(u64, String)> = None;
    let mut next = 0;
    let mut delta_seen = false;
    for event in events {
        let data = &event.data;
        let kind = data["type"].as_str().unwrap();
        assert_eq!(event.name.as_deref(), Some(kind), "the SDK skips others");
        assert!(!stopped && !failed, "nothing after the end");
        match kind {
            "message_start" => {
                assert!(!begun);
                begun = true;
                let message = &data["message"];
                assert!(message["id"].as_str().unwrap().starts_with("msg_"));
                assert!(message["usage"]["input_tokens"].is_u64());
            }
            "content_block_start" => {
                assert!(
                    begun && open.is_none() && !delta_seen,
                    "blocks never interleave"
                );
                assert_eq!(data["index"], next);
                let block = &data["content_block"];
                open = Some((next, block["type"].as_str().unwrap().to_owned()));
                if block["type"] == "tool_use" {
                    assert!(block["input"].is_object());
                    assert!(!block["id"].as_str().unwrap().is_empty());
                    assert!(!block["name"].as_str().unwrap().is_empty());
                }
            }
            "content_block_delta" => {
                let (index, block) = open.as_ref().unwrap();
                assert_eq!(data["index"], *index);
                let fits = match data["delta"]["type"].as_str().unwrap() {
                    "text_delta" | "citations_delta" => "text",
                    "thinking_delta" | "signature_delta" => "thinking",
                    "input_json_delta" => "tool_use",
                    other => panic!("{other}"),
                };
                assert_eq!(block, fits);
            }
            "content_block_stop" => {
                assert_eq!(data["index"], open.take().unwrap().0);
                next += 1;
            }
            "message_delta" => {
                assert!(open.is_none());
                delta_seen = true;
                assert!(data["delta"]["stop_reason"].is_string());
                assert!(data["delta"].get("stop_sequence").is_some());
                assert!(data["usage"]["output_tokens"].is_u64());
            }
            "message_stop" => {
                assert!(delta_seen);
                stopped = true;
            }
            "error" => failed = true,
            "ping" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(stopped, whole);
}

fn responses(events: &[Event], whole: bool) {
    let mut texts: std::collections::BTreeMap<u64, String> = Default::default();
    let mut items: std::collections::BTreeMap<u64, Option<Value>> = Default::default();
    let mut terminal: Option<Value> = None;
    for (number, event) in events.iter().enumerate() {
        let data = &event.data;
        let kind = data["type"].as_str().unwrap();
        assert_eq!(event.name.as_deref(), Some(kind));
        assert_eq!(data["sequence_number"], number as u64);
        assert!(terminal.is_none(), "nothing after the end");
        let index = data["output_index"].as_u64();
        match kind {
            "response.created" => assert_eq!(number, 0),
            "response.output_item.added" => {
                assert!(items.insert(index.unwrap(), None).is_none());
                texts.insert(index.unwrap(), String::new());
            }
            "response.output_item.done" => {
                let item = items.get_mut(&index.unwrap()).unwrap();
                assert!(item.is_none());
                *item = Some(data["item"].clone());
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                assert!(whole || kind == "response.failed");
                terminal = Some(data["response"].clone());
            }
            _ if kind.ends_with(".delta") => {
                let text = texts.get_mut(&index.unwrap()).unwrap();
                text.push_str(data["delta"].as_str().unwrap());
                assert!(items[&index.unwrap()].is_none());
            }
            _ if kind.ends_with("_text.done") || kind.ends_with("arguments.done") => {
                let full = data.get("text").or_else(|| data.get("arguments")).unwrap();
                let text = &texts[&index.unwrap()];
                // Arguments without a delta are `{}`.
                assert!(full == text || (text.is_empty() && full == "{}"));
            }
            _ => {}
        }
    }
    let Some(terminal) = terminal else {
        assert!(!whole);
        return;
    };
    if whole {
        assert!(items.values().all(Option::is_some));
        let output = terminal["output"].as_array().unwrap();
        let done: Vec<_> = items.values().flatten().cloned().collect();
        assert_eq!(*output, done);
        assert!(
            terminal["usage"]["input_tokens"].is_u64(),
            "Codex wants usage"
        );
    }
}
