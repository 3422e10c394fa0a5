//! Recorded answers and streams, and the surroundings of a translation.

use std::path::Path;

use meridian_core::relay::Ending;
use meridian_core::translate::{
    Capabilities, ClientDialect, Context, Flag, Memo, Pair, Platform, Policy, ProviderDialect,
    Refusal, Reply, Request, Stream, request,
};
use serde_json::Value;

/// A recorded file.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let path = root.join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Recorded streams of a provider dialect, in its own framing.
pub(crate) fn streams(provider: ProviderDialect) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in ["openai", "azure", "anthropic"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let file = entry.unwrap().file_name().to_string_lossy().into_owned();
            let is_lines = file.ends_with(".chunks.ndjson");
            let is_stream = is_lines || file.ends_with(".sse");
            if !is_stream || file.contains("completions") || dialect(folder, &file) != provider {
                continue;
            }
            let name = format!("{folder}/{file}");
            let bytes = match is_lines {
                true => framed(&recorded(&name), provider),
                false => recorded(&name),
            };
            found.push((name, bytes));
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

fn dialect(folder: &str, file: &str) -> ProviderDialect {
    match folder {
        "anthropic" => ProviderDialect::Messages,
        _ if file.contains("responses") => ProviderDialect::Responses,
        _ => ProviderDialect::Chat,
    }
}

/// One JSON value per line as the stream that it was.
pub(crate) fn framed(lines: &[u8], provider: ProviderDialect) -> Vec<u8> {
    let mut stream = String::new();
    for line in String::from_utf8_lossy(lines).lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        if let Some(kind) = value["type"].as_str() {
            stream.push_str(&format!("event: {kind}\n"));
        }
        stream.push_str(&format!("data: {line}\n\n"));
    }
    if provider == ProviderDialect::Chat {
        stream.push_str("data: [DONE]\n\n");
    }
    stream.into_bytes()
}

/// A pair that exists.
pub(crate) fn pair(client: ClientDialect, provider: ProviderDialect) -> Pair {
    Pair::new(client, provider).unwrap()
}

/// The pairs whose translation is tested here.
pub(crate) fn pairs() -> Vec<Pair> {
    use ClientDialect as C;
    use ProviderDialect as P;
    vec![
        pair(C::Chat, P::Messages),
        pair(C::Chat, P::Responses),
        pair(C::Messages, P::Chat),
        pair(C::Messages, P::Responses),
        pair(C::Responses, P::Chat),
        pair(C::Responses, P::Messages),
    ]
}

/// What an answer is told with.
pub(crate) fn reply(memo: Memo) -> Reply {
    Reply {
        model: "public-name".to_owned(),
        seed: 0x0123_4567_89AB_CDEF_0123_4567_89AB_CDEF,
        created_s: 1_700_000_000,
        request_id: "req_1".to_owned(),
        memo,
    }
}

/// What a request is told with.
pub(crate) struct World {
    pub(crate) capabilities: Capabilities,
    pub(crate) policy: Policy,
    pub(crate) platform: Platform,
}

impl World {
    /// A model of which nothing is known, at the dialect's own provider.
    pub(crate) fn of(provider: ProviderDialect) -> Self {
        let platform = match provider {
            ProviderDialect::Messages => Platform::Anthropic,
            ProviderDialect::Converse => Platform::BedrockConverse,
            ProviderDialect::Gemini => Platform::AiStudio,
            ProviderDialect::Cohere => Platform::Cohere,
            _ => Platform::OpenAi,
        };
        Self {
            capabilities: Capabilities::default(),
            policy: Policy::default(),
            platform,
        }
    }

    pub(crate) fn with(mut self, flag: Flag, set: bool) -> Self {
        self.capabilities = self.capabilities.with(flag, set);
        self
    }

    pub(crate) fn drops(mut self) -> Self {
        self.policy.drop_params = true;
        self
    }

    pub(crate) fn strict(mut self) -> Self {
        self.policy.strict = true;
        self
    }

    pub(crate) fn on(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    pub(crate) fn tell(&self, pair: Pair, body: &Value) -> Result<Request, Refusal> {
        self.tell_bytes(pair, body.to_string().as_bytes())
    }

    pub(crate) fn tell_bytes(&self, pair: Pair, body: &[u8]) -> Result<Request, Refusal> {
        let context = Context {
            model: "upstream-model",
            provider: "provider",
            platform: self.platform,
            capabilities: &self.capabilities,
            policy: &self.policy,
            betas: None,
            anthropic_version: None,
        };
        request(pair, body, &context)
    }

    /// The request's body as JSON.
    pub(crate) fn body(&self, pair: Pair, body: &Value) -> Value {
        let request = self
            .tell(pair, body)
            .unwrap_or_else(|error| panic!("{error}: {body}"));
        json_of(&request.body)
    }
}

/// A body as JSON.
pub(crate) fn json_of(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Names of lost fields; changed ones with a `~`.
pub(crate) fn lost(request: &Request) -> Vec<String> {
    let header = meridian_core::translate::header_value(&request.losses);
    header.split(',').map(str::to_owned).collect()
}

/// A stream told whole.
pub(crate) fn told(pair: Pair, bytes: &[u8], memo: Memo) -> (Vec<u8>, Ending, Stream) {
    let mut stream = Stream::new(pair, reply(memo)).unwrap();
    let mut out = Vec::new();
    stream.feed(bytes, &mut out).unwrap();
    let ending = stream.finish(&mut out);
    (out, ending, stream)
}
