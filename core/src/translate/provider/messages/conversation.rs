//! Turns as Anthropic's `system` and `messages`.

use crate::translate::capability::Flag;
use crate::translate::dialect::Platform;
use crate::translate::emit::Emit;
use crate::translate::loss::{Refusal, Weight};
use crate::translate::prompt::{Part, PartKind, Proof, Role, Turn};
use crate::translate::provider::messages::parts;
use crate::translate::provider::messages::request::Draft;
use crate::translate::text::Text;

/// Beta of system turns inside the conversation.
const MID_SYSTEM: &str = "mid-conversation-system-2026-04-07";

/// Writes `system` and `messages`. `instruction` is a system text of the gateway's own.
pub(super) fn write(
    emit: &mut Emit<'_>,
    turns: Vec<Turn<'_>>,
    keeps_thoughts: bool,
    instruction: Option<&'static str>,
    draft: &mut Draft<'_, '_, '_>,
) -> Result<(), Refusal> {
    let (system, turns) = split(turns, draft);
    let has_system = system.iter().any(|part| !is_blank(part));
    if has_system || instruction.is_some() {
        emit.name("system").open_list();
        for part in system.iter().filter(|part| !is_blank(part)) {
            parts::write(emit, part, draft)?;
        }
        if let Some(text) = instruction {
            emit.open().name("type").string("text");
            emit.name("text").string(text).close();
        }
        emit.close_list();
    }
    let mut turns = merged(turns, keeps_thoughts, draft);
    if turns
        .first()
        .is_some_and(|turn| turn.role == Role::Assistant)
    {
        let why = "a conversation begins with a turn of the user: one was put before it";
        draft.losses.change(Weight::Hint, "messages", why);
        let kind = PartKind::Text {
            text: Text::plain("."),
            citations: None,
        };
        turns.insert(
            0,
            Turn {
                role: Role::User,
                parts: vec![Part::new("messages", kind)],
            },
        );
    }
    if turns.is_empty() {
        let message = "'messages' must have at least one turn that is not empty";
        return Err(Refusal::new("messages", message));
    }
    trim_prefill(&mut turns, draft);
    emit.name("messages").open_list();
    for turn in &turns {
        let role = match turn.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        emit.open().name("role").string(role);
        emit.name("content").open_list();
        for part in &turn.parts {
            parts::write(emit, part, draft)?;
        }
        emit.close_list().close();
    }
    emit.close_list();
    Ok(())
}

/// System texts before the first other turn, and the rest. Later ones stay where they are for
/// models that take them there, and go to the front for others.
fn split<'a>(
    turns: Vec<Turn<'a>>,
    draft: &mut Draft<'_, '_, '_>,
) -> (Vec<Part<'a>>, Vec<Turn<'a>>) {
    let stays = draft.context.platform == Platform::Anthropic
        && draft.context.capabilities.can(Flag::MidSystem);
    let (mut system, mut rest) = (Vec::new(), Vec::<Turn<'a>>::new());
    for turn in turns {
        if turn.role != Role::System {
            rest.push(turn);
        } else if rest.is_empty() {
            system.extend(turn.parts);
        } else if stays {
            draft.beta(MID_SYSTEM);
            rest.push(turn);
        } else {
            let why = "the model takes system texts before the conversation alone";
            draft.losses.change(Weight::Hint, "messages[].role", why);
            system.extend(turn.parts);
        }
    }
    (system, rest)
}

/// Neighbours of one role as one turn, tool results first; blank pieces left out.
fn merged<'a>(
    turns: Vec<Turn<'a>>,
    keeps_thoughts: bool,
    draft: &mut Draft<'_, '_, '_>,
) -> Vec<Turn<'a>> {
    let mut merged: Vec<Turn<'a>> = Vec::with_capacity(turns.len());
    for turn in turns {
        let mut parts: Vec<Part<'a>> = Vec::with_capacity(turn.parts.len());
        for part in turn.parts {
            if is_kept(&part, keeps_thoughts, draft) {
                parts.push(part);
            }
        }
        if parts.is_empty() {
            continue;
        }
        match merged.last_mut() {
            Some(last) if last.role == turn.role => last.parts.extend(parts),
            _ => merged.push(Turn {
                role: turn.role,
                parts,
            }),
        }
    }
    for turn in &mut merged {
        let is_result = |part: &Part<'_>| matches!(part.kind, PartKind::Result { .. });
        let is_thought = |part: &Part<'_>| matches!(part.kind, PartKind::Thinking { .. });
        match turn.role {
            Role::User => turn.parts.sort_by_key(|part| !is_result(part)),
            // Some servers put an answer's thoughts behind its text: they come first here,
            // unless calls stand between them.
            Role::Assistant if !turn.parts.iter().any(|part| is_call(part)) => {
                turn.parts.sort_by_key(|part| !is_thought(part));
            }
            Role::Assistant | Role::System => {}
        }
    }
    merged
}

fn is_call(part: &Part<'_>) -> bool {
    matches!(part.kind, PartKind::Call { .. })
}

fn is_kept(part: &Part<'_>, keeps_thoughts: bool, draft: &mut Draft<'_, '_, '_>) -> bool {
    match &part.kind {
        PartKind::Thinking { proof, .. } => {
            let signed = matches!(proof, Proof::Anthropic(_) | Proof::Redacted(_));
            if !signed {
                let why = "thoughts without Anthropic's signature are not accepted back";
                draft.losses.drop(Weight::Hint, part.field, why);
            }
            signed && keeps_thoughts
        }
        _ => !is_blank(part),
    }
}

/// Text that Anthropic refuses: nothing, or white space alone.
fn is_blank(part: &Part<'_>) -> bool {
    match &part.kind {
        PartKind::Text { text, .. } | PartKind::Refusal(text) => {
            text.is_empty() || text.clear().trim().is_empty()
        }
        _ => false,
    }
}

/// The beginning of the answer that the caller gives must not end in white space.
fn trim_prefill(turns: &mut [Turn<'_>], draft: &mut Draft<'_, '_, '_>) {
    let last = turns.last_mut().filter(|turn| turn.role == Role::Assistant);
    let Some(part) = last.and_then(|turn| turn.parts.last_mut()) else {
        return;
    };
    if let PartKind::Text { text, .. } = &mut part.kind {
        let clear = text.clear();
        let trimmed = clear.trim_end();
        if trimmed.len() < clear.len() {
            let why = "the begun answer must not end in white space";
            draft.losses.change(Weight::Hint, part.field, why);
            let trimmed = trimmed.to_owned();
            *text = Text::plain(trimmed);
        }
    }
}
