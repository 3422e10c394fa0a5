//! What the fake provider does with one request: content, timing and faults.
//!
//! A script comes from the model name (`fake+tokens=20+reset@3`), so that tests share no state,
//! or from the control API when a sequence is needed.

use serde::{Deserialize, Serialize};

/// How one request is answered. The default is a healthy answer of five tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Completion tokens; a stream carries one per event.
    pub tokens: u32,
    /// Prompt tokens reported; `None` counts a quarter of the prompt's bytes.
    pub prompt: Option<u64>,
    /// Prompt tokens said to come from the provider's cache.
    pub cached: u64,
    /// Prompt tokens said to have been written to the provider's cache.
    pub cache_write: u64,
    /// Thinking tokens before the text; part of the completion tokens reported.
    pub reasoning: u32,
    /// HTTP status; from 400 on the body is the provider's error for it.
    pub status: u16,
    /// An error body of this status under the status above (200 with an error inside).
    pub error: Option<u16>,
    /// `Retry-After`, verbatim.
    pub retry_after: Option<String>,
    /// `retry-after-ms`.
    pub retry_after_ms: Option<u64>,
    /// More response headers, verbatim.
    pub headers: Vec<(String, String)>,
    /// Body sent instead of the dialect's own.
    pub body: Option<String>,
    /// Recorded body replayed instead, a path below the provider's fixture directory.
    pub replay: Option<String>,
    /// `Content-Type` instead of the one that fits.
    pub content_type: Option<String>,
    /// Offsets at which a replayed or whole body is cut into separate writes.
    pub cuts: Vec<usize>,
    /// Cut a body into pieces of this many bytes; 0 does not.
    pub every: usize,
    /// Milliseconds before the head.
    pub head_ms: u64,
    /// Milliseconds between the head and the first byte of the body.
    pub first_ms: u64,
    /// Milliseconds before each later piece.
    pub chunk_ms: u64,
    /// Pieces per write.
    pub batch: usize,
    /// What breaks, and where.
    pub fault: Option<Fault>,
    /// How the body is delimited; `None` is chunked for a stream, else by length.
    pub framing: Option<Framing>,
    /// Compress the body, whatever the client accepts.
    pub gzip: bool,
    /// Informational heads sent first, e.g. 100 or 103.
    pub interim: Vec<u16>,
    /// Trailers after a chunked body.
    pub trailers: Vec<(String, String)>,
    /// What happens before the request's body is read.
    pub early: Early,
    /// Answer in a form that was not asked for.
    pub kind: Kind,
    /// Bytes of padding inside each text event: 1 MiB makes a huge event.
    pub pad: usize,
    /// Whether usage is reported.
    pub usage: UsageMode,
    /// Whether a request that offers tools gets a tool call.
    pub tool: ToolMode,
    /// Model named in the answer, instead of the one asked for.
    pub says_model: Option<String>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            tokens: 5,
            prompt: None,
            cached: 0,
            cache_write: 0,
            reasoning: 0,
            status: 200,
            error: None,
            retry_after: None,
            retry_after_ms: None,
            headers: Vec::new(),
            body: None,
            replay: None,
            content_type: None,
            cuts: Vec::new(),
            every: 0,
            head_ms: 0,
            first_ms: 0,
            chunk_ms: 0,
            batch: 1,
            fault: None,
            framing: None,
            gzip: false,
            interim: Vec::new(),
            trailers: Vec::new(),
            early: Early::No,
            kind: Kind::AsAsked,
            pad: 0,
            usage: UsageMode::Asked,
            tool: ToolMode::Auto,
            says_model: None,
        }
    }
}

/// Something that breaks. Written `act@point`, e.g. `reset@3`, `stall@head`, `close@mid2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fault {
    /// What breaks.
    pub act: Act,
    /// Where.
    pub at: Point,
}

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing more is sent, the connection stays open.
    Stall,
    /// h1: RST. h2: RST_STREAM.
    Reset,
    /// The TCP connection ends (FIN) with the body unfinished.
    Close,
    /// The body ends early, cleanly as far as HTTP can tell.
    Truncate,
    /// The stream carries the provider's error event, then ends cleanly.
    Error,
    /// An event that is not JSON, then the stream goes on.
    Malformed,
    /// h1: a chunk size that is no number. h2: as `Reset`.
    BadChunk,
    /// h2: GOAWAY, then the stream goes on to its end; before the head, the connection ends
    /// instead, without an answer. h1: `Connection: close`.
    GoAway,
}

/// Where it breaks. Pieces are stream events, or the cuts of a body; a plain body is one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The request was read, no head was sent.
    Head,
    /// Before this piece, counted from 0; 0 is after the head.
    Piece(usize),
    /// In the middle of this piece.
    Mid(usize),
    /// After the last byte of the body, before its terminator.
    End,
    /// After a complete answer.
    After,
}

/// How a body is delimited on HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`, one chunk per piece.
    Chunked,
    /// Until the connection ends.
    Close,
}

/// What happens before the request's body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Early {
    /// Nothing: the body is read first.
    No,
    /// The answer is sent at once and the connection ends with the body unread.
    Answer,
    /// The answer is sent at once, then the body is read and the connection kept.
    AnswerThenRead,
    /// The body is never read.
    NeverRead,
}

/// Which form an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The form asked for.
    AsAsked,
    /// One JSON document, even for a stream.
    Json,
    /// Events, even if no stream was asked for.
    Sse,
    /// No body at all under status 200.
    Empty,
}

/// Whether usage is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageMode {
    /// As the API says: streams of the OpenAI dialect only with `include_usage`.
    Asked,
    /// Never, whatever was asked.
    Never,
    /// Always, also where it was not asked for.
    Always,
    /// Where it belongs, but all zero.
    Zero,
}

