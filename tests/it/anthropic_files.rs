//! Anthropic's Files API: files of one account that several tenants use, in its own dialect.

mod account;

use std::sync::{Arc, Mutex};

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::SOON;
use meridian_testkit::fake::{Fake, Reply};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::binary;
use account::{Account, WRITES};

const BETA: &str = "files-api-2025-04-14";

async fn claude() -> Fake {
    let account = Arc::new(Mutex::new(Account::default()));
    Fake::start(move |asked| account::answer(&mut account.lock().unwrap(), asked)).await
}

/// Anthropic's account, and one of OpenAI's dialect beside it.
async fn world() -> (Fake, Fake, Gateway) {
    let claude = claude().await;
    let file = json!({"id": "file-of-openai", "object": "file"});
    let openai = Fake::start(move |_| Reply::json(200, &file)).await;
    let config = Config::new()
        .model("claude", "anthropic/claude-x", &claude.url, "")
        .model("gpt", "openai/gpt-x", &format!("{}/v1", openai.url), "");
    let gateway = Setup::new(binary(), &config).start().await;
    (claude, openai, gateway)
}

/// A request as Anthropic's libraries write it.
fn asking(method: &str, target: &str, key: &str) -> Request {
    Request::new(method, target)
        .field("x-api-key", key)
        .field("anthropic-version", "2023-06-01")
        .field("anthropic-beta", BETA)
}

fn upload_to(target: &str, key: &str) -> Request {
    let mut request =
        asking("POST", target, key).field("content-type", "multipart/form-data; boundary=b");
    let file = "content-disposition: form-data; name=\"file\"; filename=\"notes.txt\"";
    request.body = format!("--b\r\n{file}\r\n\r\nwords\r\n--b--\r\n").into_bytes();
    request
}

async fn upload(gateway: &Gateway, key: &str) -> String {
    let made = gateway.send(&upload_to("/v1/files?beta=true", key)).await;
    assert_eq!(made.status(), 200, "{}", made.text());
    assert_eq!(made.json()["type"], "file");
    made.json()["id"].as_str().unwrap().to_owned()
}

async fn ids(gateway: &Gateway, key: &str, target: &str) -> Vec<String> {
    let list = gateway.send(&asking("GET", target, key)).await;
    assert_eq!(list.status(), 200, "{}", list.text());
    let list = list.json();
    assert!(list.get("object").is_none(), "{list}");
    let ids = list["data"].as_array().unwrap().iter();
    let ids: Vec<String> = ids.map(|one| one["id"].as_str().unwrap().into()).collect();
    ids
}

/// All of a key's files by pages of two.
async fn by_pages(gateway: &Gateway, key: &str) -> Vec<Vec<String>> {
    let (mut pages, mut target) = (Vec::new(), "/v1/files?limit=2".to_owned());
    loop {
        pages.push(ids(gateway, key, &target).await);
        let list = gateway.send(&asking("GET", &target, key)).await.json();
        let Some(cursor) = list["next_page"].as_str() else {
            return pages;
        };
        target = format!("/v1/files?limit=2&page={cursor}");
    }
}

/// It is not there, in Anthropic's words.
fn is_missing(answer: &Response) {
    assert_eq!(answer.status(), 404, "{}", answer.text());
    let error = answer.json();
    assert_eq!(error["type"], "error", "{error}");
    assert_eq!(error["error"]["type"], "not_found_error", "{error}");
}

fn message(id: &str, max_tokens: u64) -> Value {
    let source = json!({"type": "document", "source": {"type": "file", "file_id": id}});
    let messages = json!([{"role": "user", "content": [source]}]);
    json!({"model": "claude", "max_tokens": max_tokens, "messages": messages})
}

