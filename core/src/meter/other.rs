//! Embeddings, images, audio, rerank, moderations and everything else with a JSON answer.

use crate::endpoint::Endpoint;
use crate::meter::{Meter, keep_first, usage};
use crate::usage::Usage;
use crate::wire::json::{Kind, Members, Value};

impl Meter {
    /// Reads the data of an event or a body.
    pub(super) fn other(&mut self, data: &[u8]) {
        let (mut kind, mut failed) = (None, false);
        let mut list = None;
        for member in Members::new(data) {
            let Some((name, value)) = self.readable(member) else {
                break;
            };
            match name {
                b"type" => kind = value.inner(),
                b"id" => keep_first(&mut self.facts.response_id, value),
                b"model" => keep_first(&mut self.facts.model, value),
                b"usage" => self.set_usage(value),
                b"meta" => self.billed_units(value),
                b"data" => list = Some(value),
                b"duration" => self.audio_ms = self.transcribed(value),
                b"delta" | b"text" => {
                    self.facts.content_seen |= self.facts.content.text.add(value);
                }
                b"service_tier" => self.tier = usage::tier(value).or(self.tier),
                b"error" => failed = value.kind != Kind::Null,
                b"object" => failed |= value.inner() == Some(b"error"),
                _ => {}
            }
        }
        self.facts.usage_final |= self.usage.is_some();
        let kind = kind.unwrap_or_default();
        let has_own_error = self.endpoint.has_files() || self.endpoint.has_batches();
        if kind == b"error" || (failed && !has_own_error) {
            self.complain(data);
        }
        if matches!(
            self.endpoint,
            Endpoint::ImagesGenerations | Endpoint::ImagesEdits
        ) {
            self.count_images(kind, list);
        }
        let ended = kind.ends_with(b".done") || kind.ends_with(b".completed");
        self.facts.terminal |= ended;
    }

    fn count_images(&mut self, kind: &[u8], list: Option<Value<'_>>) {
        if let Some(list) = list {
            self.images = list.items().count() as u32;
        }
        self.images += u32::from(kind.ends_with(b".completed"));
        self.facts.content_seen |= self.images > 0;
        // Models that make images report no other output; older answers do not say so.
        if let Some(usage) = &mut self.usage
            && usage.completion_image == 0
        {
            usage.completion_image = usage.completion;
        }
    }

    /// Cohere's bill of a rerank.
    fn billed_units(&mut self, meta: Value<'_>) {
        let Some(units) = meta.field(b"billed_units") else {
            return;
        };
        let count = |name: &[u8]| units.field(name).and_then(Value::count).unwrap_or(0);
        let mut usage = Usage {
            prompt: count(b"input_tokens"),
            completion: count(b"output_tokens"),
            ..Usage::default()
        };
        usage.units.queries = count(b"search_units") as u32;
        self.usage = Some(usage);
    }

    fn transcribed(&self, seconds: Value<'_>) -> u64 {
        match self.endpoint {
            Endpoint::AudioTranscriptions => usage::millis(seconds),
            _ => 0,
        }
    }
}
