//! A request as the fake provider understands it: family, endpoint and the few fields it uses.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Whose conventions the path follows: credentials and error shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `/v1/...`
    OpenAi,
    /// `/openai/deployments/{d}/...`, `/openai/v1/...`, `/openai/...`
    Azure,
    /// `/v1/messages`, `/anthropic/v1/messages`.
    Anthropic,
}

/// What was asked for. `Unknown` answers 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Chat completions.
    Chat,
    /// Legacy completions.
    Completions,
    /// Responses.
    Responses,
    /// A stored response: GET, DELETE, cancel, input items.
    ResponsesItem,
    /// Anthropic messages.
    Messages,
    /// Anthropic count_tokens.
    CountTokens,
    /// Embeddings.
    Embeddings,
    /// Model list.
    Models,
    /// Moderations.
    Moderations,
    /// Images.
    Images,
    /// Speech from text.
    Speech,
    /// Text from speech.
    Transcriptions,
    /// Files.
    Files,
    /// Batches.
    Batches,
    /// Rerank.
    Rerank,
    /// `HEAD /`, as Claude Code probes.
    Root,
    /// Anything else.
    Unknown,
}

/// Where a request goes: what its path says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Route {
    /// Conventions.
    pub(crate) family: Family,
    /// Operation.
    pub(crate) operation: Operation,
    /// The deployment of a dated Azure path, percent-decoded.
    pub(crate) deployment: Option<String>,
    /// What follows the operation, e.g. `resp_1/cancel`.
    pub(crate) rest: String,
}

impl Route {
    /// Reads a request target, query included.
    pub(crate) fn from_target(target: &str) -> Self {
        let path = target.split('?').next().unwrap_or_default();
        let mut family = Family::OpenAi;
        let mut deployment = None;
        let mut operation = path.trim_start_matches('/');
        if let Some(azure) = path.strip_prefix("/openai/deployments/") {
            let (name, rest) = azure.split_once('/').unwrap_or((azure, ""));
            (family, operation) = (Family::Azure, rest);
            deployment = Some(percent_decoded(name));
        } else if let Some(azure) = path.strip_prefix("/openai/") {
            (family, operation) = (Family::Azure, azure.strip_prefix("v1/").unwrap_or(azure));
        } else if let Some(claude) = path.strip_prefix("/anthropic/v1/") {
            (family, operation) = (Family::Anthropic, claude);
        } else if let Some(rest) = path.strip_prefix("/v1/") {
            operation = rest;
        }
        let (operation, rest) = operation_named(operation);
        if matches!(operation, Operation::Messages | Operation::CountTokens) {
            family = Family::Anthropic;
        }
        Self {
            family,
            operation,
            deployment,
            rest: rest.to_owned(),
        }
    }
}

fn operation_named(path: &str) -> (Operation, &str) {
    const NAMES: [(&str, Operation); 18] = [
        ("chat/completions", Operation::Chat),
        ("completions", Operation::Completions),
        ("responses/", Operation::ResponsesItem),
        ("responses", Operation::Responses),
        ("messages/count_tokens", Operation::CountTokens),
        ("messages", Operation::Messages),
        ("embeddings", Operation::Embeddings),
        ("models", Operation::Models),
        ("moderations", Operation::Moderations),
        ("images/", Operation::Images),
        ("audio/speech", Operation::Speech),
        ("audio/", Operation::Transcriptions),
        ("files", Operation::Files),
        ("batches", Operation::Batches),
        ("rerank", Operation::Rerank),
        ("v2/rerank", Operation::Rerank),
        ("v1/rerank", Operation::Rerank),
        ("v1/chat/completions", Operation::Chat),
    ];
    if path.is_empty() {
        return (Operation::Root, "");
    }
    for (name, operation) in NAMES {
        let whole = |rest: &&str| rest.is_empty() || rest.starts_with('/') || name.ends_with('/');
        if let Some(rest) = path.strip_prefix(name).filter(whole) {
            return (operation, rest.trim_start_matches('/'));
        }
    }
    (Operation::Unknown, path)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let decoded = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One tool call that the fake model makes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToolCall {
    /// Name of the tool.
    pub(crate) name: String,
    /// Arguments as JSON text.
    pub(crate) arguments: String,
}

/// The fields of a body that matter here. Unknown and odd ones are ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ask {
    /// `model`, as received.
    pub(crate) model: String,
    /// `stream`.
    pub(crate) stream: bool,
    /// `stream_options.include_usage`.
    pub(crate) include_usage: bool,
    /// `user`, `metadata.user_id` or `metadata.marker`: what ledgers are compared by.
    pub(crate) marker: Option<String>,
    /// Bytes of the prompt (`messages`, `input` or `prompt` as JSON text).
    pub(crate) prompt_bytes: usize,
    /// Limit on completion tokens, whatever it is called.
    pub(crate) max_tokens: Option<u32>,
    /// Whether thinking was asked for (`thinking.type` is `enabled` or `adaptive`).
    pub(crate) thinking: bool,
    /// The call a model would make: tools were offered and the last message is no tool result.
    pub(crate) call: Option<ToolCall>,
    /// `encoding_format` is `base64`.
    pub base64: bool,
    /// Number of `input` items (embeddings), `documents` (rerank) or `n` (images).
    pub(crate) items: usize,
}

