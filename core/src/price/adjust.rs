//! Discounts and margins that an operator puts on provider prices.

use serde_json::{Map, Value};

use super::PriceError;
use super::decimal::{Factor, Rate};

/// What is put on top of a request's exact cost: first the discount, then the margin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adjustment {
    /// Share taken off, 0.05 for 5 %.
    pub discount: Option<Factor>,
    /// Share added after the discount, 0.1 for 10 %.
    pub margin: Option<Factor>,
    /// Amount added per request.
    pub fixed: Rate,
}

/// `litellm_settings.cost_discount_config` and `cost_margin_config`, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdjustmentRules {
    discounts: Vec<(String, Factor)>,
    margins: Vec<(String, Margin)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Margin {
    share: Option<Factor>,
    fixed: Rate,
}

impl AdjustmentRules {
    /// Reads `{provider: 0.05}` or `{provider/model-pattern: 0.05}` discounts and
    /// `{provider|global: 0.1}` or `{provider|global: {percentage, fixed_amount}}` margins.
    /// A discount above 1 or anything negative is an error.
    pub fn from_config(
        discounts: &Map<String, Value>,
        margins: &Map<String, Value>,
    ) -> Result<Self, PriceError> {
        let mut rules = Self::default();
        for (name, value) in discounts {
            let share = share(name, value)?;
            if share > Factor::ONE {
                return Err(bad(name, value));
            }
            rules.discounts.push((name.clone(), share));
        }
        for (name, value) in margins {
            rules.margins.push((name.clone(), margin(name, value)?));
        }
        Ok(rules)
    }

    /// The rules for one deployment. The discount pattern with most literal characters wins over
    /// the provider's own; the provider's margin wins over `global`.
    pub fn resolve(&self, provider: &str, model: &str) -> Adjustment {
        let model = bare(provider, model);
        let discount = self
            .discounts
            .iter()
            .filter_map(|(key, share)| Some((specificity(key, provider, model)?, *share)))
            .max_by_key(|(specificity, _)| *specificity);
        let margin_of = |name: &str| self.margins.iter().find(|(key, _)| key == name);
        let margin = margin_of(provider).or_else(|| margin_of("global"));
        let margin = margin.map(|(_, margin)| *margin).unwrap_or_default();
        Adjustment {
            discount: discount.map(|(_, share)| share),
            margin: margin.share,
            fixed: margin.fixed,
        }
    }
}

impl Adjustment {
    /// For a further attempt of a request: what is added per request was added before.
    #[must_use]
    pub fn without_fixed(self) -> Self {
        Self {
            fixed: Rate::ZERO,
            ..self
        }
    }

    /// Discount and margin on an exact cost, neither rounded yet.
    pub(super) fn parts(&self, cost: Rate) -> (Rate, Rate) {
        let discount = cost.scaled(self.discount.unwrap_or(Factor::ZERO));
        let left = cost.minus(discount);
        let margin = left.scaled(self.margin.unwrap_or(Factor::ZERO));
        (discount, margin.plus(self.fixed))
    }
}

/// Literal characters of a rule that fits, with exact names above patterns; `None` if it does not.
fn specificity(key: &str, provider: &str, model: &str) -> Option<usize> {
    if key == provider {
        return Some(0);
    }
    let pattern = key.strip_prefix(provider)?.strip_prefix('/')?;
    if pattern == model {
        return Some(usize::MAX);
    }
    let literal = pattern.bytes().filter(|byte| *byte != b'*').count();
    glob(pattern, model).then_some(literal.saturating_add(1))
}

/// Whether `text` matches a pattern in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn bare<'a>(provider: &str, model: &'a str) -> &'a str {
    model
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(model)
}

fn margin(name: &str, value: &Value) -> Result<Margin, PriceError> {
    let Value::Object(parts) = value else {
        let share = Some(share(name, value)?);
        return Ok(Margin {
            share,
            fixed: Rate::ZERO,
        });
    };
    let fixed = parts.get("fixed_amount").map(|amount| {
        let text = scalar_text(amount).ok_or_else(|| bad(name, amount))?;
        Rate::parse(&text).ok_or_else(|| bad(name, amount))
    });
    let percentage = parts.get("percentage").map(|value| share(name, value));
    Ok(Margin {
        share: percentage.transpose()?,
        fixed: fixed.transpose()?.unwrap_or_default(),
    })
}

fn share(name: &str, value: &Value) -> Result<Factor, PriceError> {
    scalar_text(value)
        .and_then(|text| Factor::parse(&text))
        .ok_or_else(|| bad(name, value))
}

/// Text of a number or of a string.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn bad(name: &str, value: &Value) -> PriceError {
    PriceError::bad_field(name, &value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::money::NanoUsd;

    fn rules(discounts: Value, margins: Value) -> Result<AdjustmentRules, PriceError> {
        AdjustmentRules::from_config(discounts.as_object().unwrap(), margins.as_object().unwrap())
    }

    #[test]
    fn the_discount_comes_before_the_margin() {
        let margins = json!({"global": {"percentage": 0.1, "fixed_amount": "0.0005"}});
        let rules = rules(json!({"openai": 0.05}), margins).unwrap();
        let cost = Rate::parse("1").unwrap();
        let (discount, margin) = rules.resolve("openai", "gpt-4o").parts(cost);
        assert_eq!(discount.round(), NanoUsd(50_000_000));
        assert_eq!(margin.round(), NanoUsd(95_500_000));
        let (discount, margin) = rules.resolve("anthropic", "claude").parts(cost);
        assert_eq!(
            (discount.round(), margin.round()),
            (NanoUsd(0), NanoUsd(100_500_000))
        );
    }

    #[test]
    fn the_closest_rule_wins() {
        let discounts = json!({
            "openai": 0.1, "openai/gpt-*": 0.2, "openai/gpt-4o*": 0.3, "openai/gpt-4o-mini": 0.4,
        });
        let rules = rules(discounts, json!({"global": 0.5, "openai": 0})).unwrap();
        let discount = |model| rules.resolve("openai", model).discount;
        assert_eq!(discount("o3"), Factor::parse("0.1"));
        assert_eq!(discount("gpt-5"), Factor::parse("0.2"));
        assert_eq!(discount("openai/gpt-4o-x"), Factor::parse("0.3"));
        assert_eq!(discount("gpt-4o-mini"), Factor::parse("0.4"));
        assert_eq!(rules.resolve("azure", "gpt-4o").discount, None);
        assert_eq!(rules.resolve("openai", "o3").margin, Some(Factor::ZERO));
    }

    #[test]
    fn nonsense_is_refused_at_load() {
        assert!(rules(json!({"openai": 1.5}), json!({})).is_err());
        assert!(rules(json!({"openai": -0.1}), json!({})).is_err());
        assert!(rules(json!({}), json!({"global": [1]})).is_err());
        assert!(rules(json!({}), json!({"global": {"fixed_amount": true}})).is_err());
    }
}
