//! Chat completions streams.

use crate::endpoint::Dialect;
use crate::error::ErrorReply;
use crate::translate::client::chat::{citation, finish_word};
use crate::translate::client::error_reply;
use crate::translate::context::Reply;
use crate::translate::emit::Emit;
use crate::translate::event::{Finish, Piece};
use crate::translate::prompt::Proof;
use crate::translate::proof;
use crate::translate::text::Text;
use crate::translate::usage_out;
use crate::usage::Usage;
use crate::wire::json::Value;

/// Writes one stream.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
    reply: Reply,
    /// Everything of a chunk up to the number of the choice.
    prefix: Vec<u8>,
    /// Bit per choice whose role has been told.
    begun: u64,
    calls: Vec<Call>,
    usage: Option<Usage>,
    fingerprint: Option<String>,
    tier: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Call {
    custom: bool,
    /// A piece of its arguments has been told.
    told: bool,
}

impl Writer {
    pub(crate) fn new(reply: Reply) -> Self {
        Self {
            out: Vec::new(),
            reply,
            prefix: Vec::new(),
            begun: 0,
            calls: Vec::new(),
            usage: None,
            fingerprint: None,
            tier: None,
        }
    }

    pub(crate) fn take(&mut self, choice: u32, piece: Piece<'_>) {
        match piece {
            Piece::Start { model, .. } => self.start(model),
            Piece::Text(text) => self.delta(choice, |emit| {
                emit.name("content").text(&text);
            }),
            Piece::Refusal(text) => self.delta(choice, |emit| {
                emit.name("refusal").text(&text);
            }),
            Piece::Thinking(text) => self.delta(choice, |emit| thought(emit, &text)),
            Piece::Proof(proof) => self.delta(choice, |emit| proven(emit, &proof)),
            Piece::CallStart {
                call,
                id,
                name,
                signature,
            } => {
                self.call(choice, call, &id, &name, signature);
            }
            Piece::CallArguments { call, json } => self.arguments(choice, call, &json),
            Piece::CallEnd { call } => {
                let known = self.calls.get(call as usize).copied();
                if known.is_some_and(|call| !call.told && !call.custom) {
                    self.arguments(choice, call, &Text::plain("{}"));
                }
            }
            Piece::Citation(value) => self.delta(choice, |emit| {
                emit.name("provider_specific_fields").open();
                emit.name("citation").raw(value.raw).close();
                citation(emit, value);
            }),
            Piece::Annotation(value) => self.delta(choice, |emit| {
                emit.name("annotations").open_list();
                emit.raw(value.raw).close_list();
            }),
            Piece::Block(value) => self.delta(choice, |emit| {
                emit.name("provider_specific_fields").open();
                emit.name("server_tool_blocks").open_list();
                emit.raw(value.raw).close_list().close();
            }),
            Piece::Image { media, data } => self.delta(choice, |emit| {
                image(emit, &media, &data);
            }),
            Piece::Logprobs(value) => self.logprobs(choice, value),
            Piece::Usage(usage) => self.usage = Some(usage.clone()),
            Piece::Tier(tier) => self.tier = Some(tier.clear().into_owned()),
            Piece::Fingerprint(text) => self.fingerprint = Some(text.clear().into_owned()),
            Piece::Finish {
                reason,
                native,
                sequence,
                details,
            } => {
                self.finish(choice, reason, &native, sequence.as_ref(), details);
            }
            Piece::End => self.end(),
            Piece::Error(complaint) => self.abort(&error_reply(complaint)),
            Piece::BlockEnd => {}
        }
    }

    fn start(&mut self, model: Option<Text<'_>>) {
        if !self.prefix.is_empty() {
            return;
        }
        let id = self.reply.id("chatcmpl-", 0);
        let mut emit = Emit::new(&mut self.prefix);
        emit.open().name("id").string(&id);
        emit.name("object").string("chat.completion.chunk");
        emit.name("created").count(self.reply.created_s);
        emit.name("model");
        match (self.reply.model.is_empty(), model) {
            (true, Some(model)) => emit.text(&model),
            _ => emit.string(&self.reply.model),
        };
    }

    /// Begins a chunk: everything before `choices`.
    fn open(&mut self) {
        if self.prefix.is_empty() {
            self.start(None);
        }
        self.out.extend_from_slice(b"data: ");
        self.out.extend_from_slice(&self.prefix);
    }