#[derive(Deserialize)]
struct Fields<'a> {
    model: Option<Cow<'a, str>>,
    stream: Option<bool>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    user: Option<Cow<'a, str>>,
    metadata: Option<&'a RawValue>,
    messages: Option<&'a RawValue>,
    input: Option<&'a RawValue>,
    prompt: Option<&'a RawValue>,
    documents: Option<&'a RawValue>,
    tools: Option<&'a RawValue>,
    tool_choice: Option<&'a RawValue>,
    thinking: Option<&'a RawValue>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    encoding_format: Option<Cow<'a, str>>,
    n: Option<usize>,
}

impl Ask {
    /// Reads a JSON body; `None` if it is not an object. Of a repeated key the last one counts.
    pub(crate) fn from_json(body: &[u8]) -> Option<Self> {
        if let Ok(fields) = serde_json::from_slice::<Fields<'_>>(body) {
            return Some(Self::from_fields(&fields));
        }
        // Repeated keys and odd types end here: reread leniently.
        let value: Value = serde_json::from_slice(body).ok()?;
        let mut object = value.as_object()?.clone();
        let is_text = |v: &Value| v.is_string();
        let is_count = |v: &Value| v.is_u64();
        object.retain(|key, value| match key.as_str() {
            "model" | "user" | "encoding_format" => is_text(value),
            "stream" => value.is_boolean(),
            "n" | "max_tokens" | "max_completion_tokens" | "max_output_tokens" => is_count(value),
            _ => true,
        });
        let text = Value::Object(object).to_string();
        let fields = serde_json::from_str::<Fields<'_>>(&text).ok()?;
        Some(Self::from_fields(&fields))
    }

    fn from_fields(fields: &Fields<'_>) -> Self {
        let prompt = fields.messages.or(fields.input).or(fields.prompt);
        let limits = [
            fields.max_tokens,
            fields.max_completion_tokens,
            fields.max_output_tokens,
        ];
        let sized = fields.documents.or(fields.input);
        Self {
            model: fields.model.as_deref().unwrap_or_default().to_owned(),
            stream: fields.stream.unwrap_or(false),
            include_usage: flag(fields.stream_options, "include_usage"),
            marker: marker(fields),
            prompt_bytes: prompt.map_or(0, |raw| raw.get().len()),
            max_tokens: limits.into_iter().flatten().min(),
            thinking: fields
                .thinking
                .is_some_and(|raw| !raw.get().contains("disabled")),
            call: tool_call(fields, prompt),
            base64: fields.encoding_format.as_deref() == Some("base64"),
            items: fields.n.unwrap_or_else(|| sized.map_or(1, count)),
        }
    }

    /// Reads the form fields that matter out of a multipart body.
    pub(crate) fn from_multipart(body: &[u8]) -> Self {
        Self {
            model: form_field(body, "model").unwrap_or_default(),
            stream: form_field(body, "stream").as_deref() == Some("true"),
            marker: form_field(body, "user"),
            items: 1,
            ..Self::default()
        }
    }
}

fn flag(raw: Option<&RawValue>, key: &str) -> bool {
    let value = raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    value.is_some_and(|value| value[key] == true)
}

fn marker(fields: &Fields<'_>) -> Option<String> {
    if let Some(user) = &fields.user {
        return Some(user.clone().into_owned());
    }
    let metadata: Value = serde_json::from_str(fields.metadata?.get()).ok()?;
    let found = metadata["user_id"].as_str().or(metadata["marker"].as_str());
    found.map(str::to_owned)
}

fn count(raw: &RawValue) -> usize {
    match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        // A list of token numbers is one input.
        Ok(items)
            if items
                .first()
                .is_some_and(|v| v.get().parse::<f64>().is_ok()) =>
        {
            1
        }
        Ok(items) => items.len(),
        Err(_) => 1,
    }
}

