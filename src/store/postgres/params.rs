//! Values as Postgres's binary protocol takes them.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use meridian_core::ids::KeyHash;
use meridian_core::time::WallMs;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::work::Param;
use crate::store::StoreError;

/// 0001-01-01 and 9999-12-31 in milliseconds: what every reader of a timestamp understands.
const TIME_MS: (i64, i64) = (-62_135_596_800_000, 253_402_214_400_000);

/// A moment as a `timestamptz`.
pub(super) fn moment(at: WallMs) -> SystemTime {
    let ms = at.0.clamp(TIME_MS.0, TIME_MS.1);
    let distance = Duration::from_millis(ms.unsigned_abs());
    match ms < 0 {
        true => SystemTime::UNIX_EPOCH - distance,
        false => SystemTime::UNIX_EPOCH + distance,
    }
}

/// A `timestamptz` as a moment.
pub(super) fn wall(at: SystemTime) -> WallMs {
    let ms = |distance: Duration| i64::try_from(distance.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => WallMs(ms(after)),
        Err(before) => WallMs(-ms(before.duration())),
    }
}

/// A text that a column takes: Postgres knows no NUL.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// JSON that a `jsonb` column takes.
pub(super) fn clean_json(value: &impl Serialize) -> Result<String, StoreError> {
    let text = serde_json::to_string(value)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    let mut value: Value = serde_json::from_str(&text)?;
    without_nul(&mut value);
    Ok(value.to_string())
}

fn without_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = clean(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(without_nul),
        Value::Object(fields) => {
            let old = std::mem::take(fields);
            for (name, mut value) in old {
                without_nul(&mut value);
                fields.insert(clean(&name).into_owned(), value);
            }
        }
        _ => {}
    }
}

/// A digest as its column holds it; `None` for the master key.
pub(super) fn digest_of(bytes: &[u8]) -> Option<KeyHash> {
    bytes.try_into().ok().map(KeyHash::from_bytes)
}

/// The bytes of a digest; none for the master key.
pub(super) fn digest(key: Option<KeyHash>) -> Vec<u8> {
    key.map_or(Vec::new(), |key| key.as_bytes().to_vec())
}

/// Values of a statement that are collected one by one.
#[derive(Default)]
pub(super) struct Values(Vec<(Box<dyn ToSql + Sync + Send>, Type)>);

impl Values {
    /// Adds one and gives its place: `$3`.
    pub(super) fn add(&mut self, value: impl ToSql + Sync + Send + 'static, kind: Type) -> String {
        self.0.push((Box::new(value), kind));
        format!("${}", self.0.len())
    }

    /// All of them, in order.
    pub(super) fn params(&self) -> Vec<Param<'_>> {
        self.0
            .iter()
            .map(|(value, kind)| {
                let value: &(dyn ToSql + Sync) = value.as_ref();
                (value, kind.clone())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_survive_and_absurd_ones_are_cut() {
        for ms in [0, 1, -1, 1_795_003_200_123] {
            assert_eq!(wall(moment(WallMs(ms))), WallMs(ms));
        }
        assert_eq!(wall(moment(WallMs(i64::MAX))).0, TIME_MS.1);
        assert_eq!(wall(moment(WallMs(i64::MIN))).0, TIME_MS.0);
    }

    #[test]
    fn what_postgres_cannot_store_is_replaced() {
        assert_eq!(clean("a\0b"), "a\u{fffd}b");
        let json = clean_json(&serde_json::json!({"a\0": ["\0", "\\u0000"]})).unwrap();
        let back: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            back,
            serde_json::json!({"a\u{fffd}": ["\u{fffd}", "\\u0000"]})
        );
    }

    #[test]
    fn digests_survive() {
        let key = KeyHash::of_secret("sk-1234");
        assert_eq!(digest_of(&digest(Some(key))), Some(key));
        assert_eq!(digest_of(&digest(None)), None);
    }
}
