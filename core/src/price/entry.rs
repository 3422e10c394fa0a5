//! One model's prices and limits, read from its JSON entry or from a deployment's own fields.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::PriceError;
use super::decimal::{Factor, Rate};
use super::field::{Kind, RateKey, RateTable};
use super::off_peak::OffPeak;
use crate::usage::ServiceTier;

/// Ranges of one `tiered_pricing` list that are read; the map has four at most.
const RANGES_MAX: usize = 32;

/// Prices and limits of one model, or of one deployment with prices of its own.
#[derive(Clone, Debug, Default)]
pub struct ModelPrice {
    key: Box<str>,
    pub(super) provider: Box<str>,
    pub(super) mode: Box<str>,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    pub(super) rates: RateTable,
    /// `tiered_pricing`, sorted by start.
    pub(super) ranges: Vec<RangeRates>,
    pub(super) uplift: Uplift,
    pub(super) off_peak: Option<Box<OffPeak>>,
    source: Option<Source>,
    overrides: Map<String, Value>,
    /// The deployment's own token prices replaced all of the entry's.
    own_token_rates: bool,
}

/// Multipliers on all token costs of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uplift {
    pub(super) openai_eu: Factor,
    pub(super) openai_us: Factor,
    pub(super) vertex_regional: Factor,
    pub(super) anthropic_us: Factor,
    pub(super) anthropic_fast: Factor,
}

/// Rates for prompts of more than `above` and at most `up_to` tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct RangeRates {
    pub(super) above: u64,
    pub(super) up_to: u64,
    pub(super) rates: RateTable,
}

/// The entry's JSON text inside the map it came from.
#[derive(Clone)]
struct Source {
    map: Arc<str>,
    at: Range<usize>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {:?}", self.at)
    }
}

/// Why a field could not be read: its name and its text.
pub(super) type BadField = (String, String);

impl ModelPrice {
    /// Whether many requests cost something else than one that used as much as all of them: a
    /// price that depends on the size of a prompt, or one for each request.
    pub fn is_by_request(&self) -> bool {
        !self.ranges.is_empty() || self.rates.has_steps() || self.base(Kind::Request).is_some()
    }

    /// Reads an entry. Fields that cannot be read are left out and handed to `report`.
    pub(super) fn read(
        key: &str,
        map: &Arc<str>,
        at: Range<usize>,
        mut report: impl FnMut(BadField),
    ) -> Result<Self, serde_json::Error> {
        let text = map.get(at.clone()).unwrap_or_default();
        let fields: Fields<'_> = serde_json::from_str(text)?;
        let mut price = Self {
            key: key.into(),
            source: Some(Source {
                map: Arc::clone(map),
                at,
            }),
            ..Self::default()
        };
        for (name, raw) in fields.0 {
            if !price.read_field(&name, raw.get()) {
                report((name.into_owned(), raw.get().to_owned()));
            }
        }
        price.rates.sort();
        price.fill_provider_default();
        Ok(price)
    }

    /// Fireworks bills cached input at half the input price where its entry does not say.
    fn fill_provider_default(&mut self) {
        let cached = self.rates.base(Kind::CacheRead);
        if self.provider.as_ref() != "fireworks_ai" || cached.is_some() {
            return;
        }
        if let Some(input) = self.rates.base(Kind::Input) {
            self.rates.push(base(Kind::CacheRead), input.half());
            self.rates.sort();
        }
    }