#[tokio::test]
async fn a_file_of_anthropics_is_its_makers_alone() {
    let (claude, openai, gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let first = upload(&gateway, &ours).await;
    let foreign = upload(&gateway, &theirs).await;
    let second = upload(&gateway, &ours).await;
    let sent = claude.asked().pop().unwrap();
    assert_eq!(sent.header("anthropic-beta"), Some(BETA));
    assert_eq!(sent.target(), "/v1/files?beta=true");

    let path = |id: &str| format!("/v1/files/{id}?beta=true");
    let own = gateway.send(&asking("GET", &path(&first), &ours)).await;
    assert_eq!(own.json()["size_bytes"], sent.body.len(), "{}", own.text());
    assert_eq!(ids(&gateway, &ours, "/v1/files").await, [&*second, &*first]);
    let page = ids(
        &gateway,
        &ours,
        &format!("/v1/files?limit=5&after_id={second}"),
    )
    .await;
    assert_eq!(page, [&*first]);
    assert_eq!(ids(&gateway, &theirs, "/v1/files").await, [&*foreign]);
    assert_eq!(
        ids(&gateway, MASTER_KEY, "/v1/files?limit=9").await.len(),
        3
    );

    let before = claude.asked().len();
    for (method, target) in [
        ("GET", path(&foreign)),
        ("GET", format!("/v1/files/{foreign}/content")),
        ("DELETE", path(&foreign)),
        ("GET", path("file_none")),
        ("GET", format!("/v1/files?after_id={foreign}")),
    ] {
        is_missing(&gateway.send(&asking(method, &target, &ours)).await);
    }
    assert_eq!(
        claude.asked().len(),
        before,
        "the provider hears nothing of it"
    );
    let gone = gateway.send(&asking("DELETE", &path(&first), &ours)).await;
    assert_eq!(gone.json()["type"], "file_deleted", "{}", gone.text());
    is_missing(&gateway.send(&asking("GET", &path(&first), &ours)).await);
    assert!(openai.asked().is_empty());
    // What the provider itself refuses stays its own refusal.
    let content = format!("/v1/files/{second}/content");
    let refused = gateway.send(&asking("GET", &content, &ours)).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert_eq!(refused.json()["error"]["type"], "invalid_request_error");
    let wrong = gateway.send(&asking("PATCH", "/v1/files", &ours)).await;
    assert_eq!(
        (wrong.status(), &wrong.json()["type"]),
        (405, &json!("error"))
    );
}

#[tokio::test]
async fn a_list_of_anthropics_files_goes_on_by_cursors_of_its_own() {
    let (_, _, gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, upload(&gateway, &ours).await);
        upload(&gateway, &theirs).await;
    }
    let pages = by_pages(&gateway, &ours).await;
    assert_eq!(pages.concat(), made, "{pages:?}");
    assert_eq!(pages.iter().map(Vec::len).max(), Some(2), "{pages:?}");
    // As it was before there were cursors, and as it is with names.
    let behind = format!("/v1/files?after_id={}", made[2]);
    assert_eq!(ids(&gateway, &ours, &behind).await, made[3..]);
    let bad = gateway
        .send(&asking("GET", "/v1/files?page=page_3", &ours))
        .await;
    assert_eq!(bad.status(), 400, "{}", bad.text());
    assert_eq!(bad.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn each_dialect_has_files_of_its_own() {
    let (claude, openai, gateway) = world().await;
    let key = gateway.key(&json!({})).await;
    let file = upload(&gateway, &key).await;
    let plain = |target: &str| Request::new("GET", target).bearer(&key);
    let other = gateway.send(&plain(&format!("/v1/files/{file}"))).await;
    assert_eq!(other.status(), 404, "{}", other.text());
    assert!(other.json().get("type").is_none(), "{}", other.text());
    let mut request = upload_to("/v1/files", &key);
    let named = |name: &str| name.eq_ignore_ascii_case("content-type");
    request.fields.retain(|(name, _)| named(name));
    let made = gateway.send(&request.bearer(&key)).await;
    assert_eq!(made.json()["id"], "file-of-openai", "{}", made.text());
    let asked = openai.asked().len();
    is_missing(
        &gateway
            .send(&asking("GET", "/v1/files/file-of-openai", &key))
            .await,
    );
    assert_eq!(openai.asked().len(), asked);
    // A model of the other dialect is no account for it, and the answer says how.
    let wrong = gateway.send(&upload_to("/v1/files?model=gpt", &key)).await;
    assert_eq!(wrong.status(), 400, "{}", wrong.text());
    assert!(wrong.text().contains("OpenAI's API"), "{}", wrong.text());
    let named = gateway
        .send(&upload_to("/v1/files?model=claude", &key))
        .await;
    assert_eq!(named.status(), 200, "{}", named.text());
    assert_eq!(claude.asked().pop().unwrap().target(), "/v1/files");
}

#[tokio::test]
async fn a_message_that_names_a_file_goes_to_where_it_lies() {
    let (first, second) = (claude().await, claude().await);
    let config = Config::new()
        .model("claude", "anthropic/claude-x", &first.url, "")
        .model("claude", "anthropic/claude-x", &second.url, "");
    let gateway = Setup::new(binary(), &config).start().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let unnamed = gateway.send(&upload_to("/v1/files", &ours)).await;
    assert_eq!(unnamed.status(), 400, "two accounts: {}", unnamed.text());
    let made = gateway
        .send(&upload_to("/v1/files?model=claude", &ours))
        .await;
    assert_eq!(made.status(), 200, "{}", made.text());
    let file = made.json()["id"].as_str().unwrap().to_owned();
    let (keeper, other) = match first.asked().is_empty() {
        false => (first, second),
        true => (second, first),
    };
    let body = message(&file, 9);
    for _ in 0..8 {
        let answer = gateway
            .send(&Request::post("/v1/messages", &body).bearer(&ours))
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    assert_eq!((keeper.asked().len(), other.asked().len()), (9, 0));
    let stranger = Request::post("/v1/messages", &body).bearer(&theirs);
    is_missing(&gateway.send(&stranger).await);
    // What was uploaded without the gateway is nobody's here.
    let unknown = Request::post("/v1/messages", &message("file_99", 9));
    is_missing(&gateway.send(&unknown.clone().bearer(&ours)).await);
    let master = gateway.send(&unknown.bearer(MASTER_KEY)).await;
    assert_eq!(master.status(), 200, "{}", master.text());
}

#[tokio::test]
async fn what_code_has_written_is_read_by_who_let_it_run() {
    let (_, _, gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let file = upload(&gateway, &ours).await;
    for (stream, written) in [(false, "file_2"), (true, "file_3")] {
        let mut body = message(&file, WRITES);
        body["stream"] = json!(stream);
        let answer = gateway
            .send(&Request::post("/v1/messages", &body).bearer(&ours))
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(answer.text().contains(written), "{}", answer.text());
        let content = format!("/v1/files/{written}/content");
        let read = gateway.send(&asking("GET", &content, &ours)).await;
        assert_eq!(read.text(), "written by code");
        is_missing(&gateway.send(&asking("GET", &content, &theirs)).await);
    }
}

#[tokio::test]
async fn what_code_has_written_stays_its_owners_through_a_restart() {
    let (_, _, mut gateway) = world().await;
    let ours = gateway.key(&json!({})).await;
    let file = upload(&gateway, &ours).await;
    let body = message(&file, WRITES);
    let answer = gateway
        .send(&Request::post("/v1/messages", &body).bearer(&ours))
        .await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    gateway.stop(SOON).await;
    gateway.start().await;
    let content = asking("GET", "/v1/files/file_2/content", &ours);
    let read = gateway.send(&content).await;
    assert_eq!(read.text(), "written by code");
}
