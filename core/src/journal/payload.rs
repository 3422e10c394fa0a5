//! Payloads as JSON: the same bytes that serde would write, in a quarter of its instructions.
//!
//! OPEN and CLOSE are written for every request, and three quarters of serde's time go into looking
//! for characters to escape, one by one, in names that have none. What is rare or small is left
//! to serde.

use serde::Serialize;
use serde_json::{Error, to_writer};

use super::{Bound, Open, Progress, Transfer};
use crate::spend::{Payer, RequestContext, SpendRecord};

/// What a frame can hold.
pub(super) trait Payload {
    /// Appends it as JSON.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error>;
}

impl Payload for Progress {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        to_writer(out, self)
    }
}

impl Payload for Transfer {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        to_writer(out, self)
    }
}

impl Payload for Open {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let Self { record, bound } = self;
        let mut object = Object::new(out);
        record.write(object.key("record"))?;
        bound.write(object.key("bound"))?;
        object.end();
        Ok(())
    }
}

impl Payload for Bound {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let Self {
            prompt_tokens,
            completion_tokens_max,
            reserved,
            rates,
        } = self;
        let mut object = Object::new(out);
        object.value("prompt_tokens", prompt_tokens)?;
        object.value("completion_tokens_max", completion_tokens_max)?;
        object.value("reserved", reserved)?;
        object.value("rates", rates)?;
        object.end();
        Ok(())
    }
}

impl Payload for SpendRecord {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        // Every field by its name: the compiler notices one that is added and not written.
        let Self {
            call_id,
            response_id,
            endpoint,
            stream,
            payer,
            model_group,
            deployment_id,
            model,
            provider,
            api_base,
            region,
            started,
            ended,
            first_byte,
            usage,
            cost,
            price_unknown,
            estimated,
            end_reason,
            status,
            attempts,
            context,
            error,
            texts,
        } = self;
        let mut object = Object::new(out);
        quoted(object.key("call_id"), &call_id.digits());
        object.text_if("response_id", response_id)?;
        object.value("endpoint", endpoint)?;
        object.truth("stream", *stream);
        payer.write(object.key("payer"))?;
        object.text("model_group", model_group)?;
        object.text("deployment_id", deployment_id)?;
        object.text("model", model)?;
        object.text("provider", provider)?;
        object.text("api_base", api_base)?;
        object.text_if("region", region)?;
        object.value("started", started)?;
        object.value("ended", ended)?;
        object.value_if("first_byte", first_byte)?;
        object.value("usage", usage)?;
        object.value("cost", cost)?;
        for (name, is) in [("price_unknown", *price_unknown), ("estimated", *estimated)] {
            if is {
                object.truth(name, true);
            }
        }
        quoted(object.key("end_reason"), end_reason.label().as_bytes());
        object.value("status", status)?;
        object.value("attempts", attempts)?;
        context.write(object.key("context"))?;
        object.text_if("error", error)?;
        object.value_if("texts", texts)?;
        object.end();
        Ok(())
    }
}

impl Payload for Payer {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let Self {
            key,
            key_alias,
            user_id,
            team_id,
            organization_id,
            end_user,
        } = self;
        let mut object = Object::new(out);
        if let Some(key) = key {
            quoted(object.key("key"), &key.digits());
        }
        object.text_if("key_alias", key_alias)?;
        object.text_if("user_id", user_id)?;
        object.text_if("team_id", team_id)?;
        object.text_if("organization_id", organization_id)?;
        object.text_if("end_user", end_user)?;
        object.end();
        Ok(())
    }
}

impl Payload for RequestContext {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let Self {
            tags,
            session_id,
            client_ip,
            user_agent,
            spend_logs_metadata,
            cache_hit,
            lineage,
            periods,
            periods_in_part,
            batch,
        } = self;
        let mut object = Object::new(out);
        if !tags.is_empty() {
            object.value("tags", tags)?;
        }
        object.text_if("session_id", session_id)?;
        object.text_if("client_ip", client_ip)?;
        object.text_if("user_agent", user_agent)?;
        object.value_if("spend_logs_metadata", spend_logs_metadata)?;
        object.value_if("cache_hit", cache_hit)?;
        if let Some(lineage) = lineage {
            quoted(object.key("lineage"), &lineage.digits());
        }
        if !periods.is_empty() {
            object.value("periods", periods)?;
        }
        if !periods_in_part.is_empty() {
            object.value("periods_in_part", periods_in_part)?;
        }
        object.value_if("batch", batch)?;
        object.end();
        Ok(())
    }
}

