//! Parameters as Gemini's `generationConfig`.

use super::generation;
use crate::translate::Emit;
use crate::translate::capability::{Capabilities, Flag};
use crate::translate::context::Context;
use crate::translate::dialect::Platform;
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Format, Given, Param, Reasoning, Thinking};
use crate::translate::provider::messages::budget_of;
use crate::translate::provider::{schema, weight_of_param};
use crate::translate::text::Text;
use crate::wire::json::{Kind, Value};

/// Most stop sequences.
const STOPS_MAX: usize = 5;

/// What `generationConfig` is made of.
pub(super) struct Config<'f, 'a, 'c> {
    pub(super) params: &'f [(Param, Given<'a, Value<'a>>)],
    pub(super) max_tokens: Option<u64>,
    pub(super) stop: Option<&'f Given<'a, Vec<Text<'a>>>>,
    pub(super) reasoning: Option<&'f Given<'a, Reasoning<'a>>>,
    pub(super) format: Option<&'f Given<'a, Format<'a>>>,
    pub(super) context: &'f Context<'c>,
    /// `low` or `high`, of all images.
    pub(super) detail: Option<&'static str>,
}

impl Config<'_, '_, '_> {
    /// The value of `generationConfig`; headers that belong to it.
    pub(super) fn write(
        &self,
        losses: &mut Losses<'_>,
        emit: &mut Emit<'_>,
    ) -> Result<Vec<(&'static str, String)>, Refusal> {
        let mut headers = Vec::new();
        let mut tier = None;
        emit.name("generationConfig").open();
        for (param, given) in self.params {
            match param {
                Param::ServiceTier => {
                    tier = Text::of(given.value);
                    if weight_of_param(*param, given.value) == Weight::Hint {
                        let why = "the usual tier needs no word";
                        losses.drop(Weight::Hint, given.name(), why);
                    }
                }
                _ => self.param(*param, given, losses, emit),
            }
        }
        if let Some(tokens) = self.max_tokens {
            emit.name("maxOutputTokens").count(tokens);
        }
        self.stop(losses, emit);
        self.format(losses, emit);
        if let Some(detail) = self.detail {
            emit.name("mediaResolution").string(detail);
        }
        self.thinking(losses, emit)?;
        emit.close();
        let tier = tier.filter(|tier| !tier.is("auto") && !tier.is("default"));
        match (tier, self.context.platform) {
            (Some(tier), Platform::Vertex) => headers.push((
                "x-vertex-ai-llm-shared-request-type",
                tier.clear().into_owned(),
            )),
            (Some(tier), _) => {
                emit.name("serviceTier").text(&tier);
            }
            (None, _) => {}
        }
        Ok(headers)
    }

    fn param(
        &self,
        param: Param,
        given: &Given<'_, Value<'_>>,
        losses: &mut Losses<'_>,
        emit: &mut Emit<'_>,
    ) {
        let sampling = matches!(param, Param::Temperature | Param::TopP | Param::TopK);
        if sampling && self.context.capabilities.cannot(Flag::Sampling) {
            let why = "the model takes no sampling parameters";
            losses.drop(Weight::Parameter, given.name(), why);
            return;
        }
        let name = match param {
            Param::Temperature => "temperature",
            Param::TopP => "topP",
            Param::TopK => "topK",
            Param::N => "candidateCount",
            Param::Seed => "seed",
            Param::PresencePenalty => "presencePenalty",
            Param::FrequencyPenalty => "frequencyPenalty",
            Param::Logprobs => "responseLogprobs",
            Param::TopLogprobs => "logprobs",
            Param::Modalities => return modalities(given.value, emit),
            Param::Audio => return voice(given.value, emit),
            Param::WebSearchOptions | Param::ServiceTier => return,
            other => {
                let why = "Gemini has no such parameter";
                losses.drop(weight_of_param(other, given.value), given.name(), why);
                return;
            }
        };
        emit.name(name).raw(given.value.raw);
    }

    fn stop(&self, losses: &mut Losses<'_>, emit: &mut Emit<'_>) {
        let Some(stop) = self.stop.filter(|stop| !stop.value.is_empty()) else {
            return;
        };
        if stop.value.len() > STOPS_MAX {
            let why = "Gemini takes five stop sequences";
            losses.change(Weight::Parameter, stop.name(), why);
        }
        emit.name("stopSequences").open_list();
        for text in stop.value.iter().take(STOPS_MAX) {
            emit.text(text);
        }
        emit.close_list();
    }

    fn format(&self, losses: &mut Losses<'_>, emit: &mut Emit<'_>) {
        let Some(given) = self.format else {
            return;
        };
        match &given.value {
            Format::Text => {}
            Format::JsonObject => {
                emit.name("responseMimeType").string("application/json");
            }
            Format::JsonSchema { schema, .. } => {
                let (clean, changed) = schema::cleaned(*schema, schema::Rules::Gemini);
                emit.name("responseMimeType").string("application/json");
                emit.name("responseJsonSchema").raw(&clean);
                if changed {
                    let why = "keywords of the schema that Gemini does not know are left out";
                    losses.change(Weight::Hint, given.name(), why);
                }
            }
            Format::Foreign(_) => {
                losses.drop(Weight::Meaning, given.name(), "a format of another dialect");
            }
        }
    }

    fn thinking(&self, losses: &mut Losses<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
        let Some(given) = self.reasoning else {
            return Ok(());
        };
        let word = given.value.effort.as_ref().map(|word| word.clear());
        let word = word.as_deref();
        let capabilities = self.context.capabilities;
        if capabilities.cannot(Flag::Reasoning) {
            let why = "the model does not think";
            losses.drop(Weight::Parameter, given.name(), why);
            return Ok(());
        }
        let amount = match (given.value.mode, word) {
            (Thinking::Off, _) | (Thinking::Unsaid, Some("none")) => Amount::None,
            (Thinking::Budget(tokens), _) => Amount::Budget(tokens),
            (Thinking::Adaptive, None) => Amount::Free,
            (Thinking::Unsaid, None) => return Ok(()),
            (_, Some(word)) if budget_of(word).is_some() => Amount::Word(word),
            (_, Some(word)) => {
                let field = given.field.clone().into_owned();
                let message = format!("Unmapped reasoning effort: '{field}' is '{word}'");
                return Err(Refusal { field, message });
            }
        };
        emit.name("thinkingConfig").open();
        match has_levels(self.context.model, capabilities) {
            true => level(&amount, given, capabilities, losses, emit),
            false => budget(&amount, emit),
        }
        if !matches!(amount, Amount::None) {
            emit.name("includeThoughts").flag(true);
        }
        emit.close();
        Ok(())
    }
}

