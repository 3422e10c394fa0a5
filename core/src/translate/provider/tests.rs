//! Recorded answers of Bedrock, Gemini and Cohere, as the pieces that clients' writers get.

use super::*;
use crate::translate::event::{Finish, Piece};
use crate::translate::prompt::Proof;
use crate::usage::{ServiceTier, Usage};
use crate::wire::event_stream::{Content, FRAME_BYTES_MAX, FrameReader};
use crate::wire::upstream_error::Complaint;

/// What was told, put together.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    starts: u32,
    id: String,
    model: String,
    text: String,
    thoughts: String,
    refusal: String,
    /// Kinds and lengths.
    proofs: Vec<(&'static str, usize)>,
    calls: Vec<Call>,
    finish: Option<(Finish, String)>,
    usage: Option<Usage>,
    tier: String,
    annotations: Vec<String>,
    citations: Vec<String>,
    logprobs: String,
    error: Option<Complaint>,
    /// Blocks of text or thoughts that have begun and not ended.
    open: bool,
    ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    signature: usize,
    ended: bool,
}

impl Sink for Told {
    fn take(&mut self, choice: u32, piece: Piece<'_>) {
        assert!(
            !self.ended && self.error.is_none(),
            "{piece:?} after the end"
        );
        assert!(self.starts > 0 || matches!(piece, Piece::Start { .. } | Piece::Error(_)));
        assert_eq!(choice, 0);
        match piece {
            Piece::Start { id, model } => {
                self.starts += 1;
                self.id = id.map_or(String::new(), |id| id.clear().into_owned());
                self.model = model.map_or(String::new(), |model| model.clear().into_owned());
            }
            Piece::Text(text) => {
                self.open = true;
                self.text.push_str(&text.clear());
            }
            Piece::Thinking(text) => {
                self.open = true;
                self.thoughts.push_str(&text.clear());
            }
            Piece::Refusal(text) => self.refusal.push_str(&text.clear()),
            Piece::Proof(proof) => {
                self.open = false;
                self.proofs.push(match proof {
                    Proof::None => ("none", 0),
                    Proof::Anthropic(text) => ("anthropic", text.clear().len()),
                    Proof::Redacted(text) => ("redacted", text.clear().len()),
                    Proof::OpenAi { .. } => ("openai", 0),
                    Proof::Gemini(text) => ("gemini", text.clear().len()),
                });
            }
            Piece::BlockEnd => self.open = false,
            Piece::CallStart {
                call,
                id,
                name,
                signature,
            } => {
                assert_eq!(call as usize, self.calls.len());
                assert!(!self.open, "a block runs on into a call");
                self.calls.push(Call {
                    id: id.clear().into_owned(),
                    name: name.clear().into_owned(),
                    signature: signature.map_or(0, |text| text.clear().len()),
                    ..Call::default()
                });
            }
            Piece::CallArguments { call, json } => {
                let call = &mut self.calls[call as usize];
                assert!(!call.ended);
                call.arguments.push_str(&json.clear());
            }
            Piece::CallEnd { call } => self.calls[call as usize].ended = true,
            Piece::Citation(value) => self.citations.push(text_of(value.raw)),
            Piece::Annotation(value) => self.annotations.push(text_of(value.raw)),
            Piece::Logprobs(value) => self.logprobs = text_of(value.raw),
            Piece::Usage(usage) => self.usage = Some(usage.clone()),
            Piece::Tier(tier) => self.tier = tier.clear().into_owned(),
            Piece::Finish { reason, native, .. } => {
                assert!(!self.open, "a block runs on behind the finish");
                assert!(self.calls.iter().all(|call| call.ended));
                self.finish = Some((reason, native.clear().into_owned()));
            }
            Piece::End => self.ended = true,
            Piece::Error(complaint) => self.error = Some(complaint.clone()),
            Piece::Block(_) | Piece::Image { .. } | Piece::Fingerprint(_) => {}
        }
    }
}