/// Whether a request that offers tools gets a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolMode {
    /// One call, unless the last message is a tool's result.
    Auto,
    /// Never.
    Never,
    /// Two calls at once.
    Parallel,
}

impl Script {
    /// A healthy answer of `tokens` completion tokens.
    pub fn tokens(tokens: u32) -> Self {
        Self {
            tokens,
            ..Self::default()
        }
    }

    /// The provider's error for `status`.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// A fault as written in a model name, e.g. `reset@3`. Stops on a bad one.
    pub fn fault(fault: &str) -> Self {
        Self {
            fault: Some(fault.to_owned().try_into().expect("a fault like reset@3")),
            ..Self::default()
        }
    }

    /// The script in a model name: `fake+key=value+act@point`. Other names are healthy.
    pub fn from_model(model: &str) -> Result<Self, String> {
        let mut script = Self::default();
        if !model.starts_with("fake") {
            return Ok(script);
        }
        for directive in model.split('+').skip(1) {
            script.apply(directive)?;
        }
        Ok(script)
    }

    /// Applies one directive of a model name; the keys are the field names.
    fn apply(&mut self, directive: &str) -> Result<(), String> {
        let bad = |why: &str| format!("fake provider: directive {directive:?}: {why}");
        let Some((key, value)) = directive.split_once('=') else {
            match directive {
                "gzip" => self.gzip = true,
                "empty" => self.kind = Kind::Empty,
                _ => {
                    self.fault = Some(
                        directive
                            .to_owned()
                            .try_into()
                            .map_err(|e: String| bad(&e))?,
                    )
                }
            }
            return Ok(());
        };
        let pair = || {
            let (name, value) = value
                .split_once(':')
                .ok_or_else(|| bad("wants name:value"))?;
            Ok::<_, String>((name.to_owned(), value.to_owned()))
        };
        match key {
            "header" => self.headers.push(pair()?),
            "trailer" => self.trailers.push(pair()?),
            "cut" => self
                .cuts
                .push(value.parse().map_err(|_| bad("wants an offset"))?),
            "interim" => self
                .interim
                .push(value.parse().map_err(|_| bad("wants a status"))?),
            "huge" => self.pad = value.parse().map_err(|_| bad("wants bytes"))?,
            _ => self.set(key, value).map_err(|why| bad(&why))?,
        }
        Ok(())
    }

    /// Sets a plain field by name, with the same reader as the control API.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let mut fields = serde_json::to_value(&*self).map_err(|e| e.to_string())?;
        let text = serde_json::Value::String(value.to_owned());
        let as_json = serde_json::from_str(value).unwrap_or_else(|_| text.clone());
        for candidate in [as_json, text] {
            fields[key] = candidate;
            if let Ok(script) = serde_json::from_value(fields.clone()) {
                *self = script;
                return Ok(());
            }
        }
        Err("no such field, or not a value of it".to_owned())
    }
}

impl TryFrom<String> for Fault {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (act, at) = text.split_once('@').ok_or("wants act@point")?;
        let act = match act {
            "stall" => Act::Stall,
            "reset" => Act::Reset,
            "close" => Act::Close,
            "truncate" => Act::Truncate,
            "error" => Act::Error,
            "malformed" => Act::Malformed,
            "badchunk" => Act::BadChunk,
            "goaway" => Act::GoAway,
            _ => return Err(format!("no act {act:?}")),
        };
        let number = |text: &str| text.parse().map_err(|_| format!("no point {at:?}"));
        let at = match at {
            "head" => Point::Head,
            "end" => Point::End,
            "after" => Point::After,
            _ => match at.strip_prefix("mid") {
                Some(piece) => Point::Mid(number(piece)?),
                None => Point::Piece(number(at)?),
            },
        };
        Ok(Self { act, at })
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        let act = match fault.act {
            Act::Stall => "stall",
            Act::Reset => "reset",
            Act::Close => "close",
            Act::Truncate => "truncate",
            Act::Error => "error",
            Act::Malformed => "malformed",
            Act::BadChunk => "badchunk",
            Act::GoAway => "goaway",
        };
        match fault.at {
            Point::Head => format!("{act}@head"),
            Point::Piece(n) => format!("{act}@{n}"),
            Point::Mid(n) => format!("{act}@mid{n}"),
            Point::End => format!("{act}@end"),
            Point::After => format!("{act}@after"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_name_is_a_script() {
        let name =
            "fake-a+tokens=12+chunk_ms=5+close@mid2+header=x-a:b+framing=close+retry_after=7";
        let script = Script::from_model(name).unwrap();
        assert_eq!((script.tokens, script.chunk_ms), (12, 5));
        let at = Point::Mid(2);
        assert_eq!(
            script.fault,
            Some(Fault {
                act: Act::Close,
                at
            })
        );
        assert_eq!(script.headers, [("x-a".to_owned(), "b".to_owned())]);
        assert_eq!(script.framing, Some(Framing::Close));
        assert_eq!(script.retry_after.as_deref(), Some("7"));
    }

    #[test]
    fn a_typing_mistake_is_an_error_and_real_names_are_not_scripts() {
        assert!(Script::from_model("fake+tokns=12").is_err());
        assert!(Script::from_model("fake+explode@3").is_err());
        assert_eq!(Script::from_model("gpt+tokns=12"), Ok(Script::default()));
    }

    #[test]
    fn every_fault_reads_back() {
        for act in [
            "stall",
            "reset",
            "close",
            "truncate",
            "error",
            "malformed",
            "badchunk",
        ] {
            for at in ["head", "0", "3", "mid1", "end", "after"] {
                let text = format!("{act}@{at}");
                let fault = Fault::try_from(text.clone()).unwrap();
                assert_eq!(String::from(fault), text);
            }
        }
    }
}
