//! `Retry-After` and `retry-after-ms` of a provider as whole seconds.

use crate::time::WallMs;

/// Longest wait in seconds that is believed.
pub const RETRY_AFTER_S_MAX: u64 = 24 * 60 * 60;

/// Seconds to wait, rounded up; `None` when neither header says something usable. Milliseconds
/// win over seconds, as in the SDKs; a date in the past is zero.
pub fn retry_after_s(
    retry_after: Option<&str>,
    retry_after_ms: Option<&str>,
    now: WallMs,
) -> Option<u64> {
    let from_ms = retry_after_ms
        .and_then(positive)
        .map(|millis| millis / 1000.0);
    let seconds = from_ms.or_else(|| {
        let text = retry_after?;
        positive(text).or_else(|| until(text, now))
    })?;
    Some((seconds.ceil() as u64).min(RETRY_AFTER_S_MAX))
}

/// Google's `retryDelay`: `34.4s`.
pub fn delay_s(text: &str) -> Option<u64> {
    let seconds = positive(text.trim().strip_suffix('s')?)?;
    Some((seconds.ceil() as u64).min(RETRY_AFTER_S_MAX))
}

fn positive(text: &str) -> Option<f64> {
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// Seconds until an HTTP date (RFC 9110, IMF-fixdate).
fn until(text: &str, now: WallMs) -> Option<f64> {
    let zoned = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    let millis = zoned.timestamp().as_millisecond().saturating_sub(now.0);
    Some(millis.max(0) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_milliseconds_and_dates_are_read() {
        let now = WallMs::parse_iso("2026-11-20T10:00:00Z").unwrap();
        let read = |after, millis| retry_after_s(after, millis, now);
        assert_eq!(read(Some("20"), None), Some(20));
        assert_eq!(read(Some(" 0.2 "), None), Some(1));
        assert_eq!(read(Some("20"), Some("1500")), Some(2));
        assert_eq!(read(Some("20"), Some("soon")), Some(20));
        let date = "Fri, 20 Nov 2026 10:01:30 GMT";
        assert_eq!(read(Some(date), None), Some(90));
        let past = "Fri, 20 Nov 2026 09:00:00 GMT";
        assert_eq!(read(Some(past), None), Some(0));
        assert_eq!(read(Some("-5"), None), None);
        assert_eq!(read(Some("1e300"), None), Some(RETRY_AFTER_S_MAX));
        assert_eq!(read(None, None), None);
        assert_eq!(delay_s("34.4s"), Some(35));
        assert_eq!(delay_s("34"), None);
    }
}