/// A JSON object that is being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// What stands before the next member.
    before: u8,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, before: b'{' }
    }

    /// Begins a member: its value is written next.
    fn key(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out.extend_from_slice(&[self.before, b'"']);
        self.before = b',';
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn truth(&mut self, name: &'static str, is: bool) {
        let word: &[u8] = if is { b"true" } else { b"false" };
        self.key(name).extend_from_slice(word);
    }

    fn value(&mut self, name: &'static str, value: &impl Serialize) -> Result<(), Error> {
        to_writer(self.key(name), value)
    }

    fn value_if(
        &mut self,
        name: &'static str,
        value: &Option<impl Serialize>,
    ) -> Result<(), Error> {
        value
            .as_ref()
            .map_or(Ok(()), |value| self.value(name, value))
    }

    fn text(&mut self, name: &'static str, text: &str) -> Result<(), Error> {
        let out = self.key(name);
        match is_plain(text.as_bytes()) {
            true => quoted(out, text.as_bytes()),
            false => to_writer(out, text)?,
        }
        Ok(())
    }

    fn text_if(&mut self, name: &'static str, text: &Option<String>) -> Result<(), Error> {
        text.as_ref().map_or(Ok(()), |text| self.text(name, text))
    }

    fn end(self) {
        if self.before == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

/// Writes a text that needs no escapes.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Whether a text needs no escapes. Without a way out in the middle, so that the compiler looks
/// at sixteen bytes at once.
fn is_plain(text: &[u8]) -> bool {
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    !text
        .iter()
        .fold(false, |found, byte| found | special(*byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::batch::Step;
    use crate::endpoint::Endpoint;
    use crate::escrow::{Pid, ScopeId};
    use crate::ids::{CallId, KeyHash};
    use crate::journal::Rates;
    use crate::money::NanoUsd;
    use crate::spend::{CacheHit, EndReason};
    use crate::time::WallMs;
    use crate::transcript::Texts;
    use crate::usage::{Units, Usage};

    fn bare() -> SpendRecord {
        SpendRecord {
            call_id: CallId::from_bytes([7; 16]),
            response_id: None,
            endpoint: Endpoint::ChatCompletions,
            stream: false,
            payer: Payer::default(),
            model_group: String::new(),
            deployment_id: String::new(),
            model: String::new(),
            provider: String::new(),
            api_base: String::new(),
            region: None,
            started: WallMs(-1),
            ended: WallMs(i64::MAX),
            first_byte: None,
            usage: Usage::default(),
            cost: NanoUsd::ZERO,
            price_unknown: false,
            estimated: false,
            end_reason: EndReason::Complete,
            status: 200,
            attempts: 0,
            context: RequestContext::default(),
            error: None,
            texts: None,
        }
    }

    /// Everything is there, every text is `text`.
    fn full(text: &str) -> SpendRecord {
        let some = || Some(text.to_owned());
        let texts = json!({"request": {"a": text}, "response": [text]});
        SpendRecord {
            response_id: some(),
            stream: true,
            payer: Payer {
                key: Some(KeyHash::of_secret(text)),
                key_alias: some(),
                user_id: some(),
                team_id: some(),
                organization_id: some(),
                end_user: some(),
            },
            model_group: text.to_owned(),
            deployment_id: text.to_owned(),
            model: text.to_owned(),
            provider: text.to_owned(),
            api_base: text.to_owned(),
            region: some(),
            first_byte: Some(WallMs(5)),
            usage: Usage {
                prompt: u64::MAX,
                completion: 3,
                units: Units {
                    images: 2,
                    ..Units::default()
                },
                fast: true,
                ..Usage::default()
            },
            cost: NanoUsd(-12),
            price_unknown: true,
            estimated: true,
            end_reason: EndReason::ClientGoneBeforeFirstByte,
            context: RequestContext {
                tags: vec![text.to_owned(), String::new()],
                session_id: some(),
                client_ip: some(),
                user_agent: some(),
                spend_logs_metadata: Some(json!({"deep": [text, 1.5, null]})),
                cache_hit: Some(CacheHit {
                    key: text.to_owned(),
                    saved: NanoUsd(9),
                }),
                lineage: Some(KeyHash::of_secret("sk-first")),
                periods: vec![Pid {
                    scope: ScopeId::from_bits(77),
                    index: 1,
                    generation: 2,
                }],
                periods_in_part: vec![(
                    Pid {
                        scope: ScopeId::from_bits(78),
                        index: 3,
                        generation: 1,
                    },
                    NanoUsd(7),
                )],
                batch: Some(Step::Used),
            },
            error: some(),
            texts: Some(Box::new(
                serde_json::from_str::<Texts>(&texts.to_string()).unwrap(),
            )),
            ..bare()
        }
    }

    fn same(record: SpendRecord) {
        let mut written = Vec::new();
        record.write(&mut written).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            serde_json::to_string(&record).unwrap()
        );
        let open = Open {
            record,
            bound: Bound {
                prompt_tokens: 1,
                completion_tokens_max: u64::MAX,
                reserved: NanoUsd(-3),
                rates: Rates {
                    prompt_nano_per_mtok: 4,
                    completion_nano_per_mtok: -5,
                },
            },
        };
        let mut written = Vec::new();
        open.write(&mut written).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            serde_json::to_string(&open).unwrap()
        );
    }

    #[test]
    fn it_is_what_serde_writes() {
        same(bare());
        for text in [
            "",
            "gpt-4o",
            "an honest \u{1f600} text",
            "twenty-four bytes of it..",
        ] {
            same(full(text));
        }
        for endpoint in Endpoint::ALL {
            same(SpendRecord { endpoint, ..bare() });
        }
    }

    #[test]
    fn every_character_that_needs_it_is_escaped_wherever_it_stands() {
        for special in (0..=0x80).map(|byte| char::from(byte as u8)) {
            for before in [0, 1, 15, 16, 17, 40] {
                let text = format!("{}{special}after", "x".repeat(before));
                same(full(&text));
            }
        }
    }

    #[test]
    fn labels_of_ends_are_their_names() {
        for reason in EndReason::ALL {
            same(SpendRecord {
                end_reason: reason,
                ..bare()
            });
        }
    }
}
