//! Names of regions: words that nodes, deployments, models and keys share.

/// Longest name.
pub const NAME_BYTES_MAX: usize = 64;
/// Most names in one list.
pub const NAMES_MAX: usize = 64;
/// What a name is, for messages.
pub const EXPECTED: &str = "a region name such as `eu-west-1`: at most 64 letters, digits, `-`, \
    `_` and `.`, a letter or digit first";

/// Whether a text can name a region. Upper and lower case differ, as in a provider's own names.
pub fn is_name(text: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(in_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_provider_fit_and_lists_of_names_do_not() {
        for name in ["eu-west-1", "westeurope", "eu", "us_gov.1", "1", "EU"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for text in ["", " eu", "eu west", "eu,us", "-eu", "*", "é", "a\n", &long] {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