    /// A deployment's price: this one with the given price and limit fields replaced, in LiteLLM's
    /// names, as numbers or numeric strings. When both `input_cost_per_token` and
    /// `output_cost_per_token` are given, all other token rates of this price are dropped: cached
    /// tokens then cost the input price unless the deployment says otherwise. The same happens
    /// when only a price per second is given. `null` is not given.
    pub fn with_overrides(&self, fields: &Map<String, Value>) -> Result<Self, PriceError> {
        let given = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
        let (input, output) = (
            given("input_cost_per_token"),
            given("output_cost_per_token"),
        );
        let per_second = given("input_cost_per_second") || given("output_cost_per_second");
        let mut price = self.clone();
        if input && output || per_second && !input && !output {
            price.rates.retain(|key| !key.kind.is_token());
            price.ranges.clear();
            price.off_peak = None;
            price.own_token_rates = true;
        }
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let text = value.to_string();
            if !price.read_field(name, &text) {
                return Err(PriceError::bad_field(name, &text));
            }
            price.overrides.insert(name.clone(), value.clone());
        }
        price.rates.sort();
        Ok(price)
    }

    /// A price from a deployment's own fields alone.
    pub fn from_overrides(fields: &Map<String, Value>) -> Result<Self, PriceError> {
        Self::default().with_overrides(fields)
    }

    /// Whether a field name sets a price, for finding the prices among a deployment's settings.
    pub fn is_price_field(name: &str) -> bool {
        let nested = [
            "tiered_pricing",
            "search_context_cost_per_query",
            "off_peak_pricing",
            "provider_specific_entry",
        ];
        RateKey::parse(name).is_some()
            || name.contains("uplift_multiplier")
            || nested.contains(&name)
    }

    /// Name in the price map; empty for a price from overrides alone.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// LiteLLM's `litellm_provider`, such as `vertex_ai-language-models`; empty when unknown.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// LiteLLM's `mode`, such as `chat`; empty when unknown.
    pub fn mode(&self) -> &str {
        &self.mode
    }

    /// Longest input in tokens.
    pub fn max_input_tokens(&self) -> Option<u64> {
        self.max_input_tokens
    }

    /// Longest output in tokens.
    pub fn max_output_tokens(&self) -> Option<u64> {
        self.max_output_tokens
    }

    /// Whether anything has a price, an explicit zero included. Without one, a cost is unknown.
    pub fn is_priced(&self) -> bool {
        !self.rates.is_empty() || !self.ranges.is_empty()
    }

    /// The entry as in the map with the deployment's own fields over it: prices, limits,
    /// `supports_*` flags, for /model/info. Parsed on demand; not for the request path.
    pub fn info(&self) -> Map<String, Value> {
        let text = self
            .source
            .as_ref()
            .and_then(|source| source.map.get(source.at.clone()))
            .unwrap_or("{}");
        let mut fields: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        if self.own_token_rates {
            fields.retain(|name, _| !is_token_field(name));
        }
        fields.extend(self.overrides.clone());
        fields
    }

    /// False when the field matters and cannot be read.
    fn read_field(&mut self, name: &str, raw: &str) -> bool {
        if raw == "null" {
            return true;
        }
        if let Some(key) = RateKey::parse(name) {
            return self.read_rate(key, raw);
        }
        match name {
            "litellm_provider" => self.provider = unquoted(raw).into(),
            "mode" => self.mode = unquoted(raw).into(),
            // The sample entry explains these two in words.
            "max_input_tokens" => self.max_input_tokens = whole(raw),
            "max_output_tokens" => self.max_output_tokens = whole(raw),
            "search_context_cost_per_query" => return self.read_search(raw),
            "tiered_pricing" => return self.read_ranges(raw),
            "provider_specific_entry" => return self.read_provider_specific(raw),
            "off_peak_pricing" => {
                let block = serde_json::from_str(raw).ok();
                self.off_peak = block.and_then(|block| OffPeak::read(&block)).map(Box::new);
                return self.off_peak.is_some();
            }
            "regional_processing_uplift_multiplier_eu" => {
                return set_factor(&mut self.uplift.openai_eu, raw);
            }
            "regional_processing_uplift_multiplier_us" => {
                return set_factor(&mut self.uplift.openai_us, raw);
            }
            "regional_endpoint_uplift_multiplier" => {
                return set_factor(&mut self.uplift.vertex_regional, raw);
            }
            _ => {}
        }
        true
    }

    fn read_rate(&mut self, key: RateKey, raw: &str) -> bool {
        match Rate::parse(unquoted(raw)) {
            Some(rate) => self.rates.push(key, rate),
            None => return false,
        }
        true
    }

    fn read_search(&mut self, raw: &str) -> bool {
        // Perplexity's older entries have one number for all sizes.
        if Rate::parse(unquoted(raw)).is_some() {
            let kinds = [Kind::SearchLow, Kind::SearchMedium, Kind::SearchHigh];
            return kinds.map(|kind| self.read_rate(base(kind), raw)) == [true; 3];
        }
        let Ok(sizes) = serde_json::from_str::<Fields<'_>>(raw) else {
            return false;
        };
        sizes.0.iter().all(|(size, raw)| match size.as_ref() {
            "search_context_size_low" => self.read_rate(base(Kind::SearchLow), raw.get()),
            "search_context_size_medium" => self.read_rate(base(Kind::SearchMedium), raw.get()),
            "search_context_size_high" => self.read_rate(base(Kind::SearchHigh), raw.get()),
            _ => true,
        })
    }

    fn read_provider_specific(&mut self, raw: &str) -> bool {
        let Ok(fields) = serde_json::from_str::<Fields<'_>>(raw) else {
            return false;
        };
        fields.0.iter().all(|(name, raw)| match name.as_ref() {
            "us" => set_factor(&mut self.uplift.anthropic_us, raw.get()),
            "fast" => set_factor(&mut self.uplift.anthropic_fast, raw.get()),
            _ => true,
        })
    }

    fn read_ranges(&mut self, raw: &str) -> bool {
        let Ok(list) = serde_json::from_str::<Vec<Fields<'_>>>(raw) else {
            return false;
        };
        self.ranges = list
            .iter()
            .take(RANGES_MAX)
            .filter_map(read_range)
            .collect();
        self.ranges.sort_by_key(|range| range.above);
        // Search engines use the same field for prices by number of results.
        let by_results = |fields: &Fields<'_>| {
            let mut names = fields.0.iter().map(|(name, _)| name.as_ref());
            names.any(|name| name == "max_results_range")
        };
        let readable = list.iter().filter(|fields| !by_results(fields)).count();
        self.ranges.len() == readable.min(RANGES_MAX)
    }
}

