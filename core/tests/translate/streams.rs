//! Recorded streams in every other dialect: grammatical, and the same however they are cut.

use meridian_core::error::ErrorReply;
use meridian_core::relay::Ending;
use meridian_core::translate::{ClientDialect, Memo, Pair, ProviderDialect, Stream};

use crate::fixtures::{framed, pair, pairs, reply, streams, told};
use crate::grammar::{check, events};

fn with_usage() -> Memo {
    Memo {
        usage_chunk: true,
        ..Memo::default()
    }
}

#[test]
fn every_recording_is_told_in_the_grammar_of_the_client() {
    let mut told_count = 0;
    for pair in pairs() {
        for (name, bytes) in streams(pair.provider) {
            let (out, ending, stream) = told(pair, &bytes, with_usage());
            let whole = ending == Ending::Complete;
            let error = stream.facts().error.is_some();
            assert!(whole || error, "{name}: {ending:?}");
            check(pair.client, &out, whole);
            // One recorded server reports no usage at all.
            let silent = name.contains("compat_anthropic_fallback");
            assert!(!whole || silent || stream.usage().is_some(), "{name}");
            told_count += 1;
        }
    }
    assert!(told_count >= 34, "{told_count}");
}

#[test]
fn bytes_may_be_cut_anywhere() {
    for pair in pairs() {
        for (name, bytes) in streams(pair.provider) {
            let (whole, ending, _) = told(pair, &bytes, with_usage());
            // Every place of a short one. Of a long one many: the next test cuts everywhere.
            let step = bytes.len() / 400 + 1;
            let cuts = (1..bytes.len()).step_by(step);
            for at in cuts {
                let mut stream = Stream::new(pair, reply(with_usage())).unwrap();
                let mut out = Vec::new();
                stream.feed(&bytes[..at], &mut out).unwrap();
                stream.feed(&bytes[at..], &mut out).unwrap();
                assert_eq!(stream.finish(&mut out), ending, "{name} cut at {at}");
                assert!(out == whole, "{name} cut at {at}");
            }
        }
    }
}

#[test]
fn single_bytes_make_the_same_stream() {
    for pair in pairs() {
        for (name, bytes) in streams(pair.provider) {
            let (whole, ending, _) = told(pair, &bytes, with_usage());
            let mut stream = Stream::new(pair, reply(with_usage())).unwrap();
            let mut out = Vec::new();
            for byte in &bytes {
                stream.feed(&[*byte], &mut out).unwrap();
            }
            assert_eq!(stream.finish(&mut out), ending);
            assert!(out == whole, "{name}");
        }
    }
}

#[test]
fn a_stream_that_breaks_ends_in_an_error_and_not_as_a_whole_answer() {
    let error = ErrorReply {
        status: 502,
        kind: "upstream_error".to_owned(),
        param: None,
        message: "The provider closed the stream.".to_owned(),
        specific: None,
        retry_after_s: None,
    };
    for pair in pairs() {
        let (name, bytes) = streams(pair.provider).swap_remove(0);
        for part in [bytes.len() / 3, bytes.len() / 2] {
            let mut stream = Stream::new(pair, reply(Memo::default())).unwrap();
            let mut out = Vec::new();
            stream.feed(&bytes[..part], &mut out).unwrap();
            assert_eq!(stream.finish(&mut out), Ending::Cut, "{name}");
            stream.abort(&error, &mut out);
            check(pair.client, &out, false);
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("The provider closed the stream."));
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"));
        }
    }
}

#[test]
fn an_unreadable_event_is_not_left_out_in_silence() {
    for pair in pairs() {
        let mut stream = Stream::new(pair, reply(Memo::default())).unwrap();
        let mut out = Vec::new();
        assert!(stream.feed(b"data: {\"choices\": [\n\n", &mut out).is_err());
        assert_eq!(stream.facts().malformed, 1);
    }
}

/// What the events of one stream hold.
fn values(pair: Pair, provider: &[u8], memo: Memo) -> Vec<serde_json::Value> {
    let (out, ..) = told(pair, provider, memo);
    events(&out).into_iter().map(|event| event.data).collect()
}