fn text_of(raw: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(raw).unwrap();
    String::from_utf8(raw.to_vec()).unwrap()
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn body(from: ProviderDialect, name: &str) -> Told {
    let mut told = Told::default();
    let mut reader = Reader::new(from).unwrap();
    reader.body(&fixture(name), &mut told).unwrap();
    told
}

/// Events of a recorded stream: frames, server-sent events, or one value on each line.
fn stream(from: ProviderDialect, name: &str) -> Told {
    let bytes = fixture(name);
    let mut told = Told::default();
    let mut reader = Reader::new(from).unwrap();
    if from == ProviderDialect::Converse {
        let mut frames = FrameReader::new(FRAME_BYTES_MAX);
        frames.feed(&bytes);
        while let Some(message) = frames.next_frame().unwrap() {
            let Content::Event { kind, payload } = message.content() else {
                panic!("an exception in {name}");
            };
            let event = Event {
                name: Some(kind.as_bytes()),
                data: Some(payload.into()),
            };
            reader.event(&event, &mut told).unwrap();
        }
    } else {
        for line in bytes.split(|byte| *byte == b'\n') {
            let data = line.strip_prefix(b"data: ").unwrap_or(line).trim_ascii();
            if !data.is_empty() {
                let event = Event {
                    name: None,
                    data: Some(data.into()),
                };
                reader.event(&event, &mut told).unwrap();
            }
        }
    }
    reader.finish(&mut told);
    assert_eq!(told.starts, 1, "{name}");
    told
}

fn counts(told: &Told) -> (u64, u64, u64, u64) {
    let usage = told.usage.as_ref().unwrap();
    (
        usage.prompt,
        usage.cache_read,
        usage.completion,
        usage.reasoning,
    )
}

use ProviderDialect::{Cohere, Converse, Gemini};

#[test]
fn converse_streams_are_told_whole() {
    let told = stream(Converse, "bedrock/converse_stream_text.bin");
    assert!(told.text.starts_with("The capital of France is Paris.") && told.text.len() == 371);
    assert_eq!(told.finish, Some((Finish::Stop, "end_turn".to_owned())));
    assert_eq!(counts(&told), (13, 0, 82, 0));
    assert!(told.ended);

    let told = stream(Converse, "bedrock/converse_stream_tools.bin");
    let call = Call {
        id: "tooluse_lAG_zP8QRHmSYOwZzzaCqA".to_owned(),
        name: "get_temperature".to_owned(),
        arguments: r#"{"city":"Paris"}"#.to_owned(),
        signature: 0,
        ended: true,
    };
    assert_eq!(told.calls, [call]);
    assert_eq!(told.finish, Some((Finish::Tools, "tool_use".to_owned())));

    let told = stream(Converse, "bedrock/converse_stream_thinking.bin");
    assert!(told.thoughts.starts_with("The user has greeted me") && !told.open);
    assert_eq!(
        told.text,
        "Hello! It's nice to meet you. How can I help you today?"
    );
    assert_eq!(told.proofs.len(), 1);
    assert!(told.proofs[0].0 == "anthropic" && told.proofs[0].1 > 400);
}

#[test]
fn converse_bodies_are_told_whole() {
    let told = body(Converse, "bedrock/converse_thinking_sig.response.json");
    assert!(
        told.thoughts
            .starts_with("This is a straightforward question")
    );
    assert_eq!(told.proofs[0].0, "anthropic");
    assert!(told.text.starts_with("Here are the basic steps"));
    let told = body(Converse, "bedrock/converse_cache_write.response.json");
    let usage = told.usage.unwrap();
    assert_eq!(
        (usage.prompt, usage.cache_write, usage.completion),
        (1324, 1322, 5)
    );
    let told = body(Converse, "bedrock/converse_cache_read.response.json");
    assert_eq!(counts(&told), (1324, 1322, 5, 0));
    let told = body(Converse, "bedrock/service_tier.response.json");
    assert_eq!(
        (told.tier.as_str(), told.finish.unwrap().0),
        ("flex", Finish::Length)
    );
    let told = body(Converse, "bedrock/converse_structured.response.json");
    let arguments: serde_json::Value = serde_json::from_str(&told.calls[0].arguments).unwrap();
    assert_eq!(arguments["city"], "London");
    let told = body(Converse, "bedrock/converse_guardrail.response.json");
    assert!(told.text.starts_with("The capital of France"));
}

#[test]
fn converse_tells_redacted_thoughts_citations_and_guardrails() {
    let mut told = Told::default();
    let answer = br#"{"output":{"message":{"role":"assistant","content":[
        {"reasoningContent":{"redactedContent":"AAEC"}},
        {"citationsContent":{"content":[{"text":"Grass is green."}],"citations":[
            {"title":"T","sourceContent":[{"text":"green"}],
             "location":{"documentPage":{"documentIndex":0,"start":1,"end":2}}}]}}]}},
        "stopReason":"guardrail_intervened",
        "additionalModelResponseFields":{"usage":{"output_tokens_details":{"thinking_tokens":7}}},
        "trace":{"promptRouter":{"invokedModelId":"arn:x/anthropic.claude"}},
        "usage":{"inputTokens":1,"outputTokens":9,"totalTokens":10,
            "cacheWriteInputTokens":5,"cacheDetails":[{"ttl":"1h","inputTokens":5}]}}"#;
    let mut reader = Reader::new(Converse).unwrap();
    reader.body(answer, &mut told).unwrap();
    assert_eq!(told.proofs, [("redacted", 4)]);
    assert_eq!(told.text, "Grass is green.");
    assert_eq!(
        told.citations,
        [
            r#"{"type":"page_location","document_index":0,"start_page_number":1,"end_page_number":2,"document_title":"T","cited_text":"green"}"#
        ]
    );
    assert_eq!(told.finish.as_ref().unwrap().0, Finish::Filter);
    assert_eq!(told.model, "arn:x/anthropic.claude");
    let usage = told.usage.unwrap();
    assert_eq!(
        (usage.prompt, usage.cache_write_1h, usage.reasoning),
        (6, 5, 7)
    );
}

