//! How much Claude shall think: effort words, budgets, adaptive thinking.

use crate::translate::capability::Flag;
use crate::translate::emit::Emit;
use crate::translate::loss::Weight;
use crate::translate::prompt::{Given, PartKind, Proof, Reasoning, Role, Thinking, Turn};
use crate::translate::provider::messages::request::Draft;

/// Smallest budget that Anthropic accepts.
const BUDGET_MIN: u64 = 1024;

/// What goes into the request.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// `thinking.type: enabled` with this many tokens.
    pub(super) budget: Option<u64>,
    adaptive: bool,
    off: bool,
    /// `output_config.effort`.
    pub(super) effort: Option<String>,
    /// Earlier thoughts are sent back.
    pub(super) keeps_thoughts: bool,
}

impl Plan {
    /// Writes `thinking`; `output_config` is written with the format.
    pub(super) fn write(&self, emit: &mut Emit<'_>) {
        if let Some(budget) = self.budget {
            emit.name("thinking").open();
            emit.name("type").string("enabled");
            emit.name("budget_tokens").count(budget).close();
        } else if self.adaptive {
            emit.name("thinking").open();
            emit.name("type").string("adaptive");
            // Left out, the thoughts come empty.
            emit.name("display").string("summarized").close();
        } else if self.off {
            emit.name("thinking").open();
            emit.name("type").string("disabled").close();
        }
    }
}

/// Budget of an effort word, LiteLLM's defaults.
pub(crate) fn budget_of(effort: &str) -> Option<u64> {
    Some(match effort {
        "minimal" | "low" => 1024,
        "medium" => 2048,
        "high" => 4096,
        "xhigh" => 8192,
        "max" => 16384,
        _ => return None,
    })
}

/// Effort word of a budget.
pub(crate) fn effort_of(budget: u64) -> &'static str {
    match budget {
        0..=1024 => "low",
        1025..=2048 => "medium",
        _ => "high",
    }
}

pub(super) fn plan(
    given: Option<&Given<'_, Reasoning<'_>>>,
    max_tokens: &Option<Given<'_, u64>>,
    turns: &[Turn<'_>],
    draft: &mut Draft<'_, '_, '_>,
) -> Plan {
    let keeps = Plan {
        keeps_thoughts: true,
        ..Plan::default()
    };
    let Some(given) = given else {
        return keeps;
    };
    let capabilities = draft.context.capabilities;
    let word = given.value.effort.as_ref().map(|text| text.clear());
    let word = word.as_deref();
    if given.value.mode == Thinking::Off || word == Some("none") {
        return off(given, keeps, draft);
    }
    if capabilities.can(Flag::AdaptiveThinking) {
        return adaptive(given, word, keeps, draft);
    }
    if capabilities.cannot(Flag::Reasoning) {
        let why = "the model does not reason";
        draft.losses.drop(Weight::Parameter, given.name(), why);
        return keeps;
    }
    let asked = match given.value.mode {
        Thinking::Budget(budget) => Some(budget),
        _ => word.map_or(Some(4096), budget_of),
    };
    let Some(asked) = asked else {
        let why = "the word has no thinking budget";
        draft.losses.drop(Weight::Parameter, given.name(), why);
        return keeps;
    };
    legacy(given, asked, max_tokens, turns, keeps, draft)
}

fn off(given: &Given<'_, Reasoning<'_>>, mut plan: Plan, draft: &mut Draft<'_, '_, '_>) -> Plan {
    let capabilities = draft.context.capabilities;
    if capabilities.can(Flag::ThinkingAlwaysOn) {
        let why = "the model always thinks";
        draft.losses.drop(Weight::Parameter, given.name(), why);
    } else if capabilities.can(Flag::AdaptiveThinking) {
        plan.off = true;
    }
    plan
}

fn adaptive(
    given: &Given<'_, Reasoning<'_>>,
    word: Option<&str>,
    mut plan: Plan,
    draft: &mut Draft<'_, '_, '_>,
) -> Plan {
    let capabilities = draft.context.capabilities;
    if let Thinking::Budget(budget) = given.value.mode {
        if capabilities.can(Flag::LegacyThinking) {
            plan.budget = Some(budget);
            return plan;
        }
        let why = "a budget becomes an effort: the model decides how long it thinks";
        draft.losses.change(Weight::Hint, given.name(), why);
        plan.effort = Some(effort_of(budget).to_owned());
    }
    plan.adaptive = true;
    let word = match word {
        Some("minimal") => {
            let why = "the lowest effort is `low`";
            draft.losses.change(Weight::Hint, given.name(), why);
            Some("low")
        }
        Some(word @ ("xhigh" | "max")) if capabilities.refuses_effort(word) => {
            let why = "the model has no such effort";
            draft.losses.change(Weight::Parameter, given.name(), why);
            Some("high")
        }
        word => word,
    };
    if let Some(word) = word {
        plan.effort = Some(word.to_owned());
    }
    if plan.effort.is_some() {
        draft.beta("effort-2025-11-24");
    }
    plan
}

fn legacy(
    given: &Given<'_, Reasoning<'_>>,
    asked: u64,
    max_tokens: &Option<Given<'_, u64>>,
    turns: &[Turn<'_>],
    mut plan: Plan,
    draft: &mut Draft<'_, '_, '_>,
) -> Plan {
    if loop_without_thoughts(turns) {
        let why = "a turn with tool calls came back without its signed thoughts";
        draft.losses.drop(Weight::Hint, given.name(), why);
        plan.keeps_thoughts = false;
        return plan;
    }
    let limit = draft.context.capabilities.max_output_tokens;
    let bound = max_tokens.as_ref().map(|given| given.value).or(limit);
    let budget = asked.max(BUDGET_MIN);
    let budget = bound.map_or(budget, |bound| budget.min(bound.saturating_sub(1)));
    if budget < BUDGET_MIN {
        let why = "max_tokens leaves no room for the smallest thinking budget";
        draft.losses.drop(Weight::Hint, given.name(), why);
        return plan;
    }
    if budget != asked {
        let why = "the budget must be at least 1024 and less than max_tokens";
        draft.losses.change(Weight::Hint, given.name(), why);
    }
    plan.budget = Some(budget);
    plan
}

/// Whether the tool loop under way has a turn of the model that does not begin with a thought
/// that Anthropic accepts: with a budget, it refuses such a request.
fn loop_without_thoughts(turns: &[Turn<'_>]) -> bool {
    let is_answer = |turn: &Turn<'_>| {
        let mut parts = turn.parts.iter();
        turn.role == Role::User && parts.any(|part| !matches!(part.kind, PartKind::Result { .. }))
    };
    let start = turns.iter().rposition(is_answer).map_or(0, |at| at + 1);
    let mut later = turns[start..].iter();
    later.any(|turn| turn.role == Role::Assistant && calls(turn) && !begins_signed(turn))
}

fn calls(turn: &Turn<'_>) -> bool {
    let mut parts = turn.parts.iter();
    parts.any(|part| matches!(part.kind, PartKind::Call { .. }))
}

fn begins_signed(turn: &Turn<'_>) -> bool {
    let mut parts = turn.parts.iter();
    parts.any(|part| match &part.kind {
        PartKind::Thinking { proof, .. } => {
            matches!(proof, Proof::Anthropic(_) | Proof::Redacted(_))
        }
        _ => false,
    })
}
