//! A provider with Anthropic's Files API, and messages whose code writes a file.

use meridian_testkit::fake::{Asked, Reply};
use serde_json::{Value, json};

/// `max_tokens` of a message that is answered by code which writes a file.
pub(crate) const WRITES: u64 = 77;

/// Most files of a page.
const PAGE: usize = 3;

/// The provider's side: files, the newest first.
#[derive(Default)]
pub(crate) struct Account {
    files: Vec<File>,
    made: usize,
}

struct File {
    id: String,
    content: Vec<u8>,
    /// What was uploaded cannot be downloaded.
    is_written: bool,
}

impl File {
    fn told(&self) -> Value {
        json!({"id": self.id, "type": "file", "filename": "notes.txt", "mime_type": "text/plain",
            "size_bytes": self.content.len(), "created_at": "2026-11-29T10:00:00Z",
            "downloadable": self.is_written})
    }
}

impl Account {
    fn make(&mut self, content: &[u8], is_written: bool) -> &File {
        self.made += 1;
        let id = format!("file_{}", self.made);
        let content = content.to_vec();
        self.files.insert(
            0,
            File {
                id,
                content,
                is_written,
            },
        );
        &self.files[0]
    }
}

/// What the provider answers.
pub(crate) fn answer(account: &mut Account, asked: &Asked) -> Reply {
    if asked.header("anthropic-version").is_none() || asked.header("x-api-key").is_none() {
        return refuse(401, "authentication_error");
    }
    let parts: Vec<&str> = asked.path().trim_matches('/').split('/').collect();
    if let ("POST", ["v1", "messages"]) = (asked.method(), &parts[..]) {
        return message(account, asked);
    }
    let at = |id: &str| account.files.iter().position(|file| file.id == id);
    match (asked.method(), &parts[..]) {
        ("POST", ["v1", "files"]) => Reply::json(200, &account.make(&asked.body, false).told()),
        ("GET", ["v1", "files"]) => page(account, asked),
        (method, ["v1", "files", id, rest @ ..]) => {
            let Some(at) = at(id) else {
                return refuse(404, "not_found_error");
            };
            let file = &account.files[at];
            match (method, rest) {
                ("GET", ["content"]) if file.is_written => {
                    Reply::of(200, "application/octet-stream", file.content.clone())
                }
                ("GET", []) => Reply::json(200, &file.told()),
                ("DELETE", []) => {
                    let told = json!({"id": file.id, "type": "file_deleted"});
                    account.files.remove(at);
                    Reply::json(200, &told)
                }
                _ => refuse(400, "invalid_request_error"),
            }
        }
        _ => refuse(404, "not_found_error"),
    }
}

/// A page by the cursor of the one before it, at most so many files long.
fn page(account: &Account, asked: &Asked) -> Reply {
    let first = asked.query("page").map_or(0, |cursor| {
        cursor.trim_start_matches("page_").parse().unwrap()
    });
    let asked_for = asked
        .query("limit")
        .map_or(20, |limit| limit.parse().unwrap());
    let rest = account.files.iter().skip(first);
    let files: Vec<Value> = rest.take(asked_for.min(PAGE)).map(File::told).collect();
    let next = first + files.len();
    let next = (next < account.files.len()).then(|| format!("page_{next}"));
    Reply::json(200, &json!({"data": files, "next_page": next}))
}

fn refuse(status: u16, kind: &str) -> Reply {
    let error = json!({"type": "error", "error": {"type": kind, "message": "no"}});
    Reply::json(status, &error)
}

fn message(account: &mut Account, asked: &Asked) -> Reply {
    let body = asked.json();
    let mut content = vec![json!({"type": "text", "text": "seen"})];
    if body["max_tokens"] == WRITES {
        let id = account.make(b"written by code", true).id.clone();
        let output = json!([{"type": "bash_code_execution_output", "file_id": id}]);
        content.insert(
            0,
            json!({"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1",
                "content": {"type": "bash_code_execution_result", "stdout": "", "stderr": "",
                    "return_code": 0, "content": output}}),
        );
    }
    let usage = json!({"input_tokens": 3, "output_tokens": 1});
    let mut message = json!({"id": "msg_1", "type": "message", "role": "assistant",
        "model": "claude-x", "content": content, "stop_reason": "end_turn", "usage": usage});
    if body["stream"] != true {
        return Reply::json(200, &message);
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, block) in content.iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": usage}));
    events.push(json!({"type": "message_stop"}));
    let written = events.iter().map(|event| {
        let name = event["type"].as_str().unwrap();
        format!("event: {name}\ndata: {event}\n\n").into_bytes()
    });
    Reply::stream("text/event-stream", written.collect())
}