fn is_token_field(name: &str) -> bool {
    let nested = matches!(name, "tiered_pricing" | "off_peak_pricing");
    nested || RateKey::parse(name).is_some_and(|key| key.kind.is_token())
}

fn base(kind: Kind) -> RateKey {
    RateKey::new(kind, 0, ServiceTier::Standard)
}

/// `None` without a range or without an input price: LiteLLM ignores those as well.
fn read_range(fields: &Fields<'_>) -> Option<RangeRates> {
    let mut range = RangeRates::default();
    let mut bounds = None;
    for (name, raw) in &fields.0 {
        if name == "range" {
            let numbers: [f64; 2] = serde_json::from_str(raw.get()).ok()?;
            // Casts from floats stop at the ends of the range.
            bounds = Some(numbers.map(|number| number as u64));
        } else if let Some(key) = RateKey::parse(name) {
            range.rates.push(key, Rate::parse(unquoted(raw.get()))?);
        }
    }
    range.rates.sort();
    range.rates.base(Kind::Input)?;
    [range.above, range.up_to] = bounds?;
    Some(range)
}

fn set_factor(factor: &mut Factor, raw: &str) -> bool {
    match Factor::parse(unquoted(raw)) {
        Some(read) => *factor = read,
        None => return false,
    }
    true
}

/// The characters of a JSON string; numbers and names have no escapes.
fn unquoted(raw: &str) -> &str {
    raw.strip_prefix('"')
        .and_then(|raw| raw.strip_suffix('"'))
        .unwrap_or(raw)
}

/// A count written as `128000`, `128000.0` or `"128000"`.
fn whole(raw: &str) -> Option<u64> {
    let text = unquoted(raw);
    let float = || text.parse::<f64>().ok().filter(|number| *number >= 0.0);
    text.parse()
        .ok()
        .or_else(|| float().map(|number| number as u64))
}

/// Fields of a JSON object in their order, values unread.
pub(super) struct Fields<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = deserializer.deserialize_map(FieldsVisitor)?;
        Ok(Self(fields))
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(24);
        while let Some(name) = map.next_key::<Name<'de>>()? {
            fields.push((name.0, map.next_value()?));
        }
        Ok(fields)
    }
}

/// A key, borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor).map(Self)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
