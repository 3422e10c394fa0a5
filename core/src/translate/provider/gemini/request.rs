//! Prompts as requests of Gemini.

use super::config::Config;
use super::content::{TOOL_NAMES, Writer};
use super::{generation, tools};
use crate::translate::Emit;
use crate::translate::context::{Context, Memo, Operation};
use crate::translate::loss::{Losses, Weight};
use crate::translate::prompt::{Given, Param, Part, PartKind, Prompt, Turn};
use crate::translate::provider::names::ToolNames;
use crate::translate::provider::turns::{Talk, no_betas, rest_weight};
use crate::translate::provider::{Written, written};
use crate::wire::json::Value;

/// Members of Gemini that a caller may give under their own names, in either spelling.
const OWN: [(&str, &str); 8] = [
    ("safetySettings", "safetySettings"),
    ("safety_settings", "safetySettings"),
    ("cachedContent", "cachedContent"),
    ("cached_content", "cachedContent"),
    ("labels", "labels"),
    ("modelArmorConfig", "modelArmorConfig"),
    ("model_armor_config", "modelArmorConfig"),
    ("retrievalConfig", "retrievalConfig"),
];

pub(crate) fn write(prompt: Prompt<'_>, context: &Context<'_>, losses: &mut Losses<'_>) -> Written {
    let Prompt {
        turns,
        tools,
        tool_choice,
        parallel_tools,
        max_tokens,
        stop,
        reasoning,
        format,
        params,
        rest,
        stream,
        usage_chunk,
        echo,
    } = prompt;
    let detail = detail_of(&turns, losses);
    let mut talk = Talk::new(turns, losses);
    talk.user_first(losses);
    let mut names = ToolNames::new(TOOL_NAMES);
    let mut body = Vec::with_capacity(1024);
    let mut emit = Emit::new(&mut body);
    emit.open().name("contents");
    let mut writer = Writer {
        names: &mut names,
        losses,
        checks_signatures: generation(context.model).is_some_and(|generation| generation >= 3),
    };
    writer.contents(&talk.turns, &mut emit)?;
    system(&talk.system, losses, &mut emit);
    let search = params
        .iter()
        .find(|(param, _)| *param == Param::WebSearchOptions)
        .map(|(_, given)| given);
    let choice = tool_choice.as_ref();
    let custom_tools = tools::write(&tools, choice, search, &mut names, losses, &mut emit)?;
    if let Some(given) = parallel_tools.filter(|given| !given.value) {
        let why = "Gemini cannot be told to call one function at a time";
        losses.drop(Weight::Hint, given.name(), why);
    }
    let headers = Config {
        params: &params,
        max_tokens: max_tokens.map(|given| given.value),
        stop: stop.as_ref(),
        reasoning: reasoning.as_ref(),
        format: format.as_ref(),
        context,
        detail,
    }
    .write(losses, &mut emit)?;
    own_members(&rest, context, losses, &mut emit);
    emit.close();
    no_betas(context, losses);
    let operation = match stream {
        true => Operation::StreamGenerateContent,
        false => Operation::GenerateContent,
    };
    let memo = Memo {
        names: names.changed,
        custom_tools,
        custom_wrapped: true,
        usage_chunk,
        echo,
        ..Memo::default()
    };
    Ok(written(body, operation, headers, stream, memo))
}

fn system(parts: &[Part<'_>], losses: &mut Losses<'_>, emit: &mut Emit<'_>) {
    if parts.is_empty() {
        return;
    }
    emit.name("systemInstruction").open();
    emit.name("parts").open_list();
    for part in parts {
        match &part.kind {
            PartKind::Text { text, .. } => {
                emit.open().name("text").text(text).close();
            }
            _ => {
                let why = "Gemini takes nothing but text as an instruction";
                losses.drop(Weight::Meaning, part.field, why);
            }
        }
        if part.cache.is_some() {
            let why = "Gemini caches by itself";
            losses.drop(Weight::Hint, "cache_control", why);
        }
    }
    emit.close_list().close();
}

/// OpenAI's detail of images; Gemini has one for all of them.
fn detail_of(turns: &[Turn<'_>], losses: &mut Losses<'_>) -> Option<&'static str> {
    let parts = turns.iter().flat_map(|turn| &turn.parts);
    let mut details = parts.filter_map(|part| match &part.kind {
        PartKind::Image {
            detail: Some(detail),
            ..
        } => Some(detail),
        _ => None,
    });
    let first = details.next()?;
    if details.any(|detail| detail.clear() != first.clear()) {
        let why = "Gemini has one detail for all images";
        losses.drop(Weight::Hint, "messages[].content[].image_url.detail", why);
        return None;
    }
    match &*first.clear() {
        "low" => Some("MEDIA_RESOLUTION_LOW"),
        "high" => Some("MEDIA_RESOLUTION_HIGH"),
        _ => None,
    }
}

/// Fields of no other meaning: Gemini's own members pass, the rest is accounted for.
fn own_members(
    rest: &[Given<'_, Value<'_>>],
    context: &Context<'_>,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) {
    let allowed = &context.policy.allowed_openai_params;
    for given in rest {
        let own = OWN.iter().find(|(name, _)| *name == given.field);
        if let Some((_, own)) = own {
            emit.name(own).raw(given.value.raw);
        } else if allowed.iter().any(|name| *name == given.field) && is_word(&given.field) {
            emit.name(&given.field).raw(given.value.raw);
        } else {
            let why = "Gemini has no such field";
            losses.drop(rest_weight(&given.field), given.name(), why);
        }
    }
}

fn is_word(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(fits)
}
