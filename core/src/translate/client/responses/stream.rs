//! Responses streams. A whole response is gathered on the way: the terminal event holds it.

use crate::error::ErrorReply;
use crate::translate::client::chat::stream::call_id;
use crate::translate::client::error_reply;
use crate::translate::client::responses::output::{Events, Item, ItemKind, code_of, is_call};
use crate::translate::client::responses::output::{annotation, call_member, part_names};
use crate::translate::client::responses::output::{is_custom, refuses};
use crate::translate::client::responses::tools::namespaced;
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
    pub(crate) events: Events,
    reply: Reply,
    model: Option<Text<'static>>,
    begun: bool,
    /// Items under way: text or thoughts, and calls, which may interleave.
    open: Vec<Item>,
    items: u64,
    /// Finished items by their place.
    done: Vec<(u64, Vec<u8>)>,
    usage: Option<Usage>,
    tier: Option<String>,
    finish: Option<Finish>,
}

impl Writer {
    pub(crate) fn new(reply: Reply) -> Self {
        Self {
            events: Events::default(),
            reply,
            model: None,
            begun: false,
            open: Vec::new(),
            items: 0,
            done: Vec::new(),
            usage: None,
            tier: None,
            finish: None,
        }
    }

    /// One that only gathers.
    pub(super) fn quiet(reply: Reply) -> Self {
        let mut writer = Self::new(reply);
        writer.events.quiet = true;
        writer
    }

    pub(crate) fn take(&mut self, choice: u32, piece: Piece<'_>) {
        // Responses has one answer to a request.
        if choice > 0 {
            return;
        }
        match piece {
            Piece::Start { model, .. } => {
                self.model = model.map(Text::into_owned);
                self.begin();
            }
            Piece::Text(text) => self.text(&text, false),
            Piece::Refusal(text) => self.text(&text, true),
            Piece::Thinking(text) => self.thought(&text),
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
            Piece::CallArguments { call, json } => self.arguments(call, &json),
            Piece::CallEnd { call } => {
                let at = self.open.iter().position(|item| is_call(item, call));
                if let Some(at) = at {
                    self.close(at, None);
                }
            }
            Piece::Citation(value) => self.note(value, true),
            Piece::Annotation(value) => self.note(value, false),
            Piece::Usage(usage) => self.usage = Some(usage.clone()),
            Piece::Tier(tier) => self.tier = Some(tier.clear().into_owned()),
            Piece::Finish {
                reason, details, ..
            } => {
                let why = details.and_then(|details| details.field(b"explanation"));
                if let (Finish::Filter, Some(text)) = (reason, why.and_then(Text::of)) {
                    self.text(&text, true);
                }
                self.finish = Some(reason);
            }
            Piece::End => self.end(),
            Piece::Error(complaint) => self.abort(&error_reply(complaint)),
            Piece::Image { media, data } => self.image(&media, &data),
            Piece::Block(_) | Piece::Logprobs(_) | Piece::Fingerprint(_) => {}
        }
    }

    fn begin(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        let response = self.response("in_progress", None);
        for name in ["response.created", "response.in_progress"] {
            self.events.write(name, |emit| {
                emit.name("response").raw(&response);
            });
        }
    }

