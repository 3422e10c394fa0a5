//! What an answer costs: LiteLLM's price map, exact decimals, one rounding per request.
//!
//! `PriceBook` finds the `ModelPrice` of a deployment once; `ModelPrice::cost` turns `Usage` into
//! nano-dollars and `ModelPrice::bound` into the most a request can cost. `docs/PRICES.md` has the
//! rules in words.

mod adjust;
mod bound;
mod cost;
mod decimal;
mod entry;
mod field;
mod lookup;
mod off_peak;
mod rates;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use entry::Fields;

pub use adjust::{Adjustment, AdjustmentRules};
pub use bound::Ceiling;
pub use cost::{BillingPlace, Cost, HostRegion};
pub use decimal::{Factor, Rate};
pub use entry::ModelPrice;
pub use lookup::{foundation, undated};

/// The price map that the binary carries (LiteLLM 1.109.1, MIT; see `NOTICE`).
pub static EMBEDDED: &[u8] = include_bytes!("../../data/model_prices.json");

/// Largest price map that is read; LiteLLM's has 3 MB.
pub const MAP_BYTES_MAX: usize = 64 << 20;

/// Problems that a book keeps word for word; further ones are only counted.
const PROBLEMS_MAX: usize = 100;
/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 80;
/// Keys of LiteLLM's map that are not models.
const NOT_MODELS: [&str; 2] = ["sample_spec", "fallback_generalizations"];

/// Why prices could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PriceError {
    /// The map is not a JSON object of UTF-8 text.
    #[error("price map is not a JSON object: {0}")]
    NotAMap(String),
    /// The map has no model in it.
    #[error("price map has no entries")]
    Empty,
    /// The map is above [`MAP_BYTES_MAX`].
    #[error("price map has {bytes} bytes, more than the {MAP_BYTES_MAX} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A field of a deployment's own prices, or of a discount or margin, is not a number or is
    /// negative.
    #[error("price field {field} cannot be read: {text}")]
    BadField {
        /// Its name.
        field: String,
        /// The start of its value.
        text: String,
    },
}

impl PriceError {
    fn bad_field(field: &str, text: &str) -> Self {
        Self::BadField {
            field: field.to_owned(),
            text: shown(text),
        }
    }
}

/// Something in a price map that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the entry.
    pub key: String,
    /// Field, or empty when the whole entry was left out.
    pub field: String,
    /// The start of what could not be read.
    pub text: String,
}

/// All prices of one map, immutable.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    entries: HashMap<Box<str>, Arc<ModelPrice>>,
    /// Lower-case form of the keys that have capitals.
    folded: HashMap<Box<str>, Box<str>>,
    problems: Vec<Problem>,
    problem_count: usize,
}

impl PriceBook {
    /// Reads LiteLLM's map. Entries and fields that cannot be read are left out and listed in
    /// [`PriceBook::problems`]; only a text that is no map at all is an error.
    pub fn from_json(bytes: &[u8]) -> Result<Self, PriceError> {
        if bytes.len() > MAP_BYTES_MAX {
            let bytes = bytes.len();
            return Err(PriceError::TooLarge { bytes });
        }
        let text = std::str::from_utf8(bytes).map_err(|e| PriceError::NotAMap(e.to_string()))?;
        let map: Arc<str> = text.into();
        let spans: Fields<'_> =
            serde_json::from_str(&map).map_err(|e| PriceError::NotAMap(e.to_string()))?;
        let mut book = Self {
            entries: HashMap::with_capacity(spans.0.len()),
            ..Self::default()
        };
        for (key, raw) in &spans.0 {
            if !NOT_MODELS.contains(&key.as_ref()) {
                book.read_entry(key, &map, span_of(&map, raw.get()));
            }
        }
        if book.entries.is_empty() {
            return Err(PriceError::Empty);
        }
        Ok(book)
    }

    fn read_entry(&mut self, key: &str, map: &Arc<str>, at: Range<usize>) {
        let mut bad_fields = Vec::new();
        match ModelPrice::read(key, map, at.clone(), |bad| bad_fields.push(bad)) {
            Ok(price) => {
                if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    self.folded
                        .insert(key.to_ascii_lowercase().into(), key.into());
                }
                self.entries.insert(key.into(), Arc::new(price));
            }
            Err(_) => {
                let text = map.get(at).unwrap_or_default().to_owned();
                bad_fields.push((String::new(), text));
            }
        }
        for (field, text) in bad_fields {
            self.problem_count += 1;
            if self.problems.len() < PROBLEMS_MAX {
                self.problems.push(Problem {
                    key: key.to_owned(),
                    field,
                    text: shown(&text),
                });
            }
        }
    }

    /// Number of models.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no model.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was left out, the first hundred.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How much was left out in all.
    pub fn problem_count(&self) -> usize {
        self.problem_count
    }

    /// Every model, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<ModelPrice>)> {
        self.entries
            .iter()
            .map(|(key, price)| (key.as_ref(), price))
    }
}

/// Where a part of the map's text lies in it.
fn span_of(map: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(map.as_ptr() as usize);
    start..start.saturating_add(part.len())
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
