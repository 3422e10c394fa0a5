//! Tokens of a request, estimated: for targets that cannot count them.

use crate::translate::client;
use crate::translate::dialect::ClientDialect;
use crate::translate::loss::{Losses, Policy, Refusal};
use crate::translate::prompt::{Arguments, Part, PartKind, Prompt, Source, Tool, ToolKind};
use crate::translate::text::Text;
use crate::usage::{text_weight, tokens_of_weight};
use crate::wire::json::Value;

/// Tokens of an image, whatever its size: what Anthropic counts for one of about a megapixel.
const IMAGE_TOKENS: u64 = 1_600;

/// Bytes of a document for one token: PDFs are compressed and counted by the page.
const DOCUMENT_BYTES_PER_TOKEN: u64 = 12;

/// Tokens around every turn, tool and result.
const FRAME_TOKENS: u64 = 4;

/// Input tokens of a request, estimated from its texts. Media count by a rule of thumb instead of
/// their base64. Who shows the number marks it as an estimate.
pub(super) fn estimate_input(client: ClientDialect, body: &[u8]) -> Result<u64, Refusal> {
    let policy = Policy::default();
    let mut losses = Losses::new(&policy);
    let Some(prompt) = client::read(client, body, &mut losses) else {
        let message = "tokens of this kind of request are not counted";
        return Err(Refusal::new("model", message));
    };
    let Prompt { turns, tools, .. } = prompt?;
    let mut sum = Sum::default();
    for turn in &turns {
        sum.tokens += FRAME_TOKENS;
        turn.parts.iter().for_each(|part| sum.part(part));
    }
    tools.iter().for_each(|tool| sum.tool(tool));
    Ok(sum.tokens + tokens_of_weight(sum.weight))
}

#[derive(Default)]
struct Sum {
    weight: u64,
    tokens: u64,
}

impl Sum {
    fn text(&mut self, text: &Text<'_>) {
        self.weight += text_weight(text.clear().as_bytes());
    }

    fn json(&mut self, value: &Option<Value<'_>>) {
        self.weight += value.map_or(0, |value| text_weight(value.raw));
    }

    fn part(&mut self, part: &Part<'_>) {
        match &part.kind {
            PartKind::Text { text, .. } | PartKind::Refusal(text) => self.text(text),
            PartKind::Image { .. } => self.tokens += IMAGE_TOKENS,
            PartKind::Document { source, title, .. } => {
                title.iter().for_each(|title| self.text(title));
                self.source(source);
            }
            PartKind::Audio { data, .. } => {
                self.tokens += data.clear().len() as u64 / DOCUMENT_BYTES_PER_TOKEN;
            }
            PartKind::Thinking { text, .. } => self.text(text),
            PartKind::Call {
                name, arguments, ..
            } => {
                self.tokens += FRAME_TOKENS;
                self.text(name);
                match arguments {
                    Arguments::Object(raw) => self.weight += text_weight(raw),
                    Arguments::Written(text) | Arguments::Free(text) => self.text(text),
                }
            }
            PartKind::Result { parts, .. } => {
                self.tokens += FRAME_TOKENS;
                parts.iter().for_each(|part| self.part(part));
            }
            PartKind::Foreign { raw, .. } => self.weight += text_weight(raw.raw),
        }
    }

    fn source(&mut self, source: &Source<'_>) {
        match source {
            Source::Text(text) => self.text(text),
            Source::Base64 { data, .. } => {
                self.tokens += data.clear().len() as u64 / DOCUMENT_BYTES_PER_TOKEN;
            }
            // Its size is not known here.
            Source::Url(_) | Source::File(_) => self.tokens += IMAGE_TOKENS,
        }
    }

    fn tool(&mut self, tool: &Tool<'_>) {
        self.tokens += FRAME_TOKENS;
        match &tool.kind {
            ToolKind::Function {
                name,
                description,
                schema,
                ..
            } => {
                self.text(name);
                description.iter().for_each(|text| self.text(text));
                self.json(schema);
            }
            ToolKind::Custom {
                name,
                description,
                format,
            } => {
                self.text(name);
                description.iter().for_each(|text| self.text(text));
                self.json(format);
            }
            ToolKind::WebSearch { raw } | ToolKind::Foreign { raw, .. } => {
                self.weight += text_weight(raw.raw);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(body: &str) -> u64 {
        estimate_input(ClientDialect::Messages, body.as_bytes()).unwrap()
    }

    #[test]
    fn texts_and_tools_count_and_media_do_not_by_their_bytes() {
        let plain = count(r#"{"messages":[{"role":"user","content":"a few plain words"}]}"#);
        assert!((4..20).contains(&plain), "{plain}");
        let tool = count(
            r#"{"messages":[{"role":"user","content":"a few plain words"}],
            "tools":[{"name":"f","input_schema":{"type":"object"}}]}"#,
        );
        assert!(tool > plain + 5);
        let media = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image","source":
            {{"type":"base64","media_type":"image/png","data":"{}"}}}}]}}]}}"#,
            "A".repeat(1_000_000)
        );
        assert!(count(&media) < 2_000);
        assert!(estimate_input(ClientDialect::Messages, b"{}").is_err());
    }
}
