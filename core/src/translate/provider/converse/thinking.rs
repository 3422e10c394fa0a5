//! How much to think, in the words of each vendor's models.

use super::family::Family;
use crate::translate::capability::{Capabilities, Flag};
use crate::translate::loss::{Losses, Refusal, Weight};
use crate::translate::prompt::{Given, Reasoning, Thinking};
use crate::translate::provider::messages::{budget_of, effort_of};

/// Smallest budget that Claude takes, in tokens.
const BUDGET_MIN: u64 = 1024;
/// Room for the answer beside the budget where the caller bounds nothing, in tokens.
const ANSWER_TOKENS: u64 = 4096;

/// What is sent of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing.
    Nothing,
    /// Claude's `thinking.type: enabled`.
    Budget(u64),
    /// Claude's `thinking.type: adaptive`.
    Adaptive,
    /// Claude's `thinking.type: disabled`.
    Off,
    /// Amazon's `reasoningConfig`.
    Nova(&'static str),
    /// OpenAI's `reasoning_effort`.
    OpenAi(String),
}

/// The plan, the word for `outputConfig.effort`, and the output bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thought {
    pub(super) plan: Plan,
    pub(super) effort: Option<String>,
    pub(super) max_tokens: Option<u64>,
}

impl Thought {
    /// Whether Claude thinks within a budget, which excludes some parameters.
    pub(super) fn is_budgeted(&self) -> bool {
        matches!(self.plan, Plan::Budget(_))
    }

    /// Whether the model was told to think.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self.plan, Plan::Nothing | Plan::Off)
    }
}

/// Plans. Only a word that nobody knows is refused.
pub(super) fn plan(
    given: Option<&Given<'_, Reasoning<'_>>>,
    family: Family,
    capabilities: &Capabilities,
    max_tokens: Option<u64>,
    losses: &mut Losses<'_>,
) -> Result<Thought, Refusal> {
    let mut thought = Thought {
        plan: Plan::Nothing,
        effort: None,
        max_tokens,
    };
    let Some(given) = given else {
        return Ok(thought);
    };
    let word = given.value.effort.as_ref().map(|word| word.clear());
    let word = word.as_deref();
    match family {
        Family::Claude | Family::Unknown => {
            claude(&mut thought, given, word, capabilities, losses)?;
        }
        Family::Nova if !capabilities.cannot(Flag::Reasoning) => {
            thought.plan = nova(given, word)?;
        }
        Family::OpenAi => {
            let word = word.map(ToOwned::to_owned);
            thought.plan = word.map_or(Plan::Nothing, Plan::OpenAi);
        }
        Family::Nova | Family::Other => losses.drop(
            Weight::Parameter,
            given.name(),
            "the model takes no such setting",
        ),
    }
    Ok(thought)
}

fn nova(given: &Given<'_, Reasoning<'_>>, word: Option<&str>) -> Result<Plan, Refusal> {
    let level = match (given.value.mode, word) {
        (Thinking::Off, _) | (_, Some("none")) => return Ok(Plan::Nothing),
        (Thinking::Budget(tokens), None) if tokens <= 1024 => "low",
        (Thinking::Budget(tokens), None) if tokens > 2048 => "high",
        (Thinking::Budget(_) | Thinking::Adaptive, None) | (_, Some("medium")) => "medium",
        (_, Some("minimal" | "low")) => "low",
        (_, Some("high" | "xhigh" | "max")) => "high",
        (Thinking::Unsaid, None) => return Ok(Plan::Nothing),
        (_, Some(other)) => return Err(unmapped(given, other)),
    };
    Ok(Plan::Nova(level))
}

fn claude(
    thought: &mut Thought,
    given: &Given<'_, Reasoning<'_>>,
    word: Option<&str>,
    capabilities: &Capabilities,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    let adaptive = capabilities.can(Flag::AdaptiveThinking);
    let legacy = !adaptive || capabilities.can(Flag::LegacyThinking);
    let budget = match (given.value.mode, word) {
        (Thinking::Off, _) | (Thinking::Unsaid, Some("none")) => {
            if capabilities.can(Flag::ThinkingAlwaysOn) {
                losses.drop(Weight::Hint, given.name(), "the model always thinks");
            } else if given.value.mode == Thinking::Off {
                thought.plan = Plan::Off;
            }
            return Ok(());
        }
        (Thinking::Budget(tokens), _) if legacy => tokens,
        (Thinking::Budget(tokens), _) => {
            losses.change(Weight::Hint, given.name(), "the model sets its own budget");
            thought.plan = Plan::Adaptive;
            let own = word.unwrap_or_else(|| effort_of(tokens));
            return effort(thought, given, own, capabilities, losses);
        }
        (Thinking::Adaptive, _) => {
            thought.plan = Plan::Adaptive;
            return match word {
                Some(word) => effort(thought, given, word, capabilities, losses),
                None => Ok(()),
            };
        }
        (Thinking::Unsaid, None) => return Ok(()),
        (Thinking::Unsaid, Some(word)) if adaptive => {
            thought.plan = Plan::Adaptive;
            return effort(thought, given, word, capabilities, losses);
        }
        (Thinking::Unsaid, Some(word)) => match budget_of(word) {
            Some(tokens) => tokens,
            None => return Err(unmapped(given, word)),
        },
    };
    settle_budget(thought, given, budget.max(BUDGET_MIN), losses);
    Ok(())
}

/// A budget stays below the output bound; without room for one there is none.
fn settle_budget(
    thought: &mut Thought,
    given: &Given<'_, Reasoning<'_>>,
    budget: u64,
    losses: &mut Losses<'_>,
) {
    let max_tokens = *thought
        .max_tokens
        .get_or_insert(budget.saturating_add(ANSWER_TOKENS));
    if budget < max_tokens {
        thought.plan = Plan::Budget(budget);
    } else if max_tokens > BUDGET_MIN {
        losses.change(Weight::Hint, given.name(), "cut below the output bound");
        thought.plan = Plan::Budget(max_tokens - 1);
    } else {
        losses.drop(
            Weight::Hint,
            given.name(),
            "the output bound leaves no room for thoughts",
        );
    }
}

fn effort(
    thought: &mut Thought,
    given: &Given<'_, Reasoning<'_>>,
    word: &str,
    capabilities: &Capabilities,
    losses: &mut Losses<'_>,
) -> Result<(), Refusal> {
    let own = if word == "minimal" { "low" } else { word };
    if budget_of(own).is_none() && !capabilities.efforts.iter().any(|known| known == own) {
        return Err(unmapped(given, word));
    }
    if capabilities.refuses_effort(own) || capabilities.cannot(Flag::OutputConfig) {
        losses.drop(
            Weight::Parameter,
            given.name(),
            "the model has no such effort",
        );
        return Ok(());
    }
    if own != word {
        losses.change(Weight::Hint, given.name(), "the lowest effort is 'low'");
    }
    thought.effort = Some(own.to_owned());
    Ok(())
}

fn unmapped(given: &Given<'_, Reasoning<'_>>, word: &str) -> Refusal {
    let field = given.field.clone().into_owned();
    let message = format!(
        "Unmapped reasoning effort: '{field}' is '{word}', which is none of none, minimal, low, \
         medium, high, xhigh and max"
    );
    Refusal { field, message }
}
