//! Output items of a response as they grow: what is open, what is done.

use crate::error::ErrorReply;
use crate::translate::client::chat::body::append;
use crate::translate::emit::Emit;
use crate::translate::text::Text;
use crate::wire::json::Value;

/// The events written so far.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) out: Vec<u8>,
    /// Whole responses are made by the same machine, without its events.
    pub(super) quiet: bool,
    sequence: u64,
}

impl Events {
    /// Writes an event: its name, its number, and what `members` adds.
    pub(super) fn write(&mut self, name: &str, members: impl FnOnce(&mut Emit<'_>)) {
        if self.quiet {
            return;
        }
        self.out.extend_from_slice(b"event: ");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\ndata: ");
        let mut emit = Emit::new(&mut self.out);
        emit.open().name("type").word(name);
        emit.name("sequence_number").count(self.sequence);
        members(&mut emit);
        emit.close();
        self.out.extend_from_slice(b"\n\n");
        self.sequence += 1;
    }
}

/// An item that is under way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: ItemKind,
    /// Its own id.
    pub(super) id: String,
    /// Its place in the output.
    pub(super) index: u64,
    /// Its text or arguments so far, as between quotes.
    pub(super) text: Vec<u8>,
    /// Annotations, as JSON without brackets.
    pub(super) notes: Vec<u8>,
    /// A part of it has been opened.
    pub(super) has_part: bool,
}

/// What an item is.
#[derive(Debug)]
pub(super) enum ItemKind {
    /// Text of the answer, or its refusal.
    Message {
        refusal: bool,
    },
    Reasoning,
    Call {
        call: u32,
        custom: bool,
        /// `call_id`, `name` and the like, as JSON without braces.
        head: Vec<u8>,
    },
}

impl Item {
    pub(super) fn new(kind: ItemKind, id: String, index: u64) -> Self {
        Self {
            kind,
            id,
            index,
            text: Vec::new(),
            notes: Vec::new(),
            has_part: false,
        }
    }

    pub(super) fn add(&mut self, text: &Text<'_>) {
        append(&mut self.text, text);
    }

    pub(super) fn so_far(&self) -> Text<'_> {
        Text::Escaped((&self.text).into())
    }

    /// The item as it is announced: empty.
    pub(super) fn announce(&self, emit: &mut Emit<'_>) {
        emit.open().name("id").string(&self.id).name("type");
        match &self.kind {
            ItemKind::Message { .. } => {
                emit.string("message").name("status").string("in_progress");
                emit.name("role").string("assistant");
                emit.name("content").open_list().close_list();
            }
            ItemKind::Reasoning => {
                emit.string("reasoning");
                emit.name("summary").open_list().close_list();
            }
            ItemKind::Call { custom, head, .. } => {
                emit.string(call_type(*custom));
                emit.name("status").string("in_progress").raw(head);
                emit.name(call_member(*custom)).string("");
            }
        }
        emit.close();
    }

    /// The item when it is whole; `encrypted` lets its provider accept thoughts back.
    pub(super) fn whole(&self, emit: &mut Emit<'_>, encrypted: Option<&Text<'_>>) {
        emit.open().name("id").string(&self.id).name("type");
        match &self.kind {
            ItemKind::Message { .. } => {
                emit.string("message").name("status").string("completed");
                emit.name("role").string("assistant");
                emit.name("content").open_list();
                if self.has_part {
                    self.part(emit, true);
                }
                emit.close_list();
            }
            ItemKind::Reasoning => {
                emit.string("reasoning").name("summary").open_list();
                if self.has_part {
                    self.part(emit, true);
                }
                emit.close_list();
                if let Some(encrypted) = encrypted {
                    emit.name("encrypted_content").text(encrypted);
                }
            }
            ItemKind::Call { custom, head, .. } => {
                emit.string(call_type(*custom));
                emit.name("status").string("completed").raw(head);
                emit.name(call_member(*custom)).text(&self.so_far());
            }
        }
        emit.close();
    }

    /// The part of the item, empty or with all of its text.
    pub(super) fn part(&self, emit: &mut Emit<'_>, full: bool) {
        let text = match full {
            true => self.so_far(),
            false => Text::plain(""),
        };
        emit.open().name("type");
        match &self.kind {
            ItemKind::Message { refusal: true } => {
                emit.string("refusal").name("refusal").text(&text);
            }
            ItemKind::Reasoning => {
                emit.string("summary_text").name("text").text(&text);
            }
            _ => {
                emit.string("output_text").name("text").text(&text);
                emit.name("annotations").raw(b"[");
                emit.raw_tail(if full { &self.notes } else { b"" });
                emit.name("logprobs").open_list().close_list();
            }
        }
        emit.close();
    }
}

pub(super) fn call_type(custom: bool) -> &'static str {
    match custom {
        true => "custom_tool_call",
        false => "function_call",
    }
}

pub(super) fn call_member(custom: bool) -> &'static str {
    match custom {
        true => "input",
        false => "arguments",
    }
}

/// Start of the names of events about an item's part, and the member that numbers it.
pub(super) fn part_names(kind: &ItemKind) -> (&'static str, &'static str) {
    match kind {
        ItemKind::Reasoning => ("response.reasoning_summary_part", "summary_index"),
        _ => ("response.content_part", "content_index"),
    }
}

/// An annotation in the form of Responses: of Anthropic's citation of a page, or of chat's.
pub(super) fn annotation(emit: &mut Emit<'_>, value: Value<'_>, is_citation: bool) -> bool {
    if is_citation {
        let Some(url) = value.field(b"url") else {
            return false;
        };
        emit.open().name("type").string("url_citation");
        emit.name("url").raw(url.raw).name("title");
        match value.field(b"title") {
            Some(title) => emit.raw(title.raw),
            None => emit.string(""),
        };
        emit.name("start_index").count(0).name("end_index").count(0);
        emit.close();
        return true;
    }
    let Some(nested) = value.field(b"url_citation") else {
        emit.raw(value.raw);
        return true;
    };
    emit.open().name("type").string("url_citation");
    for (name, value) in nested.fields() {
        emit.name(&String::from_utf8_lossy(name)).raw(value.raw);
    }
    emit.close();
    true
}

pub(super) fn code_of(error: &ErrorReply) -> &str {
    match error.kind.is_empty() {
        true => "server_error",
        false => &error.kind,
    }
}

pub(super) fn is_call(item: &Item, number: u32) -> bool {
    matches!(item.kind, ItemKind::Call { call, .. } if call == number)
}

pub(super) fn is_custom(item: &Item) -> bool {
    matches!(item.kind, ItemKind::Call { custom: true, .. })
}

pub(super) fn refuses(kind: &ItemKind) -> bool {
    matches!(kind, ItemKind::Message { refusal: true })
}