    fn delta(&mut self, choice: u32, members: impl FnOnce(&mut Emit<'_>)) {
        self.open();
        let bit = 1_u64 << choice.min(63);
        let first = self.begun & bit == 0;
        self.begun |= bit;
        let mut emit = Emit::new(&mut self.out);
        emit.name("choices")
            .raw(b"[{\"index\":")
            .count(u64::from(choice));
        emit.name("delta").open();
        if first {
            emit.name("role").string("assistant");
        }
        members(&mut emit);
        self.out
            .extend_from_slice(b"},\"finish_reason\":null}]}\n\n");
    }

    fn logprobs(&mut self, choice: u32, value: Value<'_>) {
        self.open();
        let mut emit = Emit::new(&mut self.out);
        emit.name("choices")
            .raw(b"[{\"index\":")
            .count(u64::from(choice));
        emit.name("delta").open().close();
        emit.name("logprobs").open();
        emit.name("content").raw(value.raw).close();
        self.out
            .extend_from_slice(b",\"finish_reason\":null}]}\n\n");
    }

    fn call(
        &mut self,
        choice: u32,
        call: u32,
        id: &Text<'_>,
        name: &Text<'_>,
        signature: Option<Text<'_>>,
    ) {
        let at = call as usize;
        if self.calls.len() <= at {
            self.calls.resize(at + 1, Call::default());
        }
        let custom = {
            let clear = name.clear();
            self.reply
                .memo
                .custom_tools
                .iter()
                .any(|own| *own == *clear)
        };
        self.calls[at].custom = custom;
        let made = self.reply.id("call_", u64::from(call) + 1);
        self.delta(choice, |emit| {
            emit.name("tool_calls").open_list().open();
            emit.name("index").count(u64::from(call));
            emit.name("id");
            call_id(emit, id, &made, signature.as_ref());
            if custom {
                emit.name("type").string("custom").name("custom").open();
                emit.name("name").text(name);
                emit.name("input").string("");
            } else {
                emit.name("type").string("function").name("function").open();
                emit.name("name").text(name);
                emit.name("arguments").string("");
            }
            emit.close().close().close_list();
        });
    }

    fn arguments(&mut self, choice: u32, call: u32, json: &Text<'_>) {
        let custom = match self.calls.get_mut(call as usize) {
            Some(call) => {
                call.told = true;
                call.custom
            }
            None => false,
        };
        let (kind, member) = match custom {
            true => ("custom", "input"),
            false => ("function", "arguments"),
        };
        self.delta(choice, |emit| {
            emit.name("tool_calls").open_list().open();
            emit.name("index").count(u64::from(call));
            emit.name(kind).open().name(member).text(json);
            emit.close().close().close_list();
        });
    }

    fn finish(
        &mut self,
        choice: u32,
        reason: Finish,
        native: &Text<'_>,
        sequence: Option<&Text<'_>>,
        details: Option<Value<'_>>,
    ) {
        let explanation = details.and_then(|details| details.field(b"explanation"));
        if let (Finish::Filter, Some(text)) = (reason, explanation.and_then(Text::of)) {
            self.delta(choice, |emit| {
                emit.name("refusal").text(&text);
            });
        }
        self.open();
        let mut emit = Emit::new(&mut self.out);
        emit.name("choices")
            .raw(b"[{\"index\":")
            .count(u64::from(choice));
        emit.name("delta").open();
        if self.begun == 0 {
            emit.name("role")
                .string("assistant")
                .name("content")
                .string("");
        }
        emit.close()
            .name("finish_reason")
            .string(finish_word(reason));
        finish_details(&mut emit, reason, native, sequence, details);
        emit.close().close_list();
        if let Some(tier) = &self.tier {
            emit.name("service_tier").string(tier);
        }
        if let Some(fingerprint) = &self.fingerprint {
            emit.name("system_fingerprint").string(fingerprint);
        }
        emit.close();
        self.out.extend_from_slice(b"\n\n");
        self.begun |= 1;
    }

    fn end(&mut self) {
        if let (true, Some(usage)) = (self.reply.memo.usage_chunk, self.usage.take()) {
            self.open();
            let mut emit = Emit::new(&mut self.out);
            emit.name("choices").open_list().close_list().name("usage");
            usage_out::chat(&mut emit, &usage);
            emit.close();
            self.out.extend_from_slice(b"\n\n");
        }
        self.out.extend_from_slice(b"data: [DONE]\n\n");
    }

    pub(crate) fn abort(&mut self, error: &ErrorReply) {
        self.out.extend_from_slice(b"data: ");
        let body = error.body(Dialect::OpenAi, &self.reply.request_id);
        self.out.extend_from_slice(&body);
        self.out.extend_from_slice(b"\n\n");
    }
}

/// An id of a call: the provider's or a made one, with what Gemini wants back in it.
pub(in crate::translate) fn call_id(
    emit: &mut Emit<'_>,
    id: &Text<'_>,
    made: &str,
    signature: Option<&Text<'_>>,
) {
    let id = match id.is_empty() {
        true => Text::plain(made),
        false => id.borrowed(),
    };
    match signature {
        Some(signature) => emit.joined([&id, &Text::plain("__thought__"), signature]),
        None => emit.text(&id),
    };
}

fn thought(emit: &mut Emit<'_>, text: &Text<'_>) {
    emit.name("reasoning_content").text(text);
    emit.name("thinking_blocks").open_list().open();
    emit.name("type").string("thinking");
    emit.name("thinking").text(text).close().close_list();
}

fn proven(emit: &mut Emit<'_>, proof: &Proof<'_>) {
    emit.name("thinking_blocks").open_list().open();
    match proof {
        Proof::Redacted(data) => {
            emit.name("type").string("redacted_thinking");
            emit.name("data").text(data);
        }
        proof => {
            emit.name("type").string("thinking");
            emit.name("thinking").string("");
            emit.name("signature").text(&proof::signature(proof));
        }
    }
    emit.close().close_list();
}

/// LiteLLM's `images`.
pub(super) fn image(emit: &mut Emit<'_>, media: &Text<'_>, data: &Text<'_>) {
    emit.name("images").open_list().open();
    emit.name("index").count(0);
    emit.name("type").string("image_url");
    emit.name("image_url").open().name("url");
    let (scheme, coding) = (Text::plain("data:"), Text::plain(";base64,"));
    emit.joined([&scheme, media, &coding, data]);
    emit.close().close().close_list();
}

/// What the finish word alone does not tell.
pub(super) fn finish_details(
    emit: &mut Emit<'_>,
    reason: Finish,
    native: &Text<'_>,
    sequence: Option<&Text<'_>>,
    details: Option<Value<'_>>,
) {
    let is_own = native.is_empty() || native.is(finish_word(reason));
    if is_own && sequence.is_none() && details.is_none() {
        return;
    }
    emit.name("provider_specific_fields").open();
    if !is_own {
        emit.name("native_finish_reason").text(native);
    }
    if let Some(sequence) = sequence {
        emit.name("stop_sequence").text(sequence);
    }
    if let Some(details) = details {
        emit.name("stop_details").raw(details.raw);
    }
    emit.close();
}
