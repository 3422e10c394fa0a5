//! How many tokens a text has, before or instead of a tokenizer's count.
//!
//! Every byte has a weight by the class of its character, and a text the sum of them: one table
//! look-up and one addition per byte, no state, so that the pieces of a stream add up to the
//! whole. The weights lean to the high side of what today's vocabularies give (see the tests): an
//! estimate stands where a provider has worked and nobody knows how much.

/// Weight of one token.
const PER_TOKEN: u64 = 48;

/// A lower-case letter: four make a token, as in English prose.
const LOWER: u8 = 12;
/// An upper-case letter often begins a word of its own, and capitals are rare as words.
const UPPER: u8 = 26;
/// Digits come in groups of one to three.
const DIGIT: u8 = 32;
/// A space mostly belongs to the word behind it.
const SPACE: u8 = 8;
/// Line ends and other controls.
const CONTROL: u8 = 32;
/// Brackets, quotes and operators: runs of them share tokens.
const SIGN: u8 = 36;
/// Latin letters with accents cut their words.
const ACCENTED: u8 = 60;
/// Cyrillic has words of its own in the vocabularies.
const CYRILLIC: u8 = 28;
/// Greek, Hebrew, Arabic and their like.
const TWO_BYTES: u8 = 40;
/// Scripts of India and South-East Asia, Vietnamese vowels.
const INDIC: u8 = 44;
/// Dashes, arrows, mathematics: one to three tokens each.
const SYMBOL: u8 = 88;
/// Chinese, Japanese, Korean: about one token for a character.
const IDEOGRAPH: u8 = 58;
/// Emoji and rare characters: two to four tokens.
const FOUR_BYTES: u8 = 144;

/// Weights by byte. A character counts at its first byte; the others weigh nothing.
const WEIGHTS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = weight_of(byte as u8);
        byte += 1;
    }
    table
};

const fn weight_of(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => LOWER,
        b'A'..=b'Z' => UPPER,
        b'0'..=b'9' => DIGIT,
        b' ' => SPACE,
        0..=0x1F | 0x7F => CONTROL,
        0x21..=0x7E => SIGN,
        0x80..=0xBF => 0,
        0xC0..=0xCD => ACCENTED,
        0xD0 | 0xD1 => CYRILLIC,
        0xCE..=0xDF => TWO_BYTES,
        0xE0 | 0xE1 => INDIC,
        0xE2 => SYMBOL,
        0xE3..=0xEF => IDEOGRAPH,
        0xF0..=0xFF => FOUR_BYTES,
    }
}

/// Weight of a text in UTF-8; weights of pieces add up, also when a character is cut.
pub fn text_weight(text: &[u8]) -> u64 {
    text.iter()
        .map(|&byte| u64::from(WEIGHTS[usize::from(byte)]))
        .sum()
}

/// Weight of one UTF-16 unit, as JSON escapes name it. The second half of a surrogate pair weighs
/// nothing: the first stands for both.
pub fn unit_weight(unit: u16) -> u64 {
    let first_byte = match unit {
        0..=0x7F => unit as u8,
        0x80..=0x7FF => 0xC0 | (unit >> 6) as u8,
        0xD800..=0xDBFF => 0xF0,
        0xDC00..=0xDFFF => 0x80,
        _ => 0xE0 | (unit >> 12) as u8,
    };
    u64::from(WEIGHTS[usize::from(first_byte)])
}

/// Tokens of so much weight, rounded up.
pub fn tokens_of_weight(weight: u64) -> u64 {
    weight.div_ceil(PER_TOKEN)
}

/// Tokens of a text, rounded up. Used as well for a whole request body, whose names, braces and
/// inline media count as text; whoever bills an estimate marks the record.
pub fn estimate_tokens(text: &[u8]) -> u64 {
    tokens_of_weight(text_weight(text))
}

#[cfg(test)]
mod tests;
