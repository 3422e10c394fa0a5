//! What a translation could not carry over, and when that refuses the request.

use std::borrow::Cow;

use crate::error::{GatewayError, python_list};

/// How much a request loses with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// A hint or a label: the answer means the same without it. Dropped unless the policy is
    /// strict.
    Hint,
    /// A parameter: the answer is another one without it. Refused unless `drop_params` is set.
    Parameter,
    /// Part of what is asked. Always refused.
    Meaning,
}

/// What became of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is gone.
    Dropped,
    /// It is there with another value or in another place than the caller meant.
    Changed,
}

/// One entry of `x-meridian-dropped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The field in the caller's words: `seed`, `messages[].content[].cache_control`.
    pub field: Cow<'static, str>,
    /// What became of it.
    pub change: Change,
    /// Why, in a few words: for the log line and `docs/TRANSLATION.md`.
    pub reason: &'static str,
}

/// When a loss refuses the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Any loss refuses.
    pub strict: bool,
    /// Parameters that cannot be carried over are left out instead of refused.
    pub drop_params: bool,
    /// Fields taken out of the request before anything else: names, or paths such as
    /// `tools[*].function.strict`.
    pub additional_drop_params: Vec<String>,
    /// Parameters passed under their own name although the model is not known to take them.
    pub allowed_openai_params: Vec<String>,
}

/// What a field without a name is called.
const NAMELESS: &str = "(empty name)";

/// Why a request is not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The field that is named to the caller, in its own words.
    pub field: String,
    /// What is wrong and what would help.
    pub message: String,
}

impl Refusal {
    /// A refusal of one field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }

    /// A field of the wrong type; `expected` is `a string`, `a list`, ...
    pub fn wrong(field: impl Into<String>, expected: &str) -> Self {
        let field = field.into();
        let message = format!("'{field}' must be {expected}");
        Self { field, message }
    }
}

impl From<Refusal> for GatewayError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { field, message } = refusal;
        Self::BadField { field, message }
    }
}

/// Keeps account of the losses of one request.
#[derive(Clone, Debug)]
pub struct Losses<'p> {
    policy: &'p Policy,
    list: Vec<Loss>,
    /// Refused as parameters: `drop_params` would let them go.
    parameters: Vec<Cow<'static, str>>,
    /// Refused whatever the policy says.
    meanings: Vec<Loss>,
}

impl<'p> Losses<'p> {
    /// No loss yet.
    pub fn new(policy: &'p Policy) -> Self {
        Self {
            policy,
            list: Vec::new(),
            parameters: Vec::new(),
            meanings: Vec::new(),
        }
    }

    /// The policy that losses are judged by.
    pub fn policy(&self) -> &'p Policy {
        self.policy
    }

    /// A field that is left out.
    pub fn drop(&mut self, weight: Weight, field: impl Into<Cow<'static, str>>, why: &'static str) {
        self.add(weight, field.into(), Change::Dropped, why);
    }

    /// A field that arrives as something else.
    pub fn change(
        &mut self,
        weight: Weight,
        field: impl Into<Cow<'static, str>>,
        why: &'static str,
    ) {
        self.add(weight, field.into(), Change::Changed, why);
    }

    fn add(&mut self, weight: Weight, field: Cow<'static, str>, change: Change, why: &'static str) {
        // JSON allows a member whose name is empty; a complaint must still name something.
        let field = match field.is_empty() {
            true => Cow::Borrowed(NAMELESS),
            false => field,
        };
        let known = self.list.iter().chain(&self.meanings);
        if known
            .clone()
            .any(|loss| loss.field == field && loss.change == change)
        {
            return;
        }
        let loss = Loss {
            field,
            change,
            reason: why,
        };
        match weight {
            Weight::Hint => {}
            Weight::Parameter if self.policy.drop_params => {}
            Weight::Parameter => self.parameters.push(loss.field.clone()),
            Weight::Meaning => {
                self.meanings.push(loss);
                return;
            }
        }
        self.list.push(loss);
    }

    /// The list, or why the request is refused. `provider` and `model` are for LiteLLM's text.
    pub fn settle(self, provider: &str, model: &str) -> Result<Vec<Loss>, Refusal> {
        if let Some(loss) = self.meanings.first() {
            let field = loss.field.clone().into_owned();
            let message = format!("'{field}' cannot be sent to {provider}: {}", loss.reason);
            return Err(Refusal { field, message });
        }
        if let (true, Some(loss)) = (self.policy.strict, self.list.first()) {
            let fields = self.list.iter().map(|loss| loss.field.clone().into_owned());
            let verb = match loss.change {
                Change::Dropped => "dropped",
                Change::Changed => "changed",
            };
            let message = format!(
                "strict translation: '{}' would be {verb} for {provider}: {}. Fields: {}",
                loss.field,
                loss.reason,
                python_list(&fields.collect::<Vec<_>>()),
            );
            return Err(Refusal::new(loss.field.clone(), message));
        }
        if let Some(first) = self.parameters.first() {
            let names = self.parameters.iter().map(|name| name.to_string());
            let message = format!(
                "{provider} does not support parameters: {}, for model={model}. To drop these, \
                 set `litellm.drop_params=True` or for proxy:\n\n`litellm_settings:\n \
                 drop_params: true`\n",
                python_list(&names.collect::<Vec<_>>())
            );
            return Err(Refusal::new(first.clone(), message));
        }
        Ok(self.list)
    }
}