#[test]
fn gemini_streams_are_told_whole() {
    let told = stream(Gemini, "gemini/stream_text.sse");
    assert_eq!(told.text, "The capital of France is Paris.\n");
    assert_eq!(told.finish, Some((Finish::Stop, "STOP".to_owned())));
    assert_eq!(counts(&told), (13, 0, 8, 0));
    assert_eq!(
        (told.id.as_str(), told.model.as_str()),
        ("w1peaMz6INOvnvgPgYfPiQY", "gemini-2.0-flash-exp")
    );

    let told = stream(Gemini, "gemini/stream_tool_thought_signature.sse");
    assert_eq!(
        (
            told.calls[0].name.as_str(),
            told.calls[0].arguments.as_str()
        ),
        ("get_country", "{}")
    );
    assert!(told.calls[0].signature > 1000 && told.calls[0].ended);
    assert_eq!(told.finish.as_ref().unwrap().0, Finish::Tools);
    assert_eq!(counts(&told), (29, 0, 212, 202));

    let told = stream(Gemini, "gemini/agw_stream_tool.sse");
    assert_eq!(told.calls[0].id, "fc_native");

    let told = stream(
        Gemini,
        "gemini/vercel_google-reasoning-gemini3.chunks.ndjson",
    );
    assert_eq!(told.proofs[0].0, "gemini");
    assert!(told.text.ends_with("St**r**awbe**rr**y") && told.ended);

    let told = stream(Gemini, "gemini/vertex_flex_stream.sse");
    assert_eq!((told.text.as_str(), told.proofs.len()), ("OK", 1));
    assert_eq!(told.usage.unwrap().tier, ServiceTier::Flex);
}

