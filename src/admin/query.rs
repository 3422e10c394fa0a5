//! Query strings, read leniently: undeclared names are ignored, the last of two equal names counts.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use meridian_core::time::WallMs;
use serde_json::{Value, json};

use super::declared;
use super::fields::problem;
use super::reply::AdminError;

/// Largest page that a list answers, LiteLLM's limit.
const PAGE_SIZE_MAX: u64 = 100;
/// Last page that may be asked for: an offset stays far from the end of its range.
const PAGE_MAX: u64 = 1_000_000;

/// The pairs of a query string.
pub(super) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|_| wrong("query", "string_type", "Query is not readable"))?;
        let mut pairs = pairs.0;
        if let Some(operation) = declared::of_request(&parts.extensions) {
            pairs.retain(|(name, _)| operation.takes(name));
        }
        Ok(Self(pairs))
    }
}

impl Query {
    /// A value that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    }

    /// Every value of a name that is repeated.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let named = self
            .0
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty());
        named.map(|(_, value)| value.clone()).collect()
    }

    /// `true`, `1`, `yes` and `on`; everything else is false.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    /// As [`Self::flag`], with an answer for an absent name.
    pub(super) fn flag_or(&self, name: &str, absent: bool) -> bool {
        self.text(name).map_or(absent, |text| {
            matches!(
                text.to_ascii_lowercase().as_str(),
                "true" | "1" | "yes" | "on"
            )
        })
    }

    /// A number, or what is wrong with it.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, AdminError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number: Option<f64> = text.parse().ok().filter(|number: &f64| number.is_finite());
        let message = "Input should be a valid number, unable to parse string as a number";
        number
            .map(Some)
            .ok_or_else(|| wrong(name, "float_parsing", message))
    }

    /// `page` (from 1) and `size` or `page_size` (1 to 100).
    pub(super) fn page(&self, default_size: u64) -> Result<(u64, u64), AdminError> {
        let page = self.whole("page", 1, PAGE_MAX)?.unwrap_or(1);
        let size = match self.whole("size", 1, PAGE_SIZE_MAX)? {
            Some(size) => Some(size),
            None => self.whole("page_size", 1, PAGE_SIZE_MAX)?,
        };
        Ok((page, size.unwrap_or(default_size)))
    }

    /// A whole number within bounds.
    pub(super) fn whole(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, AdminError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number: u64 = text.parse().map_err(|_| {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            wrong(name, "int_parsing", message)
        })?;
        if number < min {
            let message = format!("Input should be greater than or equal to {min}");
            return Err(wrong(name, "greater_than_equal", &message));
        }
        if number > max {
            let message = format!("Input should be less than or equal to {max}");
            return Err(wrong(name, "less_than_equal", &message));
        }
        Ok(Some(number))
    }

    /// A date or a moment, UTC where no zone is given.
    pub(super) fn moment(&self, name: &str) -> Result<Option<WallMs>, AdminError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let moment = WallMs::parse_iso(&text);
        let message = "Input should be a date YYYY-MM-DD or a moment in ISO 8601";
        moment
            .map(Some)
            .ok_or_else(|| wrong(name, "date_parsing", message))
    }

    /// `start_date` and the end of `end_date`: a bare date includes its whole day.
    pub(super) fn dates(&self) -> Result<Option<(WallMs, WallMs)>, AdminError> {
        let start = self.moment("start_date")?;
        let end = self.end_moment("end_date")?;
        Ok(start.zip(end))
    }

    /// The end of a range: a bare date includes its whole day.
    pub(super) fn end_moment(&self, name: &str) -> Result<Option<WallMs>, AdminError> {
        let end = self.moment(name)?;
        let bare = self.text(name).is_some_and(|text| text.len() == DATE_CHARS);
        Ok(end.map(|end| if bare { end.plus_ms(DAY_MS) } else { end }))
    }
}

const DATE_CHARS: usize = 10;
/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;

fn wrong(name: &str, kind: &str, message: &str) -> AdminError {
    let mut entry = problem(&["query", name], kind, message, &Value::Null);
    if let Value::Object(entry) = &mut entry {
        entry.insert("input".to_owned(), json!(null));
    }
    AdminError::Invalid(vec![entry])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Query(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    #[test]
    fn pages_are_bounded_and_a_bare_end_date_includes_its_day() {
        assert_eq!(query("").page(10), Ok((1, 10)));
        assert_eq!(query("page=3&size=100").page(10), Ok((3, 100)));
        assert!(query("size=101").page(10).is_err());
        assert!(query("page=0").page(10).is_err());
        assert!(query("page=x").page(10).is_err());
        let (start, end) = query("start_date=2026-01-01&end_date=2026-01-01")
            .dates()
            .unwrap()
            .unwrap();
        assert_eq!(end.0 - start.0, DAY_MS);
        assert!(
            query("start_date=soon&end_date=2026-01-01")
                .dates()
                .is_err()
        );
    }
}