/// The value of `x-meridian-dropped`: fields in the order in which they were lost, changed ones
/// with a `~` before them; cut to what fits a header.
pub fn header_value(losses: &[Loss]) -> String {
    const HEADER_BYTES_MAX: usize = 1024;
    let mut value = String::new();
    for loss in losses {
        let mark = match loss.change {
            Change::Dropped => "",
            Change::Changed => "~",
        };
        if value.len() + loss.field.len() + 3 > HEADER_BYTES_MAX {
            value.push_str(",...");
            break;
        }
        if !value.is_empty() {
            value.push(',');
        }
        value.push_str(mark);
        let printable = |sign: char| sign.is_ascii_graphic() && sign != ',';
        value.extend(loss.field.chars().filter(|sign| printable(*sign)));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(policy: &Policy, weight: Weight) -> Result<Vec<Loss>, Refusal> {
        let mut losses = Losses::new(policy);
        losses.drop(Weight::Hint, "metadata", "no such field");
        losses.drop(weight, "seed", "no such field");
        losses.drop(weight, "seed", "no such field");
        losses.settle("anthropic", "claude")
    }

    #[test]
    fn the_weight_and_the_policy_decide() {
        let plain = Policy::default();
        assert_eq!(settle(&plain, Weight::Hint).unwrap().len(), 2);
        let refused = settle(&plain, Weight::Parameter).unwrap_err();
        assert_eq!(refused.field, "seed");
        assert!(refused.message.starts_with(
            "anthropic does not support parameters: ['seed'], for model=claude. To drop"
        ));
        let drops = Policy {
            drop_params: true,
            ..Policy::default()
        };
        assert_eq!(settle(&drops, Weight::Parameter).unwrap().len(), 2);
        assert_eq!(settle(&drops, Weight::Meaning).unwrap_err().field, "seed");
        let strict = Policy {
            strict: true,
            ..drops
        };
        let refused = settle(&strict, Weight::Hint).unwrap_err();
        assert_eq!(refused.field, "metadata");
        assert!(refused.message.contains("['metadata', 'seed']"));
    }

    #[test]
    fn the_header_is_bounded_and_printable() {
        let loss = |field: &str, change| Loss {
            field: field.to_owned().into(),
            change,
            reason: "",
        };
        let list = [
            loss("seed", Change::Dropped),
            loss("max\r\n_tokens", Change::Changed),
        ];
        assert_eq!(header_value(&list), "seed,~max_tokens");
        let many: Vec<_> = (0..500)
            .map(|n| loss(&format!("field{n}"), Change::Dropped))
            .collect();
        assert!(header_value(&many).len() < 1100);
    }
}