/// How much to think.
enum Amount<'w> {
    None,
    /// As much as the model likes.
    Free,
    Word(&'w str),
    Budget(u64),
}

/// Whether the model takes levels (from generation 3 on) and not budgets.
fn has_levels(model: &str, capabilities: &Capabilities) -> bool {
    let known = capabilities.get(Flag::EffortMinimal).is_some() || !capabilities.efforts.is_empty();
    known || generation(model).is_some_and(|generation| generation >= 3)
}

fn level(
    amount: &Amount<'_>,
    given: &Given<'_, Reasoning<'_>>,
    capabilities: &Capabilities,
    losses: &mut Losses<'_>,
    emit: &mut Emit<'_>,
) {
    let word = match amount {
        Amount::Free => return,
        Amount::None => "minimal",
        Amount::Word(word) => *word,
        Amount::Budget(0..=1024) => "low",
        Amount::Budget(1025..=2048) => "medium",
        Amount::Budget(_) => "high",
    };
    let own = match word {
        "minimal" if !capabilities.can(Flag::EffortMinimal) => "low",
        "xhigh" | "max" => "high",
        other => other,
    };
    if own != word || !matches!(amount, Amount::Word(_)) {
        let why = "told as the nearest level that the model has";
        losses.change(Weight::Hint, given.name(), why);
    }
    emit.name("thinkingLevel").string(own);
}

fn budget(amount: &Amount<'_>, emit: &mut Emit<'_>) {
    match amount {
        Amount::None => {
            emit.name("thinkingBudget").count(0);
        }
        // Gemini's word for "as much as you like".
        Amount::Free => {
            emit.name("thinkingBudget").raw(b"-1");
        }
        Amount::Word(word) => {
            emit.name("thinkingBudget")
                .count(budget_of(word).unwrap_or_default());
        }
        Amount::Budget(tokens) => {
            emit.name("thinkingBudget").count(*tokens);
        }
    }
}

fn modalities(value: Value<'_>, emit: &mut Emit<'_>) {
    emit.name("responseModalities").open_list();
    for item in value.items().filter_map(Value::text) {
        emit.string(&item.to_ascii_uppercase());
    }
    emit.close_list();
}

fn voice(value: Value<'_>, emit: &mut Emit<'_>) {
    let voice = value
        .field(b"voice")
        .filter(|voice| matches!(voice.kind, Kind::String(_)));
    if let Some(voice) = voice {
        emit.name("speechConfig").open().name("voiceConfig").open();
        emit.name("prebuiltVoiceConfig").open();
        emit.name("voiceName").raw(voice.raw);
        emit.close().close().close();
    }
}
