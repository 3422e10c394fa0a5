//! Durations as LiteLLM writes them: `30s`, `15m`, `12h`, `30d`, `2w`, `1mo`.

use std::time::Duration;

/// Longest number that is accepted before the unit.
const DIGITS_MAX: usize = 6;

/// Length of a duration text; a month counts 30 days. `None` when it is not one or is zero.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || number.len() > DIGITS_MAX {
        return None;
    }
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "mo" => 30 * 86_400,
        _ => return None,
    };
    let count: u64 = number.parse().ok()?;
    (count > 0).then(|| Duration::from_secs(count * unit_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_a_number_and_one_of_six_units() {
        let days = |count: u64| Some(Duration::from_secs(count * 86_400));
        assert_eq!(parse("30d"), days(30));
        assert_eq!(parse("1mo"), days(30));
        assert_eq!(parse("2w"), days(14));
        assert_eq!(parse("90s"), Some(Duration::from_secs(90)));
        for bad in [
            "", "d", "30", "30 d", "-1d", "1.5h", "0d", "30D", "9999999d", "1y", "１d",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
