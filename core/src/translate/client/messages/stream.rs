//! Anthropic messages streams.

use std::collections::VecDeque;

use crate::endpoint::Dialect;
use crate::error::ErrorReply;
use crate::translate::client::chat::body::append;
use crate::translate::client::chat::stream::call_id;
use crate::translate::client::error_reply;
use crate::translate::client::messages::stop_word;
use crate::translate::context::Reply;
use crate::translate::emit::Emit;
use crate::translate::event::{Finish, Piece};
use crate::translate::prompt::Proof;
use crate::translate::proof;
use crate::translate::text::Text;
use crate::translate::usage_out;
use crate::usage::Usage;

/// Writes one stream. Blocks never interleave: a call that comes while another is open waits.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
    reply: Reply,
    begun: bool,
    open: Open,
    index: u64,
    waiting: VecDeque<Waiting>,
    usage: Option<Usage>,
    /// `delta` of the last event, written.
    finish: Option<Vec<u8>>,
    refused: bool,
}

/// The running block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Open {
    Nothing,
    Text,
    Thinking,
    Call(u32),
}

/// A call that waits for the one before it.
#[derive(Debug)]
struct Waiting {
    call: u32,
    /// Its `content_block`.
    block: Vec<u8>,
    /// Its arguments, as between quotes.
    arguments: Vec<u8>,
    ended: bool,
}

impl Writer {
    pub(crate) fn new(reply: Reply) -> Self {
        Self {
            out: Vec::new(),
            reply,
            begun: false,
            open: Open::Nothing,
            index: 0,
            waiting: VecDeque::new(),
            usage: None,
            finish: None,
            refused: false,
        }
    }

    pub(crate) fn take(&mut self, choice: u32, piece: Piece<'_>) {
        // Anthropic has one answer to a request.
        if choice > 0 {
            return;
        }
        match piece {
            Piece::Start { model, .. } => self.begin(model),
            Piece::Text(text) => self.text(&text),
            Piece::Refusal(text) => {
                self.refused = true;
                self.text(&text);
            }
            Piece::Thinking(text) => {
                self.enter(Open::Thinking, |emit| {
                    emit.open().name("type").string("thinking");
                    emit.name("thinking").string("");
                    emit.name("signature").string("").close();
                });
                self.delta("thinking_delta", "thinking", &text);
            }
            Piece::Proof(proof) => self.proof(&proof),
            Piece::BlockEnd => {
                if matches!(self.open, Open::Text | Open::Thinking) {
                    self.close();
                }
            }
            Piece::CallStart {
                call,
                id,
                name,
                signature,
            } => {
                self.call(call, &id, &name, signature.as_ref());
            }
            Piece::CallArguments { call, json } => self.arguments(call, &json),
            Piece::CallEnd { call } => self.call_end(call),
            Piece::Citation(value) => {
                if self.open == Open::Text {
                    self.event("content_block_delta", |emit| {
                        emit.open().name("type").string("citations_delta");
                        emit.name("citation").raw(value.raw).close();
                    });
                }
            }
            Piece::Block(value) => self.whole_block(|emit| {
                emit.raw(value.raw);
            }),
            Piece::Image { media, data } => self.whole_block(|emit| {
                emit.open().name("type").string("image");
                emit.name("source").open().name("type").string("base64");
                emit.name("media_type").text(&media);
                emit.name("data").text(&data).close().close();
            }),
            Piece::Usage(usage) => self.usage = Some(usage.clone()),
            Piece::Finish {
                reason,
                sequence,
                details,
                ..
            } => {
                let details = details.map(|details| details.raw);
                self.finish(reason, sequence.as_ref(), details);
            }
            Piece::End => self.end(),
            Piece::Error(complaint) => self.abort(&error_reply(complaint)),
            Piece::Annotation(_) | Piece::Logprobs(_) | Piece::Tier(_) | Piece::Fingerprint(_) => {}
        }
    }

