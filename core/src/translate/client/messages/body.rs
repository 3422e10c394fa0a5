//! Whole Anthropic messages.

use crate::translate::client::chat::body::append;
use crate::translate::client::chat::stream::call_id;
use crate::translate::client::messages::stop_word;
use crate::translate::context::Reply;
use crate::translate::emit::Emit;
use crate::translate::event::{Finish, Piece};
use crate::translate::prompt::Proof;
use crate::translate::proof;
use crate::translate::text::Text;
use crate::translate::usage_out;
use crate::usage::Usage;

/// Gathers one answer.
#[derive(Debug)]
pub(crate) struct Writer {
    reply: Reply,
    model: Option<Text<'static>>,
    /// Finished blocks, as JSON without the brackets.
    content: Vec<u8>,
    /// Text of the running block, as between quotes; and its citations.
    text: Vec<u8>,
    citations: Vec<u8>,
    thinking: Vec<u8>,
    calls: Vec<Call>,
    usage: Option<Usage>,
    finish: Option<Finish>,
    sequence: Option<Text<'static>>,
    details: Option<Vec<u8>>,
    refused: bool,
}

#[derive(Debug)]
struct Call {
    call: u32,
    head: Vec<u8>,
    json: String,
}

impl Writer {
    pub(crate) fn new(reply: Reply) -> Self {
        Self {
            reply,
            model: None,
            content: Vec::new(),
            text: Vec::new(),
            citations: Vec::new(),
            thinking: Vec::new(),
            calls: Vec::new(),
            usage: None,
            finish: None,
            sequence: None,
            details: None,
            refused: false,
        }
    }

    pub(crate) fn take(&mut self, choice: u32, piece: Piece<'_>) {
        // Anthropic has one answer to a request.
        if choice > 0 {
            return;
        }
        match piece {
            Piece::Start { model, .. } => self.model = model.map(Text::into_owned),
            Piece::Text(text) => {
                self.end_thinking(&Proof::None);
                append(&mut self.text, &text);
            }
            Piece::Refusal(text) => {
                self.end_thinking(&Proof::None);
                self.refused = true;
                append(&mut self.text, &text);
            }
            Piece::Thinking(text) => {
                self.end_text();
                append(&mut self.thinking, &text);
            }
            Piece::Proof(proof) => self.proof(&proof),
            Piece::BlockEnd => self.end_block(),
            Piece::CallStart {
                call,
                id,
                name,
                signature,
            } => {
                self.call(call, &id, &name, signature.as_ref());
            }
            Piece::CallArguments { call, json } => {
                if let Some(known) = self.calls.iter_mut().find(|one| one.call == call) {
                    known.json.push_str(&json.clear());
                }
            }
            Piece::CallEnd { call } => {
                let at = self.calls.iter().position(|one| one.call == call);
                if let Some(call) = at.map(|at| self.calls.remove(at)) {
                    self.write_call(&call);
                }
            }
            Piece::Citation(value) => {
                Emit::new(&mut self.citations).raw(value.raw);
            }
            Piece::Block(value) => {
                self.end_block();
                Emit::new(&mut self.content).raw(value.raw);
            }
            Piece::Image { media, data } => {
                self.image(&media, &data);
            }
            Piece::Usage(usage) => self.usage = Some(usage.clone()),
            Piece::Finish {
                reason,
                sequence,
                details,
                ..
            } => {
                self.finish = Some(reason);
                self.sequence = sequence.map(Text::into_owned);
                self.details = details.map(|details| details.raw.to_vec());
            }
            Piece::Annotation(_)
            | Piece::Logprobs(_)
            | Piece::Tier(_)
            | Piece::Fingerprint(_)
            | Piece::End
            | Piece::Error(_) => {}
        }
    }

    fn call(&mut self, call: u32, id: &Text<'_>, name: &Text<'_>, signature: Option<&Text<'_>>) {
        self.end_block();
        let made = self.reply.id("toolu_", u64::from(call) + 1);
        let mut head = Vec::new();
        let mut emit = Emit::new(&mut head);
        emit.open().name("type").string("tool_use").name("id");
        call_id(&mut emit, id, &made, signature);
        emit.name("name").text(name).name("input");
        let json = String::new();
        self.calls.push(Call { call, head, json });
    }

    fn image(&mut self, media: &Text<'_>, data: &Text<'_>) {
        self.end_block();
        let mut emit = Emit::new(&mut self.content);
        emit.open().name("type").string("image");
        emit.name("source").open().name("type").string("base64");
        emit.name("media_type").text(media);
        emit.name("data").text(data).close().close();
    }

    fn proof(&mut self, proof: &Proof<'_>) {
        match proof {
            Proof::Redacted(data) => {
                self.end_block();
                let mut emit = Emit::new(&mut self.content);
                emit.open().name("type").string("redacted_thinking");
                emit.name("data").text(data).close();
            }
            proof => {
                self.end_text();
                self.write_thinking(proof);
            }
        }
    }

    fn end_block(&mut self) {
        self.end_text();
        self.end_thinking(&Proof::None);
    }

    fn end_text(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let mut emit = Emit::new(&mut self.content);
        emit.open().name("type").string("text");
        emit.name("text").text(&Text::Escaped((&self.text).into()));
        if !self.citations.is_empty() {
            emit.name("citations").raw(b"[").raw_tail(&self.citations);
        }
        emit.close();
        self.text.clear();
        self.citations.clear();
    }

    fn end_thinking(&mut self, proof: &Proof<'_>) {
        if !self.thinking.is_empty() {
            self.write_thinking(proof);
        }
    }

    fn write_thinking(&mut self, proof: &Proof<'_>) {
        let mut emit = Emit::new(&mut self.content);
        emit.open().name("type").string("thinking");
        let text = Text::Escaped((&self.thinking).into());
        emit.name("thinking").text(&text);
        emit.name("signature").text(&proof::signature(proof));
        emit.close();
        self.thinking.clear();
    }

    fn write_call(&mut self, call: &Call) {
        let mut emit = Emit::new(&mut self.content);
        emit.raw(&call.head);
        let json = call.json.trim();
        let is_object =
            json.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok();
        if json.is_empty() {
            emit.open().close();
        } else if is_object {
            emit.raw(json.as_bytes());
        } else {
            // A model that wrote no JSON: its words reach the caller, who can complain to it.
            emit.open().name("input").string(&call.json).close();
        }
        emit.close();
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_block();
        for call in std::mem::take(&mut self.calls) {
            self.write_call(&call);
        }
        let mut out = Vec::with_capacity(self.content.len() + 512);
        let mut emit = Emit::new(&mut out);
        emit.open().name("id").string(&self.reply.id("msg_", 0));
        emit.name("type").string("message");
        emit.name("role").string("assistant").name("model");
        match (&self.model, self.reply.model.is_empty()) {
            (Some(model), true) => emit.text(model),
            _ => emit.string(&self.reply.model),
        };
        emit.name("content").raw(b"[").raw_tail(&self.content);
        let reason = match self.finish.unwrap_or(Finish::Stop) {
            Finish::Stop if self.refused => Finish::Filter,
            reason => reason,
        };
        emit.name("stop_reason").string(stop_word(reason));
        emit.name("stop_sequence");
        match &self.sequence {
            Some(sequence) => emit.text(sequence),
            None => emit.null(),
        };
        if let Some(details) = &self.details {
            emit.name("stop_details").raw(details);
        }
        emit.name("usage");
        usage_out::messages(&mut emit, self.usage.as_ref().unwrap_or(&Usage::default()));
        emit.close();
        out
    }
}
