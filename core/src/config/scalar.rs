//! What a YAML scalar means. Plain words follow YAML 1.1, which LiteLLM's reader speaks.

use serde_json::{Number, Value};

/// How a scalar was written, which decides how it may be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: may be null, a boolean or a number.
    Plain,
    /// In quotes or as a block: text.
    Quoted,
    /// From an environment variable: text, or a boolean if it says `true` or `false`.
    Environment,
}

/// A scalar as it was written. No `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Scalar {
    text: String,
    style: Style,
}

impl Scalar {
    pub(super) fn new(text: &str, style: Style) -> Self {
        let text = text.to_owned();
        Self { text, style }
    }

    pub(super) fn null() -> Self {
        Self::new("", Style::Plain)
    }

    /// What is left of `os.environ/NAME` when the variable is not set: null.
    pub(super) fn unset_variable() -> Self {
        Self::new("", Style::Environment)
    }

    pub(super) fn is_unset_variable(&self) -> bool {
        self.style == Style::Environment && self.text.is_empty()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_plain(&self) -> bool {
        self.style == Style::Plain
    }

    /// What a message may quote: nothing from the environment, and not much of the rest.
    pub(super) fn quotable(&self) -> Option<&str> {
        let short = self.text.len() <= 40 && !self.text.contains('\n');
        (self.style != Style::Environment && short).then_some(&self.text)
    }

    pub(super) fn is_null(&self) -> bool {
        let is_word = matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL");
        self.is_unset_variable() || (self.is_plain() && is_word)
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self.text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            "yes" | "on" if self.is_plain() => Some(true),
            "no" | "off" if self.is_plain() => Some(false),
            _ => None,
        }
    }

    /// A whole number, also from a numeric string.
    pub(super) fn as_i64(&self) -> Option<i64> {
        let text = self.text.trim();
        if let Some(hex) = text.strip_prefix("0x").filter(|_| self.is_plain()) {
            return i64::from_str_radix(hex, 16).ok();
        }
        let digits: String = text.chars().filter(|&c| c != '_').collect();
        let starts_right = digits.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c));
        if !starts_right {
            return None;
        }
        let whole = || as_finite(&digits).filter(|number| number.fract() == 0.0);
        let in_range = |number: &f64| number.abs() < 9.0e15;
        digits
            .parse()
            .ok()
            .or_else(|| whole().filter(in_range).map(|number| number as i64))
    }

    /// A finite number, also from a numeric string.
    pub(super) fn as_f64(&self) -> Option<f64> {
        let digits: String = self.text.trim().chars().filter(|&c| c != '_').collect();
        as_finite(&digits)
    }

    /// The JSON value that a provider would be sent.
    pub(super) fn to_json(&self) -> Value {
        let text = || Value::String(self.text.clone());
        match self.style {
            _ if self.is_null() => Value::Null,
            Style::Quoted => text(),
            Style::Environment => self.as_bool().map_or_else(text, Value::Bool),
            Style::Plain => self.plain_json().unwrap_or_else(text),
        }
    }

    fn plain_json(&self) -> Option<Value> {
        if let Some(truth) = self.as_bool() {
            return Some(Value::Bool(truth));
        }
        let is_fraction = self.text.contains(['.', 'e', 'E']) && !self.text.starts_with("0x");
        if let Some(whole) = self.as_i64().filter(|_| !is_fraction) {
            return Some(Value::Number(whole.into()));
        }
        let number = Number::from_f64(self.as_f64()?)?;
        Some(Value::Number(number))
    }
}

/// Rust also reads `inf`, `infinity` and `nan`, which no setting means.
fn as_finite(digits: &str) -> Option<f64> {
    let is_numeric = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    if !digits.chars().all(is_numeric) || !digits.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    digits
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_words_mean_what_litellms_reader_makes_of_them() {
        let plain = |text| Scalar::new(text, Style::Plain).to_json();
        assert_eq!(plain("yes"), json!(true));
        assert_eq!(plain("Off"), json!(false));
        assert_eq!(plain("~"), Value::Null);
        assert_eq!(plain("1_000"), json!(1000));
        assert_eq!(plain("0x10"), json!(16));
        assert_eq!(plain("3e-7"), json!(3e-7));
        assert_eq!(plain("nan"), json!("nan"));
        assert_eq!(plain("2024-10-21"), json!("2024-10-21"));
        assert_eq!(plain("1.2.3"), json!("1.2.3"));
    }

    #[test]
    fn quotes_and_variables_keep_text_but_numbers_can_be_read_from_them() {
        let quoted = Scalar::new("yes", Style::Quoted);
        assert_eq!((quoted.to_json(), quoted.as_bool()), (json!("yes"), None));
        let variable = Scalar::new("True", Style::Environment);
        assert_eq!(variable.to_json(), json!(true));
        let port = Scalar::new("6379", Style::Environment);
        assert_eq!((port.to_json(), port.as_i64()), (json!("6379"), Some(6379)));
        assert_eq!(port.quotable(), None);
        assert_eq!(Scalar::new("1e3", Style::Quoted).as_i64(), Some(1000));
        assert_eq!(Scalar::new("1.5", Style::Quoted).as_i64(), None);
    }
}