    /// The response object.
    pub(super) fn response(&self, status: &str, error: Option<&ErrorReply>) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut emit = Emit::new(&mut out);
        emit.open().name("id").string(&self.reply.id("resp_", 0));
        emit.name("object").string("response");
        emit.name("created_at").count(self.reply.created_s);
        emit.name("status").string(status);
        emit.name("error");
        match error {
            Some(error) => {
                emit.open().name("code").string(code_of(error));
                emit.name("message").string(&error.message).close()
            }
            None => emit.null(),
        };
        emit.name("incomplete_details");
        match self.finish.filter(|_| status == "incomplete") {
            Some(Finish::Filter) => emit.raw(b"{\"reason\":\"content_filter\"}"),
            Some(_) => emit.raw(b"{\"reason\":\"max_output_tokens\"}"),
            None => emit.null(),
        };
        emit.name("model");
        match (&self.model, self.reply.model.is_empty()) {
            (Some(model), true) => emit.text(model),
            _ => emit.string(&self.reply.model),
        };
        emit.name("output").open_list();
        for (_, item) in &self.done {
            emit.raw(item);
        }
        emit.close_list();
        if let Some(tier) = &self.tier {
            emit.name("service_tier").string(tier);
        }
        if !self.reply.memo.echo.is_empty() {
            emit.raw(self.reply.memo.echo.as_bytes());
        }
        emit.name("usage");
        match status {
            "in_progress" | "failed" => {
                emit.null();
            }
            // Codex takes a response without usage for a broken one.
            _ => usage_out::responses(&mut emit, &self.usage.clone().unwrap_or_default()),
        }
        emit.close();
        out
    }

    /// Opens an item and announces it.
    fn add(&mut self, prefix: &str, kind: ItemKind) {
        self.begin();
        let id = self.reply.id(prefix, self.items + 1);
        let item = Item::new(kind, id, self.items);
        self.items += 1;
        self.events.write("response.output_item.added", |emit| {
            emit.name("output_index").count(item.index).name("item");
            item.announce(emit);
        });
        self.open.push(item);
    }

    /// The running item of text or thoughts of this kind, opened if need be.
    fn enter(&mut self, kind: ItemKind, prefix: &str) -> usize {
        let same = |item: &Item| {
            std::mem::discriminant(&item.kind) == std::mem::discriminant(&kind)
                && refuses(&item.kind) == refuses(&kind)
        };
        if let Some(at) = self.open.iter().position(same) {
            return at;
        }
        self.end_block();
        self.add(prefix, kind);
        let at = self.open.len() - 1;
        self.open[at].has_part = true;
        let item = &self.open[at];
        let (id, index) = (item.id.clone(), item.index);
        let mut part = Vec::new();
        item.part(&mut Emit::new(&mut part), false);
        let (name, place) = part_names(&item.kind);
        self.events.write(&format!("{name}.added"), |emit| {
            emit.name("item_id").string(&id);
            emit.name("output_index").count(index);
            emit.name(place).count(0).name("part").raw(&part);
        });
        at
    }

    fn text(&mut self, text: &Text<'_>, refusal: bool) {
        if text.is_empty() {
            return;
        }
        let at = self.enter(ItemKind::Message { refusal }, "msg_");
        let name = match refusal {
            true => "response.refusal.delta",
            false => "response.output_text.delta",
        };
        self.delta(at, name, Some("content_index"), text);
    }

    fn thought(&mut self, text: &Text<'_>) {
        if text.is_empty() {
            return;
        }
        let at = self.enter(ItemKind::Reasoning, "rs_");
        let name = "response.reasoning_summary_text.delta";
        self.delta(at, name, Some("summary_index"), text);
    }

    fn delta(&mut self, at: usize, name: &str, place: Option<&str>, text: &Text<'_>) {
        let Some(item) = self.open.get_mut(at) else {
            return;
        };
        item.add(text);
        self.events.write(name, |emit| {
            emit.name("item_id").word(&item.id);
            emit.name("output_index").count(item.index);
            if let Some(place) = place {
                emit.name(place).count(0);
            }
            emit.name("delta").text(text);
            if place == Some("content_index") {
                emit.name("logprobs").open_list().close_list();
            }
        });
    }

    fn proof(&mut self, proof: &Proof<'_>) {
        let at = self
            .open
            .iter()
            .position(|item| matches!(item.kind, ItemKind::Reasoning));
        let at = match at {
            Some(at) => at,
            // Thoughts that are not shown: an item without a summary.
            None => {
                self.end_block();
                self.add("rs_", ItemKind::Reasoning);
                self.open.len() - 1
            }
        };
        let encrypted = proof::encrypted(proof);
        self.close(at, Some(&encrypted));
    }

    /// The running item of text or thoughts is whole.
    fn end_block(&mut self) {
        let at = self
            .open
            .iter()
            .position(|item| !matches!(item.kind, ItemKind::Call { .. }));
        if let Some(at) = at {
            let none = proof::encrypted(&Proof::None);
            let thinks = matches!(self.open[at].kind, ItemKind::Reasoning);
            self.close(at, thinks.then_some(&none));
        }
    }

    fn call(&mut self, call: u32, id: &Text<'_>, name: &Text<'_>, signature: Option<&Text<'_>>) {
        self.end_block();
        let clear = name.clear();
        let custom = self
            .reply
            .memo
            .custom_tools
            .iter()
            .any(|own| *own == *clear);
        let made = self.reply.id("call_", u64::from(call) + 1);
        let mut head = Vec::new();
        let mut emit = Emit::new(&mut head);
        emit.name("call_id");
        call_id(&mut emit, id, &made, signature);
        match namespaced(&self.reply.memo.echo, &clear) {
            Some((space, name)) => {
                emit.name("namespace")
                    .string(&space)
                    .name("name")
                    .string(&name);
            }
            None => {
                emit.name("name").text(name);
            }
        }
        let prefix = if custom { "ctc_" } else { "fc_" };
        self.add(prefix, ItemKind::Call { call, custom, head });
    }

    fn arguments(&mut self, call: u32, json: &Text<'_>) {
        let at = self.open.iter().position(|item| is_call(item, call));
        let Some(at) = at.filter(|_| !json.is_empty()) else {
            return;
        };
        let name = match is_custom(&self.open[at]) {
            true => "response.custom_tool_call_input.delta",
            false => "response.function_call_arguments.delta",
        };
        self.delta(at, name, None, json);
    }

    /// Notes where a piece of the running text comes from.
    fn note(&mut self, value: Value<'_>, is_citation: bool) {
        let plain = |item: &Item| matches!(item.kind, ItemKind::Message { refusal: false });
        let Some(at) = self.open.iter().position(plain) else {
            return;
        };
        let mut note = Vec::new();
        let mut emit = Emit::new(&mut note);
        if !annotation(&mut emit, value, is_citation) {
            return;
        }
        let item = &mut self.open[at];
        let number = u64::from(!item.notes.is_empty());
        Emit::new(&mut item.notes).raw(&note);
        let (id, index) = (item.id.clone(), item.index);
        self.events
            .write("response.output_text.annotation.added", |emit| {
                emit.name("item_id").string(&id);
                emit.name("output_index").count(index);
                emit.name("content_index").count(0);
                emit.name("annotation_index").count(number);
                emit.name("annotation").raw(&note);
            });
    }

    fn image(&mut self, media: &Text<'_>, data: &Text<'_>) {
        self.end_block();
        self.begin();
        let index = self.items;
        self.items += 1;
        let id = self.reply.id("ig_", index + 1);
        let mut item = Vec::new();
        let mut emit = Emit::new(&mut item);
        emit.open().name("id").string(&id);
        emit.name("type").string("image_generation_call");
        emit.name("status").string("completed");
        let clear = media.clear();
        let format = clear.strip_prefix("image/").unwrap_or(&clear);
        emit.name("output_format").string(format);
        emit.name("result").text(data).close();
        for name in ["response.output_item.added", "response.output_item.done"] {
            self.events.write(name, |emit| {
                emit.name("output_index").count(index);
                emit.name("item").raw(&item);
            });
        }
        self.keep(index, item);
    }

    /// An item is whole.
    fn close(&mut self, at: usize, encrypted: Option<&Text<'_>>) {
        let mut item = self.open.remove(at);
        if let (ItemKind::Call { custom: false, .. }, true) = (&item.kind, item.text.is_empty()) {
            item.text.extend_from_slice(b"{}");
        }
        self.close_text(&item);
        let mut whole = Vec::new();
        item.whole(&mut Emit::new(&mut whole), encrypted);
        self.events.write("response.output_item.done", |emit| {
            emit.name("output_index").count(item.index);
            emit.name("item").raw(&whole);
        });
        self.keep(item.index, whole);
    }

    fn keep(&mut self, index: u64, item: Vec<u8>) {
        let at = self.done.partition_point(|(known, _)| *known < index);
        self.done.insert(at, (index, item));
    }

    /// The events that repeat the whole text of an item.
    fn close_text(&mut self, item: &Item) {
        let text = item.so_far();
        let (name, member, place) = match &item.kind {
            ItemKind::Message { refusal: true } => {
                ("response.refusal.done", "refusal", Some("content_index"))
            }
            ItemKind::Message { .. } => {
                ("response.output_text.done", "text", Some("content_index"))
            }
            ItemKind::Reasoning => (
                "response.reasoning_summary_text.done",
                "text",
                Some("summary_index"),
            ),
            ItemKind::Call { custom: true, .. } => {
                ("response.custom_tool_call_input.done", "input", None)
            }
            ItemKind::Call { .. } => (
                "response.function_call_arguments.done",
                call_member(false),
                None,
            ),
        };
        if place.is_some() && !item.has_part {
            return;
        }
        self.events.write(name, |emit| {
            emit.name("item_id").string(&item.id);
            emit.name("output_index").count(item.index);
            if let Some(place) = place {
                emit.name(place).count(0);
            }
            emit.name(member).text(&text);
            if name == "response.output_text.done" {
                emit.name("logprobs").open_list().close_list();
            }
        });
        let Some(place) = place else {
            return;
        };
        let (name, _) = part_names(&item.kind);
        self.events.write(&format!("{name}.done"), |emit| {
            emit.name("item_id").string(&item.id);
            emit.name("output_index").count(item.index);
            emit.name(place).count(0).name("part");
            item.part(emit, true);
        });
    }

    /// Closes what is open and says how the response ended.
    pub(super) fn settle(&mut self) -> &'static str {
        self.begin();
        while !self.open.is_empty() {
            let thinks = matches!(self.open[0].kind, ItemKind::Reasoning);
            let none = proof::encrypted(&Proof::None);
            self.close(0, thinks.then_some(&none));
        }
        match self.finish {
            Some(Finish::Length | Finish::Context | Finish::Pause) => "incomplete",
            Some(Finish::Filter) if self.items == 0 => "incomplete",
            _ => "completed",
        }
    }

    fn end(&mut self) {
        let status = self.settle();
        if self.events.quiet {
            return;
        }
        let response = self.response(status, None);
        self.events.write(&format!("response.{status}"), |emit| {
            emit.name("response").raw(&response);
        });
    }

    /// Both events that OpenAI sends for a response that fails while it streams.
    pub(crate) fn abort(&mut self, error: &ErrorReply) {
        let code = code_of(error);
        self.events.write("error", |emit| {
            emit.name("code").string(code);
            emit.name("message").string(&error.message);
            emit.name("param").null();
            emit.name("error").open().name("type").string(code);
            emit.name("code").string(code);
            emit.name("message").string(&error.message);
            emit.name("param").null().close();
        });
        let response = self.response("failed", Some(error));
        self.events.write("response.failed", |emit| {
            emit.name("response").raw(&response);
        });
    }
}
