//! Whole chat completions.

use crate::translate::client::chat::finish_word;
use crate::translate::client::chat::stream::{call_id, finish_details};
use crate::translate::context::Reply;
use crate::translate::emit::Emit;
use crate::translate::event::{Finish, Piece};
use crate::translate::prompt::Proof;
use crate::translate::proof;
use crate::translate::text::Text;
use crate::translate::usage_out;
use crate::usage::Usage;
use crate::wire::json::Value;

/// Gathers one answer.
#[derive(Debug)]
pub(crate) struct Writer {
    reply: Reply,
    model: Option<Text<'static>>,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    tier: Option<Text<'static>>,
    fingerprint: Option<Text<'static>>,
}

/// One choice; lists are JSON without brackets, texts are what stands between the quotes.
#[derive(Debug, Default)]
struct Choice {
    content: Option<Vec<u8>>,
    refusal: Option<Vec<u8>>,
    reasoning: Vec<u8>,
    /// The running thought.
    thought: Vec<u8>,
    thoughts: Vec<u8>,
    calls: Vec<Call>,
    annotations: Vec<u8>,
    citations: Vec<u8>,
    blocks: Vec<u8>,
    images: Vec<u8>,
    logprobs: Vec<u8>,
    /// `finish_reason` and what follows it, written.
    finish: Vec<u8>,
}

#[derive(Debug, Default)]
struct Call {
    head: Vec<u8>,
    custom: bool,
    arguments: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(reply: Reply) -> Self {
        Self {
            reply,
            model: None,
            choices: Vec::new(),
            usage: None,
            tier: None,
            fingerprint: None,
        }
    }

    fn choice(&mut self, number: u32) -> &mut Choice {
        // Providers number choices from zero; a number out of any reason shares the last place.
        let at = (number as usize).min(127);
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Choice::default);
        }
        &mut self.choices[at]
    }

    pub(crate) fn take(&mut self, number: u32, piece: Piece<'_>) {
        match piece {
            Piece::Start { model, .. } => self.model = model.map(Text::into_owned),
            Piece::Usage(usage) => self.usage = Some(usage.clone()),
            Piece::Tier(tier) => self.tier = Some(tier.into_owned()),
            Piece::Fingerprint(text) => self.fingerprint = Some(text.into_owned()),
            Piece::CallStart {
                call,
                id,
                name,
                signature,
            } => {
                self.call(number, call, &id, &name, signature.as_ref());
            }
            Piece::End => {}
            piece => self.choice(number).take(piece),
        }
    }

    fn call(
        &mut self,
        number: u32,
        call: u32,
        id: &Text<'_>,
        name: &Text<'_>,
        signature: Option<&Text<'_>>,
    ) {
        let custom = {
            let clear = name.clear();
            self.reply
                .memo
                .custom_tools
                .iter()
                .any(|own| *own == *clear)
        };
        let made = self.reply.id("call_", u64::from(call) + 1);
        let choice = self.choice(number);
        let mut head = Vec::new();
        let mut emit = Emit::new(&mut head);
        emit.open().name("id");
        call_id(&mut emit, id, &made, signature);
        let kind = if custom { "custom" } else { "function" };
        emit.name("type").string(kind).name(kind).open();
        emit.name("name").text(name);
        let at = call as usize;
        if choice.calls.len() <= at {
            choice.calls.resize_with(at + 1, Call::default);
        }
        choice.calls[at] = Call {
            head,
            custom,
            arguments: Vec::new(),
        };
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut emit = Emit::new(&mut out);
        emit.open()
            .name("id")
            .string(&self.reply.id("chatcmpl-", 0));
        emit.name("object").string("chat.completion");
        emit.name("created").count(self.reply.created_s);
        emit.name("model");
        match (&self.model, self.reply.model.is_empty()) {
            (Some(model), true) => emit.text(model),
            _ => emit.string(&self.reply.model),
        };
        emit.name("choices").open_list();
        for (number, choice) in self.choices.iter().enumerate() {
            choice.write(&mut emit, number);
        }
        emit.close_list();
        if let Some(usage) = &self.usage {
            emit.name("usage");
            usage_out::chat(&mut emit, usage);
        }
        if let Some(tier) = &self.tier {
            emit.name("service_tier").text(tier);
        }
        if let Some(fingerprint) = &self.fingerprint {
            emit.name("system_fingerprint").text(fingerprint);
        }
        emit.close();
        out
    }
}

