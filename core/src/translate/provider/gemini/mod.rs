//! Gemini's `generateContent`, on AI Studio and Vertex AI.

pub(crate) mod answer;
mod config;
mod content;
mod ground;
mod partial;
pub(crate) mod request;
mod tools;
mod usage;

pub(crate) use answer::Reader;

/// The first number in `gemini-3-pro`, `gemini-2.5-flash`: Google's own name for what a model
/// expects in requests. The price map has no flag for it.
fn generation(model: &str) -> Option<u32> {
    let at = model.rfind("gemini-")? + "gemini-".len();
    let digits: String = model[at..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_read_from_the_name() {
        assert_eq!(generation("gemini-3-pro-preview"), Some(3));
        assert_eq!(
            generation("publishers/google/models/gemini-2.5-flash"),
            Some(2)
        );
        assert_eq!(generation("gemma-3"), None);
        assert_eq!(generation("gemini-flash-latest"), None);
    }
}