#[test]
fn gemini_arguments_that_come_in_pieces_are_put_together() {
    let name = "gemini/vercel_google-stream-tool-call-arguments.chunks.ndjson";
    let told = stream(Gemini, name);
    let arguments: Vec<_> = told
        .calls
        .iter()
        .map(|call| call.arguments.as_str())
        .collect();
    assert_eq!(
        arguments,
        [
            r#"{"location":"Boston"}"#,
            r#"{"location":"San Francisco"}"#
        ]
    );
    let name = "gemini/vercel_google-stream-no-args-tool-call.chunks.ndjson";
    let told = stream(Gemini, name);
    let calls: Vec<_> = told
        .calls
        .iter()
        .map(|call| (call.name.as_str(), call.arguments.as_str()))
        .collect();
    let expected = [
        ("read_theme", "{}"),
        ("read_screen", r#"{"id":"A"}"#),
        ("read_screen", r#"{"id":"B"}"#),
        ("read_screen", r#"{"id":"C"}"#),
    ];
    assert_eq!(calls, expected);
    assert!(told.thoughts.starts_with("**Processing User Requests**"));
    assert_eq!(counts(&told), (249, 0, 241, 183));
}

#[test]
fn gemini_searches_and_logprobs_are_told() {
    let told = stream(Gemini, "gemini/web_search_stream.sse");
    assert_eq!(
        told.annotations,
        [
            r#"{"type":"url_citation","url_citation":{"start_index":0,"end_index":37,"url":"https://ai.pydantic.dev","title":"Pydantic AI"}}"#
        ]
    );
    assert_eq!(counts(&told), (4642, 0, 62, 37));
    let told = body(Gemini, "gemini/vertex_logprobs.response.json");
    let list: serde_json::Value = serde_json::from_str(&told.logprobs).unwrap();
    assert_eq!(list[0]["token"], "Hello");
    assert_eq!(list[0]["logprob"], -1.0489701e-05);
    assert_eq!(list[0]["top_logprobs"][1]["bytes"], serde_json::json!([34]));
}

#[test]
fn gemini_that_says_nothing_says_why() {
    let finish = |name: &str| {
        let told = body(Gemini, name);
        assert!(told.ended, "{name}");
        let (reason, native) = told.finish.unwrap();
        (reason, native, told.refusal)
    };
    let blocked = finish("gemini/agw_blocked.json");
    assert_eq!(
        blocked,
        (Finish::Filter, "SAFETY".to_owned(), String::new())
    );
    let (reason, native, refusal) = finish("gemini/vertex_model_armor_blocked.response.json");
    assert_eq!((reason, native.as_str()), (Finish::Filter, "MODEL_ARMOR"));
    assert!(refusal.starts_with("The prompt violated"));
    let (reason, _, refusal) = finish("gemini/vertex_model_armor_resp_blocked.response.json");
    assert_eq!(reason, Finish::Filter);
    assert!(refusal.starts_with("The response violated"));
    assert_eq!(finish("gemini/safety.response.json").0, Finish::Filter);
    assert_eq!(
        finish("gemini/max_tokens_empty.response.json").0,
        Finish::Length
    );
    let told = body(Gemini, "gemini/max_tokens_empty.response.json");
    assert_eq!(counts(&told), (15, 0, 2, 2));
    let mut told = Told::default();
    let mut reader = Reader::new(Gemini).unwrap();
    let error = br#"[{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}]"#;
    reader.body(error, &mut told).unwrap();
    assert_eq!(told.error.unwrap().status(), 429);
}

#[test]
fn cohere_streams_are_told_whole() {
    let told = stream(Cohere, "cohere/vercel_cohere-text.chunks.ndjson");
    assert!(told.text.starts_with("The capital") && told.ended);
    assert_eq!(counts(&told), (507, 448, 10, 0));
    let told = stream(Cohere, "cohere/vercel_cohere-reasoning.chunks.ndjson");
    assert!(told.thoughts.starts_with("The user is") && told.text.ends_with('.'));
    let told = stream(Cohere, "cohere/vercel_cohere-tool-call.chunks.ndjson");
    assert_eq!(told.calls.len(), 2);
    for call in &told.calls {
        assert!(
            serde_json::from_str::<serde_json::Value>(&call.arguments)
                .unwrap()
                .is_object()
        );
    }
    assert!(told.thoughts.starts_with("I will use the"));
    assert_eq!(told.finish, Some((Finish::Tools, "TOOL_CALL".to_owned())));
    let told = stream(Cohere, "cohere/vercel_cohere-empty-tool-call.chunks.ndjson");
    assert_eq!(
        (told.calls[0].arguments.as_str(), told.calls[0].ended),
        ("", true)
    );
}

#[test]
fn cohere_bodies_are_told_whole() {
    let told = body(Cohere, "cohere/chat_basic.response.json");
    assert_eq!(told.text, "Hello! How can I assist you today?");
    assert_eq!(counts(&told), (496, 0, 11, 0));
    let told = body(Cohere, "cohere/chat_cached_tokens.response.json");
    assert_eq!(counts(&told), (2935, 2928, 4, 0));
    let told = body(Cohere, "cohere/chat_thinking.response.json");
    assert!(told.thoughts.starts_with("Okay, the user"));
    let told = body(Cohere, "cohere/vercel_cohere-null-args.json");
    assert_eq!(
        (told.calls[0].arguments.as_str(), told.calls[0].ended),
        ("", true)
    );
    let told = body(Cohere, "cohere/vercel_cohere-citations.json");
    assert_eq!(told.citations.len(), 3);
    assert!(told.citations[0].contains(r#""document_title":"benefits.txt""#));
    let told = body(Cohere, "cohere/vercel_cohere-max-tokens.json");
    assert_eq!(told.finish, Some((Finish::Length, "MAX_TOKENS".to_owned())));
}
