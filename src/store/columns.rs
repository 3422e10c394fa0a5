//! Values as columns hold them, in every store alike.

use meridian_core::transcript::Texts;
use meridian_core::usage::Usage;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{PAGE_SIZE_MAX, SKIP_ROWS_MAX, StoreError};

/// Rows per page when the caller does not say.
const PAGE_SIZE: u32 = 10;

/// A count as a column holds it; far above anything real it stops growing.
pub(super) fn column(count: u64) -> i64 {
    /// Keeps sums of many rows inside 64 bits.
    const COUNT_MAX: i64 = 1_000_000_000_000;
    i64::try_from(count).unwrap_or(COUNT_MAX).min(COUNT_MAX)
}

/// A column as a count.
pub(super) fn count(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

/// JSON of a usage that its four columns do not say whole.
pub(super) fn extra_usage(usage: &Usage) -> Result<Option<String>, StoreError> {
    let plain = Usage {
        prompt: usage.prompt,
        completion: usage.completion,
        cache_read: usage.cache_read,
        cache_write: usage.cache_write,
        ..Usage::default()
    };
    match *usage == plain {
        true => Ok(None),
        false => Ok(Some(serde_json::to_string(usage)?)),
    }
}

/// What was asked and answered, from its columns.
pub(super) fn texts_of(
    request: Option<&str>,
    response: Option<&str>,
) -> Result<Option<Box<Texts>>, StoreError> {
    let read = |text: Option<&str>| text.map(serde_json::from_str).transpose();
    let (request, response) = (read(request)?, read(response)?);
    let any = request.is_some() || response.is_some();
    Ok(any.then(|| Box::new(Texts { request, response })))
}

/// Name of a unit variant, as its JSON shows it.
pub(super) fn to_text<T: Serialize>(value: &T) -> Result<String, StoreError> {
    let json = serde_json::to_value(value)?;
    Ok(json.as_str().unwrap_or_default().to_owned())
}

pub(super) fn of_text<T: DeserializeOwned>(text: String) -> Result<T, StoreError> {
    Ok(serde_json::from_value(serde_json::Value::String(text))?)
}

/// Rows of a numbered page and how many lie before it.
pub(super) fn page_bounds(page: u32, size: u32) -> Result<(u32, u64), StoreError> {
    let size = match size {
        0 => PAGE_SIZE,
        size => size.min(PAGE_SIZE_MAX),
    };
    let skip = u64::from(page.saturating_sub(1)) * u64::from(size);
    match skip > SKIP_ROWS_MAX {
        true => Err(StoreError::TooMuch),
        false => Ok((size, skip)),
    }
}