    fn begin(&mut self, model: Option<Text<'_>>) {
        if self.begun {
            return;
        }
        self.begun = true;
        let id = self.reply.id("msg_", 0);
        self.out.extend_from_slice(b"event: message_start\ndata: ");
        let mut emit = Emit::new(&mut self.out);
        emit.open().name("type").string("message_start");
        emit.name("message").open().name("id").string(&id);
        emit.name("type").string("message");
        emit.name("role").string("assistant").name("model");
        match (self.reply.model.is_empty(), model) {
            (true, Some(model)) => emit.text(&model),
            _ => emit.string(&self.reply.model),
        };
        emit.name("content").open_list().close_list();
        emit.name("stop_reason").null().name("stop_sequence").null();
        emit.name("usage");
        // Not known yet where the provider tells it last.
        usage_out::messages(&mut emit, self.usage.as_ref().unwrap_or(&Usage::default()));
        emit.close().close();
        self.out.extend_from_slice(b"\n\n");
    }

    /// One event about the running block; `inner` writes what it holds.
    fn event(&mut self, name: &str, inner: impl FnOnce(&mut Emit<'_>)) {
        self.out.extend_from_slice(b"event: ");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\ndata: ");
        let mut emit = Emit::new(&mut self.out);
        emit.open().name("type").string(name);
        emit.name("index").count(self.index);
        match name {
            "content_block_start" => inner(emit.name("content_block")),
            "content_block_delta" => inner(emit.name("delta")),
            _ => {}
        }
        emit.close();
        self.out.extend_from_slice(b"\n\n");
    }

    /// Opens a block, unless one of its kind is running.
    fn enter(&mut self, kind: Open, block: impl FnOnce(&mut Emit<'_>)) {
        if self.open == kind {
            return;
        }
        if matches!(self.open, Open::Call(_)) || !self.waiting.is_empty() {
            self.drain();
        }
        self.close();
        self.begin(None);
        self.event("content_block_start", block);
        self.open = kind;
    }

    fn close(&mut self) {
        if self.open == Open::Nothing {
            return;
        }
        if self.open == Open::Thinking {
            // Not closed by a proof: one that says that there is none, so that the caller can
            // send the block back.
            let none = proof::signature(&Proof::None);
            self.delta("signature_delta", "signature", &none);
        }
        self.open = Open::Nothing;
        self.event("content_block_stop", |_| {});
        self.index += 1;
    }

    fn delta(&mut self, kind: &str, member: &str, text: &Text<'_>) {
        // Nearly every event is one of these: its frame is written in as few steps as may be.
        const HEAD: &[u8] =
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":";
        const ROOM: usize = 192;
        self.out.reserve(HEAD.len() + ROOM);
        self.out.extend_from_slice(HEAD);
        Emit::new(&mut self.out).count(self.index);
        self.out.extend_from_slice(b",\"delta\":{\"type\":\"");
        self.out.extend_from_slice(kind.as_bytes());
        self.out.extend_from_slice(b"\",\"");
        self.out.extend_from_slice(member.as_bytes());
        self.out.extend_from_slice(b"\":");
        Emit::new(&mut self.out).text(text);
        self.out.extend_from_slice(b"}}\n\n");
    }

    fn text(&mut self, text: &Text<'_>) {
        if text.is_empty() {
            return;
        }
        self.enter(Open::Text, |emit| {
            emit.open().name("type").string("text");
            emit.name("text").string("").close();
        });
        self.delta("text_delta", "text", text);
    }

    fn proof(&mut self, proof: &Proof<'_>) {
        if let Proof::Redacted(data) = proof {
            self.whole_block(|emit| {
                emit.open().name("type").string("redacted_thinking");
                emit.name("data").text(data).close();
            });
            return;
        }
        // Thoughts that are not shown have a block all the same.
        self.enter(Open::Thinking, |emit| {
            emit.open().name("type").string("thinking");
            emit.name("thinking").string("");
            emit.name("signature").string("").close();
        });
        self.delta("signature_delta", "signature", &proof::signature(proof));
        self.open = Open::Nothing;
        self.event("content_block_stop", |_| {});
        self.index += 1;
    }

    fn whole_block(&mut self, block: impl FnOnce(&mut Emit<'_>)) {
        self.drain();
        self.close();
        self.begin(None);
        self.event("content_block_start", block);
        self.event("content_block_stop", |_| {});
        self.index += 1;
    }

    fn call(&mut self, call: u32, id: &Text<'_>, name: &Text<'_>, signature: Option<&Text<'_>>) {
        let made = self.reply.id("toolu_", u64::from(call) + 1);
        let mut block = Vec::new();
        let mut emit = Emit::new(&mut block);
        emit.open().name("type").string("tool_use").name("id");
        call_id(&mut emit, id, &made, signature);
        emit.name("name").text(name);
        emit.name("input").open().close().close();
        if matches!(self.open, Open::Call(_)) {
            self.waiting.push_back(Waiting {
                call,
                block,
                arguments: Vec::new(),
                ended: false,
            });
            return;
        }
        self.open_call(call, &block);
    }

    fn open_call(&mut self, call: u32, block: &[u8]) {
        self.close();
        self.begin(None);
        self.event("content_block_start", |emit| {
            emit.raw(block);
        });
        self.open = Open::Call(call);
    }

    fn arguments(&mut self, call: u32, json: &Text<'_>) {
        if json.is_empty() {
            return;
        }
        if self.open == Open::Call(call) {
            self.delta("input_json_delta", "partial_json", json);
        } else if let Some(waiting) = self.waiting.iter_mut().find(|one| one.call == call) {
            append(&mut waiting.arguments, json);
        }
    }

    fn call_end(&mut self, call: u32) {
        if let Some(waiting) = self.waiting.iter_mut().find(|one| one.call == call) {
            waiting.ended = true;
            return;
        }
        if self.open != Open::Call(call) {
            return;
        }
        self.close();
        // Those that ended while they waited are whole; the first other one goes on live.
        while let Some(next) = self.waiting.pop_front() {
            let ended = next.ended;
            self.replay(&next);
            if !ended {
                break;
            }
            self.close();
        }
    }

    fn replay(&mut self, waiting: &Waiting) {
        self.open_call(waiting.call, &waiting.block);
        if !waiting.arguments.is_empty() {
            let json = Text::Escaped((&waiting.arguments).into());
            self.delta("input_json_delta", "partial_json", &json);
        }
    }

    /// Everything that waits is told: nothing more comes for it.
    fn drain(&mut self) {
        if matches!(self.open, Open::Call(_)) {
            self.close();
        }
        while let Some(next) = self.waiting.pop_front() {
            self.replay(&next);
            self.close();
        }
    }

    fn finish(&mut self, reason: Finish, sequence: Option<&Text<'_>>, details: Option<&[u8]>) {
        let reason = match (reason, self.refused) {
            (Finish::Stop, true) => Finish::Filter,
            (reason, _) => reason,
        };
        let mut delta = Vec::new();
        let mut emit = Emit::new(&mut delta);
        emit.open().name("stop_reason").string(stop_word(reason));
        emit.name("stop_sequence");
        match sequence {
            Some(sequence) => emit.text(sequence),
            None => emit.null(),
        };
        if let Some(details) = details {
            emit.name("stop_details").raw(details);
        }
        emit.close();
        self.finish = Some(delta);
    }

    fn end(&mut self) {
        self.drain();
        self.close();
        self.begin(None);
        self.out.extend_from_slice(b"event: message_delta\ndata: ");
        let mut emit = Emit::new(&mut self.out);
        emit.open().name("type").string("message_delta");
        emit.name("delta");
        match &self.finish {
            Some(delta) => emit.raw(delta),
            None => emit.raw(b"{\"stop_reason\":\"end_turn\",\"stop_sequence\":null}"),
        };
        emit.name("usage");
        usage_out::messages(&mut emit, self.usage.as_ref().unwrap_or(&Usage::default()));
        emit.close();
        self.out
            .extend_from_slice(b"\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    pub(crate) fn abort(&mut self, error: &ErrorReply) {
        self.out.extend_from_slice(b"event: error\ndata: ");
        let body = error.body(Dialect::Anthropic, &self.reply.request_id);
        self.out.extend_from_slice(&body);
        self.out.extend_from_slice(b"\n\n");
    }
}
