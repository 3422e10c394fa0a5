//! Members of a request that its response repeats.

use crate::translate::emit::Emit;
use crate::translate::take;
use crate::wire::json::Value;

/// What clients read from every response, and what it says when the request does not.
const MEMBERS: [(&str, &str); 14] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("reasoning", "{\"effort\":null,\"summary\":null}"),
    ("temperature", "null"),
    ("text", "{\"format\":{\"type\":\"text\"}}"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// The members as JSON without the braces. Nothing is ever stored, whatever was asked.
pub(super) fn of(body: &[u8]) -> String {
    let mut found: [Option<Value<'_>>; MEMBERS.len()] = [None; MEMBERS.len()];
    // A body that cannot be read is refused by the reader.
    let _ = take::top(body, |name, value| {
        if let Some(at) = MEMBERS.iter().position(|(known, _)| *known == name) {
            found[at] = Some(value);
        }
        Ok(())
    });
    let mut out = Vec::new();
    let mut emit = Emit::new(&mut out);
    for ((name, default), value) in MEMBERS.iter().zip(found) {
        let raw = value.map_or(default.as_bytes(), |value| value.raw);
        emit.name(name).raw(raw);
    }
    emit.name("store").flag(false);
    String::from_utf8_lossy(&out).into_owned()
}