fn tool_call(fields: &Fields<'_>, prompt: Option<&RawValue>) -> Option<ToolCall> {
    let tools: Vec<Value> = serde_json::from_str(fields.tools?.get()).ok()?;
    let choice = fields.tool_choice.map_or("", |raw| raw.get());
    if choice == "\"none\"" || ends_with_tool_result(prompt) {
        return None;
    }
    let spec = |tool: &Value| {
        if tool["function"].is_object() {
            tool["function"].clone()
        } else {
            tool.clone()
        }
    };
    let named: Vec<Value> = tools
        .iter()
        .map(spec)
        .filter(|tool| tool["name"].is_string())
        .collect();
    let tool = named
        .iter()
        .find(|tool| tool["name"] == "Bash")
        .or(named.first())?;
    let schema = match &tool["input_schema"] {
        Value::Null => &tool["parameters"],
        schema => schema,
    };
    Some(ToolCall {
        name: tool["name"].as_str()?.to_owned(),
        arguments: example(schema).to_string(),
    })
}

fn ends_with_tool_result(prompt: Option<&RawValue>) -> bool {
    let messages = prompt.and_then(|raw| serde_json::from_str::<Vec<Value>>(raw.get()).ok());
    let Some(messages) = messages else {
        return false;
    };
    let last = messages
        .iter()
        .rev()
        .find(|message| message["role"] != "system");
    last.is_some_and(|message| {
        let block = |block: &Value| block["type"] == "tool_result";
        message["role"] == "tool"
            || message["type"] == "function_call_output"
            || message["content"]
                .as_array()
                .is_some_and(|blocks| blocks.iter().any(block))
    })
}

/// A value for every required property of a JSON schema.
fn example(schema: &Value) -> Value {
    let mut arguments = serde_json::Map::new();
    for name in schema["required"].as_array().into_iter().flatten() {
        let Some(name) = name.as_str() else { continue };
        let value = match schema["properties"][name]["type"].as_str() {
            Some("integer" | "number") => json!(7),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ if name == "command" => json!("echo from-the-tool"),
            _ => json!("Paris"),
        };
        arguments.insert(name.to_owned(), value);
    }
    Value::Object(arguments)
}

fn form_field(body: &[u8], name: &str) -> Option<String> {
    let label = format!("name=\"{name}\"");
    let start = memchr::memmem::find(body, label.as_bytes())?;
    let blank = start + memchr::memmem::find(&body[start..], b"\r\n\r\n")? + 4;
    let end = blank + memchr::memmem::find(&body[blank..], b"\r\n")?;
    Some(String::from_utf8_lossy(&body[blank..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_every_provider_are_known() {
        let cases = [
            (
                "/v1/chat/completions",
                Family::OpenAi,
                Operation::Chat,
                None,
            ),
            (
                "/openai/deployments/d%2B1/embeddings?api-version=x",
                Family::Azure,
                Operation::Embeddings,
                Some("d+1"),
            ),
            (
                "/openai/v1/responses",
                Family::Azure,
                Operation::Responses,
                None,
            ),
            (
                "/anthropic/v1/messages?beta=true",
                Family::Anthropic,
                Operation::Messages,
                None,
            ),
            (
                "/v1/messages/count_tokens",
                Family::Anthropic,
                Operation::CountTokens,
                None,
            ),
            (
                "/v1/responses/resp_1/cancel",
                Family::OpenAi,
                Operation::ResponsesItem,
                None,
            ),
            ("/v1/responsesx", Family::OpenAi, Operation::Unknown, None),
        ];
        for (target, family, operation, deployment) in cases {
            let route = Route::from_target(target);
            assert_eq!(
                (route.family, route.operation),
                (family, operation),
                "{target}"
            );
            assert_eq!(route.deployment.as_deref(), deployment, "{target}");
        }
    }

    #[test]
    fn tools_are_called_once() {
        let tools = r#""tools":[{"type":"function","function":{"name":"f","parameters":
            {"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}}}]"#;
        let asked = format!(r#"{{"model":"m","messages":[{{"role":"user"}}],{tools}}}"#);
        let call = Ask::from_json(asked.as_bytes()).unwrap().call.unwrap();
        assert_eq!(
            (call.name.as_str(), call.arguments.as_str()),
            ("f", r#"{"a":7}"#)
        );
        let answered = format!(r#"{{"model":"m","messages":[{{"role":"tool"}}],{tools}}}"#);
        assert_eq!(Ask::from_json(answered.as_bytes()).unwrap().call, None);
    }

    #[test]
    fn of_a_repeated_key_the_last_counts() {
        let ask = Ask::from_json(br#"{"model":"a","model":"b","user":7,"stream":true}"#).unwrap();
        assert_eq!(
            (ask.model.as_str(), ask.stream, ask.marker),
            ("b", true, None)
        );
    }
}
