//! A provider with Anthropic's Message Batches.

use meridian_testkit::fake::{Asked, Reply};
use serde_json::{Value, json};

/// The provider's side: batches, the newest first, and the results of all of them.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) batches: Vec<Value>,
    /// JSON lines.
    pub(crate) results: String,
    pub(crate) made: usize,
}

impl Account {
    fn find(&mut self, id: &str) -> Option<&mut Value> {
        self.batches.iter_mut().find(|batch| batch["id"] == *id)
    }

    /// A batch is over, with so many answers.
    pub(crate) fn end(&mut self, id: &str, succeeded: usize) {
        let batch = self.find(id).unwrap();
        batch["processing_status"] = json!("ended");
        batch["request_counts"]["succeeded"] = json!(succeeded);
        let url = format!("https://api.anthropic.com/v1/messages/batches/{id}/results");
        batch["results_url"] = json!(url);
    }
}

/// What the provider answers. A batch that is cancelled is over when it is read next.
pub(crate) fn answer(account: &mut Account, asked: &Asked) -> Reply {
    let missing = json!({"type": "error", "error": {"type": "not_found_error", "message": "no"}});
    if asked.header("anthropic-version").is_none() || asked.header("x-api-key").is_none() {
        return Reply::json(401, &missing);
    }
    let parts: Vec<&str> = asked.path().trim_matches('/').split('/').collect();
    let body = match (asked.method(), &parts[..]) {
        ("POST", ["v1", "messages", "batches"]) => {
            account.made += 1;
            let id = format!("msgbatch_{}", account.made);
            account.batches.insert(0, in_progress(&id));
            account.batches[0].clone()
        }
        ("GET", ["v1", "messages", "batches"]) => {
            let first = asked.query("after_id").map_or(0, |after| {
                let at = |batch: &Value| batch["id"] == *after;
                account.batches.iter().position(at).unwrap() + 1
            });
            json!({"data": account.batches[first..], "has_more": false,
                "first_id": null, "last_id": null})
        }
        ("GET", ["v1", "messages", "batches", _, "results"]) => {
            // In pieces that end in the middle of lines.
            let parts = account.results.as_bytes().chunks(70).map(<[u8]>::to_vec);
            return Reply::stream("application/x-jsonl", parts.collect());
        }
        ("DELETE", ["v1", "messages", "batches", id]) => {
            account.batches.retain(|batch| batch["id"] != **id);
            json!({"id": id, "type": "message_batch_deleted"})
        }
        (method, ["v1", "messages", "batches", id, rest @ ..]) => {
            let Some(batch) = account.find(id) else {
                return Reply::json(404, &missing);
            };
            if (method, rest) == ("POST", &["cancel"]) {
                batch["processing_status"] = json!("canceling");
                return Reply::json(200, batch);
            }
            if batch["processing_status"] == "canceling" {
                let lines = account.results.lines().count();
                account.end(id, lines);
            }
            account.find(id).unwrap().clone()
        }
        _ => return Reply::json(404, &missing),
    };
    Reply::json(200, &body)
}

fn in_progress(id: &str) -> Value {
    json!({"id": id, "type": "message_batch", "processing_status": "in_progress",
        "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0,
            "expired": 0},
        "created_at": "2026-11-29T10:00:00Z", "expires_at": "2026-11-30T10:00:00Z",
        "ended_at": null, "archived_at": null, "cancel_initiated_at": null, "results_url": null})
}