impl Choice {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Text(text) => append(self.content.get_or_insert_default(), &text),
            Piece::Refusal(text) => append(self.refusal.get_or_insert_default(), &text),
            Piece::Thinking(text) => {
                append(&mut self.reasoning, &text);
                append(&mut self.thought, &text);
            }
            Piece::Proof(proof) => self.end_thought(Some(&proof)),
            Piece::BlockEnd => self.end_thought(None),
            Piece::CallArguments { call, json } => {
                if let Some(call) = self.calls.get_mut(call as usize) {
                    append(&mut call.arguments, &json);
                }
            }
            Piece::Citation(value) => {
                Emit::new(&mut self.citations).raw(value.raw);
                if let Some(url) = value.field(b"url") {
                    super::annotation(&mut Emit::new(&mut self.annotations), value, url);
                }
            }
            Piece::Annotation(value) => {
                Emit::new(&mut self.annotations).raw(value.raw);
            }
            Piece::Block(value) => {
                Emit::new(&mut self.blocks).raw(value.raw);
            }
            Piece::Image { media, data } => {
                let mut written = Vec::new();
                super::stream::image(&mut Emit::new(&mut written), &media, &data);
                self.images = written;
            }
            Piece::Logprobs(value) => {
                for item in value.items() {
                    Emit::new(&mut self.logprobs).raw(item.raw);
                }
            }
            Piece::Finish {
                reason,
                native,
                sequence,
                details,
            } => {
                self.end(reason, &native, sequence.as_ref(), details);
            }
            _ => {}
        }
    }

    fn end(
        &mut self,
        reason: Finish,
        native: &Text<'_>,
        sequence: Option<&Text<'_>>,
        details: Option<Value<'_>>,
    ) {
        let explanation = details.and_then(|details| details.field(b"explanation"));
        if let (Finish::Filter, Some(text)) = (reason, explanation.and_then(Text::of)) {
            append(self.refusal.get_or_insert_default(), &text);
        }
        self.finish.clear();
        let mut emit = Emit::new(&mut self.finish);
        emit.name("finish_reason").string(finish_word(reason));
        finish_details(&mut emit, reason, native, sequence, details);
    }

    /// The running thought is whole.
    fn end_thought(&mut self, proof: Option<&Proof<'_>>) {
        let thought = std::mem::take(&mut self.thought);
        let mut emit = Emit::new(&mut self.thoughts);
        match proof {
            Some(Proof::Redacted(data)) => {
                emit.open().name("type").string("redacted_thinking");
                emit.name("data").text(data).close();
            }
            Some(proof) => {
                emit.open().name("type").string("thinking");
                emit.name("thinking").text(&Text::Escaped(thought.into()));
                emit.name("signature").text(&proof::signature(proof));
                emit.close();
            }
            // Without a proof nothing can be sent back.
            None => {}
        }
    }

    fn write(&self, emit: &mut Emit<'_>, number: usize) {
        emit.open().name("index").count(number as u64);
        emit.name("message").open();
        emit.name("role").string("assistant");
        emit.name("content");
        match &self.content {
            Some(content) => emit.text(&Text::Escaped(content.into())),
            None if self.calls.is_empty() => emit.string(""),
            None => emit.null(),
        };
        emit.name("refusal");
        match &self.refusal {
            Some(refusal) => emit.text(&Text::Escaped(refusal.into())),
            None => emit.null(),
        };
        if !self.reasoning.is_empty() {
            let text = Text::Escaped((&self.reasoning).into());
            emit.name("reasoning_content").text(&text);
        }
        list(emit, "thinking_blocks", &self.thoughts);
        if !self.calls.is_empty() {
            self.write_calls(emit);
        }
        list(emit, "annotations", &self.annotations);
        if !self.images.is_empty() {
            emit.raw(&self.images);
        }
        if !self.citations.is_empty() || !self.blocks.is_empty() {
            emit.name("provider_specific_fields").open();
            list(emit, "citations", &self.citations);
            list(emit, "server_tool_blocks", &self.blocks);
            emit.close();
        }
        emit.close();
        if !self.logprobs.is_empty() {
            emit.name("logprobs").open();
            list(emit, "content", &self.logprobs);
            emit.close();
        }
        match self.finish.is_empty() {
            true => emit.name("finish_reason").null(),
            false => emit.raw(&self.finish),
        };
        emit.close();
    }

    fn write_calls(&self, emit: &mut Emit<'_>) {
        emit.name("tool_calls").open_list();
        for call in self.calls.iter().filter(|call| !call.head.is_empty()) {
            emit.raw(&call.head);
            emit.name(if call.custom { "input" } else { "arguments" });
            match call.arguments.is_empty() && !call.custom {
                true => emit.string("{}"),
                false => emit.text(&Text::Escaped((&call.arguments).into())),
            };
            emit.close().close();
        }
        emit.close_list();
    }
}

/// Adds to a text what stands between the quotes.
pub(crate) fn append(to: &mut Vec<u8>, text: &Text<'_>) {
    match text {
        Text::Escaped(inner) => to.extend_from_slice(inner),
        Text::Plain(text) => crate::translate::emit::escape(text, to),
    }
}

fn list(emit: &mut Emit<'_>, name: &str, items: &[u8]) {
    if !items.is_empty() {
        emit.name(name).raw(b"[").raw_tail(items);
    }
}