#[test]
fn interleaved_calls_become_blocks_one_after_the_other() {
    let chunk = |calls: &str| {
        format!(
            r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{{"tool_calls":[{calls}]}}}}]}}"#
        )
    };
    let lines = [
        chunk(r#"{"index":0,"id":"a","function":{"name":"one","arguments":""}}"#),
        chunk(r#"{"index":1,"id":"b","function":{"name":"two","arguments":""}}"#),
        chunk(r#"{"index":0,"function":{"arguments":"{\"x\":"}}"#),
        chunk(r#"{"index":1,"function":{"arguments":"{\"y\":2}"}}"#),
        chunk(r#"{"index":0,"function":{"arguments":"1}"}}"#),
        chunk(r#"{"index":2,"id":"c","function":{"name":"three","arguments":""}}"#),
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#.to_owned(),
    ];
    let pair = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let stream = framed(lines.join("\n").as_bytes(), ProviderDialect::Chat);
    let (out, ending, _) = told(pair, &stream, Memo::default());
    assert_eq!(ending, Ending::Complete);
    check(ClientDialect::Messages, &out, true);
    let mut blocks = Vec::new();
    for event in events(&out) {
        if event.data["type"] == "content_block_start" {
            let name = event.data["content_block"]["name"].as_str().unwrap();
            blocks.push((name.to_owned(), String::new()));
        } else if let Some(json) = event.data["delta"]["partial_json"].as_str() {
            blocks.last_mut().unwrap().1.push_str(json);
        }
    }
    let expected = [("one", "{\"x\":1}"), ("two", "{\"y\":2}"), ("three", "")];
    let expected = expected.map(|(name, json)| (name.to_owned(), json.to_owned()));
    assert_eq!(blocks, expected);
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let lines = [
        r#"{"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":3}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_1","name":"now","input":{}}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":4}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let stream = framed(lines.join("\n").as_bytes(), ProviderDialect::Messages);
    let chat = pair(ClientDialect::Chat, ProviderDialect::Messages);
    let arguments: String = values(chat, &stream, Memo::default())
        .iter()
        .filter_map(|data| {
            data["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
        })
        .collect();
    assert_eq!(arguments, "{}");
    let responses = pair(ClientDialect::Responses, ProviderDialect::Messages);
    let events = values(responses, &stream, Memo::default());
    let last = events.last().unwrap();
    assert_eq!(last["response"]["output"][0]["arguments"], "{}");
}

#[test]
fn the_usage_chunk_comes_only_to_who_asked() {
    let chat = pair(ClientDialect::Chat, ProviderDialect::Messages);
    for (_, bytes) in streams(ProviderDialect::Messages) {
        let chunks = |memo| {
            let all = values(chat, &bytes, memo);
            let usage = all.iter().filter(|data| data["usage"].is_object());
            usage.count()
        };
        assert_eq!(chunks(Memo::default()), 0);
        assert_eq!(chunks(with_usage()), 1);
    }
}

#[test]
fn a_provider_error_in_a_stream_reaches_the_client_in_its_words() {
    let lines = [
        r#"{"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":3}}}"#,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
    ];
    let stream = framed(lines.join("\n").as_bytes(), ProviderDialect::Messages);
    let chat = pair(ClientDialect::Chat, ProviderDialect::Messages);
    let (out, ending, told) = told(chat, &stream, Memo::default());
    assert_eq!(ending, Ending::ProviderError);
    check(ClientDialect::Chat, &out, false);
    assert_eq!(told.facts().error.as_ref().unwrap().status(), 529);
    let last = events(&out).pop().unwrap().data;
    assert_eq!(last["error"]["message"], "Overloaded");
    assert_eq!(last["error"]["code"], "529");
}

#[test]
fn what_claude_may_not_name_comes_back_under_its_own_name() {
    let lines = [
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"sent_1","arguments":"{}"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
    ];
    let stream = framed(lines.join("\n").as_bytes(), ProviderDialect::Chat);
    let memo = Memo {
        names: vec![("sent_1".to_owned(), "mcp.server/tool".to_owned())],
        ..Memo::default()
    };
    let messages = pair(ClientDialect::Messages, ProviderDialect::Chat);
    let all = values(messages, &stream, memo);
    let start = all
        .iter()
        .find(|data| data["type"] == "content_block_start");
    assert_eq!(start.unwrap()["content_block"]["name"], "mcp.server/tool");
}
