//! Turns made ready for providers that want users and models to take turns.

use crate::translate::context::Context;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Arguments, Part, PartKind, Role, Turn};
use crate::translate::text::Text;
use crate::wire::json::{Kind, whole};

/// Stands before an instruction that came in the middle of a conversation and is told as the
/// user's.
const OPERATOR: &str = "[Instruction of the application's operator, not of the user]\n";

/// A conversation of which the instructions at its beginning have been taken out.
pub(super) struct Talk<'a> {
    /// The instructions.
    pub(super) system: Vec<Part<'a>>,
    /// Turns of users and models, in alternation; results of tools stand first in theirs.
    pub(super) turns: Vec<Turn<'a>>,
}

impl<'a> Talk<'a> {
    /// Sorts turns. Instructions after the beginning keep their place as the user's; texts of
    /// nothing but white space are left out, which these providers reject.
    pub(super) fn new(turns: Vec<Turn<'a>>, losses: &mut Losses<'_>) -> Self {
        let mut talk = Self {
            system: Vec::new(),
            turns: Vec::new(),
        };
        for mut turn in turns {
            turn.parts.retain(|part| !is_blank(&part.kind));
            if turn.role == Role::System {
                turn.parts.retain(|part| !is_billing(&part.kind, losses));
            }
            match turn.role {
                Role::System if talk.turns.is_empty() => talk.system.append(&mut turn.parts),
                Role::System => {
                    losses.change(
                        Weight::Hint,
                        "messages[].role",
                        "an instruction in mid-conversation is told as the user's",
                    );
                    turn.role = Role::User;
                    turn.parts.insert(0, note(OPERATOR));
                    talk.push(turn);
                }
                Role::User | Role::Assistant => talk.push(turn),
            }
        }
        for turn in &mut talk.turns {
            turn.parts
                .sort_by_key(|part| !matches!(part.kind, PartKind::Result { .. }));
        }
        talk
    }

    fn push(&mut self, mut turn: Turn<'a>) {
        if turn.parts.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(last) if last.role == turn.role => last.parts.append(&mut turn.parts),
            _ => self.turns.push(turn),
        }
    }

    /// Whether a tool was called or answered anywhere.
    pub(super) fn has_tools(&self) -> bool {
        let mut parts = self.turns.iter().flat_map(|turn| &turn.parts);
        parts.any(|part| matches!(part.kind, PartKind::Call { .. } | PartKind::Result { .. }))
    }

    /// Puts a user's turn in front where a model speaks first, or nobody does.
    pub(super) fn user_first(&mut self, losses: &mut Losses<'_>) {
        if self
            .turns
            .first()
            .is_some_and(|turn| turn.role == Role::User)
        {
            return;
        }
        losses.change(
            Weight::Hint,
            "messages",
            "the provider wants a user to speak first: a turn was put in front",
        );
        let turn = Turn {
            role: Role::User,
            parts: vec![note(".")],
        };
        self.turns.insert(0, turn);
    }

    /// Tells calls and results as text, for requests without tools.
    pub(super) fn flatten_tools(&mut self, losses: &mut Losses<'_>) {
        if !self.has_tools() {
            return;
        }
        losses.change(
            Weight::Hint,
            "messages[].tool_calls",
            "told as text: the provider takes calls only beside tools",
        );
        for turn in &mut self.turns {
            let parts = std::mem::take(&mut turn.parts);
            for part in parts {
                flatten(part, &mut turn.parts);
            }
        }
    }
}

fn flatten<'a>(part: Part<'a>, into: &mut Vec<Part<'a>>) {
    match part.kind {
        PartKind::Call {
            id,
            name,
            arguments,
            ..
        } => {
            let arguments = match arguments {
                Arguments::Object(raw) => String::from_utf8_lossy(&raw).into_owned(),
                Arguments::Written(text) | Arguments::Free(text) => text.clear().into_owned(),
            };
            let text = format!("[call {}: {}({arguments})]", id.clear(), name.clear());
            into.push(note(text));
        }
        PartKind::Result { id, parts, .. } => {
            into.push(note(format!("[result of {}]", id.clear())));
            into.extend(parts);
        }
        _ => into.push(part),
    }
}

/// A piece of text of our own.
pub(super) fn note<'a>(text: impl Into<std::borrow::Cow<'a, str>>) -> Part<'a> {
    let text = Text::plain(text);
    Part::new(
        "messages[].content",
        PartKind::Text {
            text,
            citations: None,
        },
    )
}

/// Claude Code's note for Anthropic's own bill: it differs from session to session, and other
/// providers' caches would miss on it.
fn is_billing(kind: &PartKind<'_>, losses: &mut Losses<'_>) -> bool {
    let PartKind::Text { text, .. } = kind else {
        return false;
    };
    let is = text.clear().starts_with("x-anthropic-billing-header:");
    if is {
        let why = "a note for Anthropic's own bill";
        losses.drop(Weight::Hint, "system[].text", why);
    }
    is
}

fn is_blank(kind: &PartKind<'_>) -> bool {
    match kind {
        PartKind::Text { text, .. } => text.clear().trim().is_empty(),
        _ => false,
    }
}

/// Arguments of a call as a JSON object.
pub(super) fn object(arguments: &Arguments<'_>) -> Result<Vec<u8>, Refusal> {
    let bytes = match arguments {
        Arguments::Object(raw) => raw.to_vec(),
        Arguments::Free(text) => {
            let mut bytes = Vec::new();
            let mut emit = crate::translate::Emit::new(&mut bytes);
            emit.open().name("input").text(text).close();
            bytes
        }
        Arguments::Written(text) => text.clear().trim().as_bytes().to_vec(),
    };
    if bytes.is_empty() || bytes == b"null" {
        return Ok(b"{}".to_vec());
    }
    match whole(&bytes) {
        Ok(value) if value.kind == Kind::Object && is_json(&bytes) => Ok(bytes),
        _ => Err(Refusal::wrong(
            "messages[].tool_calls[].function.arguments",
            "a JSON object",
        )),
    }
}

/// Whether numbers are numbers, too.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// What a part that only the caller's own dialect knows is worth.
pub(super) fn foreign_weight(kind: &Text<'_>) -> Weight {
    let kind = kind.clear();
    let of_provider = kind.ends_with("_tool_result")
        || matches!(&*kind, "server_tool_use" | "compaction" | "fallback");
    match of_provider {
        true => Weight::Hint,
        false => Weight::Meaning,
    }
}

/// Accounts for Anthropic's betas where the provider has none.
pub(super) fn no_betas(context: &Context<'_>, losses: &mut Losses<'_>) {
    if context.betas.is_some_and(|betas| !betas.trim().is_empty()) {
        let why = "the provider has no betas";
        losses.drop(Weight::Hint, "anthropic-beta", why);
    }
}

/// What a field that only the caller's own dialect knows is worth.
pub(super) fn rest_weight(field: &str) -> Weight {
    match field {
        "context_management" | "diagnostics" | "safeguards" | "speed" | "inference_geo"
        | "include" | "client_metadata" | "conversation" | "background" => Weight::Hint,
        "container" | "mcp_servers" | "previous_response_id" | "prompt" => Weight::Meaning,
        _ => Weight::Parameter,
    }
}
