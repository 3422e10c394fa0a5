//! Files and batches of one account that several tenants use: nobody sees another's.

mod named;

use std::sync::{Arc, Mutex};

use meridian_core::ids::KeyHash;
use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::deadline::SOON;
use meridian_testkit::fake::{Asked, Fake, Reply};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::binary;

/// Files that somebody made without the gateway, between those of the tenants.
const FOREIGN: usize = 1_200;
/// What a batch has written.
const OUTPUT: &str = "file-output";

/// The provider's account, oldest first.
#[derive(Default)]
struct Account {
    files: Vec<String>,
    batches: Vec<String>,
    responses: usize,
}

/// A list is told newest first, as OpenAI does.
fn page(ids: &[String], asked: &Asked) -> Value {
    let newest: Vec<&String> = ids.iter().rev().collect();
    let after = asked.query("after");
    let from = after.map_or(0, |after| {
        newest.iter().position(|id| *id == after).unwrap() + 1
    });
    let limit = asked
        .query("limit")
        .map_or(20, |limit| limit.parse().unwrap());
    let shown: Vec<Value> = newest[from..]
        .iter()
        .take(limit)
        .map(|id| {
            let written = format!("file-of-{id}");
            json!({"id": id, "filename": format!("secret of {id}"), "output_file_id": written})
        })
        .collect();
    let has_more = newest.len() > from + shown.len();
    json!({"object": "list", "data": shown, "has_more": has_more})
}

fn answer(account: &Mutex<Account>, asked: &Asked) -> Reply {
    let mut account = account.lock().unwrap();
    let parts: Vec<&str> = asked.path().trim_matches('/').split('/').collect();
    let body = match (asked.method(), &parts[..]) {
        ("POST", ["v1", "files"]) => {
            for _ in 0..FOREIGN {
                let id = format!("file-foreign{}", account.files.len());
                account.files.push(id);
            }
            let id = format!("file-{}", account.files.len());
            account.files.push(id.clone());
            json!({"id": id, "object": "file"})
        }
        ("POST", ["v1", "batches"]) => {
            let id = format!("batch_{}", account.batches.len());
            account.batches.push(id.clone());
            json!({"id": id, "object": "batch", "output_file_id": null})
        }
        ("GET", ["v1", "files"]) => page(&account.files, asked),
        ("GET", ["v1", "batches"]) => page(&account.batches, asked),
        ("GET", ["v1", "files", _, "content"]) => {
            return Reply::of(200, "application/octet-stream", b"{}\n".to_vec());
        }
        (_, ["v1", "batches", id]) => json!({"id": id, "output_file_id": OUTPUT}),
        ("POST", ["v1", "chat", "completions"]) => {
            json!({"id": "c", "choices": [{"message": {"role": "assistant", "content": "ok"}}]})
        }
        ("POST", ["v1", "responses"]) => {
            account.responses += 1;
            json!({"id": format!("resp_{}", account.responses), "object": "response"})
        }
        (_, ["v1", _, id]) => json!({"id": id, "object": "file"}),
        _ => return Reply::json(404, &json!({"error": {"message": "what?"}})),
    };
    Reply::json(200, &body)
}

async fn world() -> (Fake, Gateway) {
    let account = Arc::new(Mutex::new(Account::default()));
    let fake = Fake::start(move |asked| answer(&account, asked)).await;
    let config = Config::new().model("gpt", "openai/gpt-x", &format!("{}/v1", fake.url), "");
    let gateway = Setup::new(binary(), &config).start().await;
    (fake, gateway)
}

/// Uploads a file and returns its id.
pub(crate) async fn upload(gateway: &Gateway, key: &str) -> String {
    let mut request = Request::new("POST", "/v1/files")
        .bearer(key)
        .field("content-type", "multipart/form-data; boundary=b");
    request.body = b"--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
        --b--\r\n"
        .to_vec();
    id_of(&gateway.send(&request).await)
}

fn id_of(made: &Response) -> String {
    assert_eq!(made.status(), 200, "{}", made.text());
    made.json()["id"].as_str().unwrap().to_owned()
}

async fn get(gateway: &Gateway, key: &str, target: &str) -> Response {
    gateway.send(&Request::new("GET", target).bearer(key)).await
}

fn ids(list: &Response) -> Vec<String> {
    assert_eq!(list.status(), 200, "{}", list.text());
    let list = list.json();
    let ids = list["data"].as_array().unwrap().iter();
    let ids: Vec<String> = ids.map(|one| one["id"].as_str().unwrap().into()).collect();
    assert_eq!(list["object"], "list");
    assert_eq!(list["first_id"].as_str(), ids.first().map(String::as_str));
    assert_eq!(list["last_id"].as_str(), ids.last().map(String::as_str));
    ids
}

#[tokio::test]
async fn a_list_of_files_shows_each_tenant_its_own_page_by_page() {
    let (fake, gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let first = upload(&gateway, &ours).await;
    let foreign = upload(&gateway, &theirs).await;
    let second = upload(&gateway, &ours).await;

    let all = get(&gateway, &ours, "/v1/files").await;
    assert_eq!(ids(&all), [second.clone(), first.clone()]);
    assert_eq!(all.json()["has_more"], false);
    assert_eq!(
        all.json()["data"][0]["filename"],
        format!("secret of {second}")
    );
    assert_eq!(
        ids(&get(&gateway, &theirs, "/v1/files").await),
        std::slice::from_ref(&foreign)
    );
    let nobody = gateway.key(&json!({})).await;
    assert!(ids(&get(&gateway, &nobody, "/v1/files").await).is_empty());

    let page = get(&gateway, &ours, "/v1/files?purpose=batch&limit=1").await;
    assert_eq!(
        (ids(&page), &page.json()["has_more"]),
        (vec![second.clone()], &json!(true))
    );
    let asked = fake.asked().pop().unwrap();
    assert_eq!(asked.query("purpose"), Some("batch"), "{}", asked.target());
    let target = format!("/v1/files?limit=1&after={second}");
    let page = get(&gateway, &ours, &target).await;
    assert_eq!(
        (ids(&page), &page.json()["has_more"]),
        (vec![first.clone()], &json!(false))
    );
    let end = get(&gateway, &ours, &format!("/v1/files?after={first}")).await;
    assert!(ids(&end).is_empty());

    // Neither a list nor its cursor says what others have; the master key sees it all.
    for id in [&foreign, "file-foreign0", "file-none"] {
        let answer = get(&gateway, &ours, &format!("/v1/files?after={id}")).await;
        assert_eq!(answer.status(), 404, "{}", answer.text());
        let answer = get(&gateway, &ours, &format!("/v1/files/{id}")).await;
        assert_eq!(answer.status(), 404, "{}", answer.text());
    }
    let admin = get(&gateway, MASTER_KEY, "/v1/files?limit=9999").await;
    assert_eq!(
        admin.json()["data"].as_array().unwrap().len(),
        3 * FOREIGN + 3
    );
    let admin = get(&gateway, MASTER_KEY, "/v1/files/file-foreign0").await;
    assert_eq!(admin.status(), 200, "{}", admin.text());
    let bad = get(&gateway, &ours, "/v1/files?limit=all").await;
    assert_eq!(
        (bad.status(), &bad.json()["error"]["param"]),
        (400, &json!("limit"))
    );
}

#[tokio::test]
async fn a_full_page_costs_few_questions_however_long_the_account_is() {
    let (fake, gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    for _ in 0..6 {
        upload(&gateway, &theirs).await;
    }
    let newest = upload(&gateway, &ours).await;
    let before = fake.asked().len();
    let page = get(&gateway, &ours, "/v1/files?limit=1").await;
    assert_eq!(ids(&page), std::slice::from_ref(&newest));
    assert_eq!(
        page.json()["has_more"],
        true,
        "nobody has looked to the end"
    );
    let asked = fake.asked().len() - before;
    assert!(asked <= 4, "{asked} pages of {}", 7 * FOREIGN / 1_000 + 1);
    let rest = get(&gateway, &ours, &format!("/v1/files?after={newest}")).await;
    assert!(ids(&rest).is_empty());
    assert_eq!(rest.json()["has_more"], false);
}

#[tokio::test]
async fn a_batch_and_what_it_wrote_belong_to_its_maker_also_after_a_restart() {
    let (_fake, mut gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let input = upload(&gateway, &ours).await;
    let body = json!({"input_file_id": input, "endpoint": "/v1/responses"});
    let stolen = Request::post("/v1/batches", &body).bearer(&theirs);
    let stolen = gateway.send(&stolen).await;
    assert_eq!(stolen.status(), 404, "{}", stolen.text());
    // Readers differ in which of two members counts, in escapes and in a mark at the start.
    let own = upload(&gateway, &theirs).await;
    let rest = r#""endpoint":"/v1/responses"}"#;
    let tricks = [
        format!(r#"{{"input_file_id":"{own}","input_file_id":"{input}",{rest}"#),
        format!(r#"{{"input\u005ffile_id":"{input}",{rest}"#),
        format!("\u{feff}{body}"),
        format!(r#"{{"input_file_id":["{input}"],{rest}"#),
        format!("{{{rest}"),
    ];
    for trick in tricks {
        let sly = Request::post_bytes("/v1/batches", trick.as_bytes()).bearer(&theirs);
        let sly = gateway.send(&sly).await;
        assert!(
            [400, 404].contains(&sly.status()),
            "{trick}: {}",
            sly.text()
        );
    }
    let made = Request::post("/v1/batches", &body).bearer(&ours);
    let batch = id_of(&gateway.send(&made).await);
    let of_batch = format!("/v1/batches/{batch}");
    let content = format!("/v1/files/{OUTPUT}/content");
    let early = get(&gateway, &ours, &content).await;
    assert_eq!(
        early.status(),
        404,
        "nobody knows yet whose it is: {}",
        early.text()
    );
    // The administrator sees first that the batch is done; its output is its maker's all the same.
    assert_eq!(get(&gateway, MASTER_KEY, &of_batch).await.status(), 200);
    gateway.stop(SOON).await;
    gateway.start().await;
    assert_eq!(ids(&get(&gateway, &ours, "/v1/batches").await), [batch]);
    assert!(ids(&get(&gateway, &theirs, "/v1/batches").await).is_empty());
    for target in [of_batch, content, format!("/v1/files/{input}")] {
        let own = get(&gateway, &ours, &target).await;
        assert_eq!(own.status(), 200, "{target}: {}", own.text());
        let other = get(&gateway, &theirs, &target).await;
        assert_eq!(other.status(), 404, "{target}: {}", other.text());
    }
}

#[tokio::test]
async fn what_a_batch_wrote_is_its_makers_once_a_list_has_shown_it() {
    let (_fake, mut gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let input = upload(&gateway, &ours).await;
    let body = json!({"input_file_id": input, "endpoint": "/v1/responses"});
    let made = Request::post("/v1/batches", &body).bearer(&ours);
    let batch = id_of(&gateway.send(&made).await);
    let content = format!("/v1/files/file-of-{batch}/content");
    assert_eq!(get(&gateway, &ours, &content).await.status(), 404);
    assert!(ids(&get(&gateway, &theirs, "/v1/batches").await).is_empty());
    assert_eq!(get(&gateway, &theirs, &content).await.status(), 404);
    assert_eq!(ids(&get(&gateway, &ours, "/v1/batches").await), [batch]);
    for _ in 0..2 {
        let own = get(&gateway, &ours, &content).await;
        assert_eq!(own.status(), 200, "{}", own.text());
        let other = get(&gateway, &theirs, &content).await;
        assert_eq!(other.status(), 404, "{}", other.text());
        gateway.stop(SOON).await;
        gateway.start().await;
    }
}

/// The key that follows: by `/key/regenerate`.
async fn rotated(gateway: &Gateway, key: &str, more: Value) -> String {
    let mut body = more;
    body["key"] = json!(key);
    let made = gateway.admin("POST", "/key/regenerate", &body).await;
    assert_eq!(made.status(), 200, "{}", made.text());
    made.json()["key"].as_str().unwrap().to_owned()
}

async fn respond(gateway: &Gateway, key: &str) -> String {
    let body = json!({"model": "gpt", "input": "hi"});
    id_of(
        &gateway
            .send(&Request::post("/v1/responses", &body).bearer(key))
            .await,
    )
}

#[tokio::test]
async fn a_rotated_key_keeps_what_it_made_and_nobody_else_gets_it() {
    let (_fake, mut gateway) = world().await;
    let chosen = "sk-chosen-by-a-person";
    let first = gateway
        .key(&json!({"key": chosen, "key_alias": "ours"}))
        .await;
    let file = format!("/v1/files/{}", upload(&gateway, &first).await);
    let response = format!("/v1/responses/{}", respond(&gateway, &first).await);
    let second = rotated(&gateway, &first, json!({"grace_period": "1h"})).await;
    let later = format!("/v1/files/{}", upload(&gateway, &first).await);
    let third = rotated(&gateway, &second, json!({})).await;
    let newest = format!("/v1/responses/{}", respond(&gateway, &third).await);
    let own = [&file, &response, &later, &newest];
    // From memory first, then from the store alone.
    for _ in 0..2 {
        for target in own {
            let answer = get(&gateway, &third, target).await;
            assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        }
        assert_eq!(ids(&get(&gateway, &third, "/v1/files").await).len(), 2);
        gateway.stop(SOON).await;
        gateway.start().await;
    }
    // Neither the value of an earlier key nor a field of the API leads to what others have made.
    let gone = gateway
        .admin("POST", "/key/delete", &json!({"keys": [third]}))
        .await;
    assert_eq!(gone.status(), 200, "{}", gone.text());
    let info = gateway.key(&json!({})).await;
    let lineage = KeyHash::of_secret(chosen).to_string();
    let again = gateway
        .key(&json!({"key": chosen, "lineage": lineage}))
        .await;
    let path = format!("/key/{}", KeyHash::of_secret(&second));
    let put = gateway.admin("PUT", &path, &json!({})).await;
    assert_eq!(put.status(), 200, "{}", put.text());
    let sly = json!({"lineage": lineage, "metadata": {"lineage": lineage}});
    let sly = rotated(&gateway, &info, sly).await;
    for key in [again, second, sly] {
        for target in own {
            let answer = get(&gateway, &key, target).await;
            assert_eq!(answer.status(), 404, "{target}: {}", answer.text());
        }
        assert!(ids(&get(&gateway, &key, "/v1/files").await).is_empty());
    }
}

#[tokio::test]
async fn no_import_makes_one_keys_things_another_ones() {
    let (_fake, gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let file = format!("/v1/files/{}", upload(&gateway, &ours).await);
    let export = gateway.admin("GET", "/config/export", &Value::Null).await;
    let all = export.json();
    let id = KeyHash::of_secret(&theirs).to_string();
    let own = all["records"].as_array().unwrap().iter();
    let mut changed = own.clone().find(|one| one["id"] == id).unwrap().clone();
    changed["body"]["lineage"] = json!(KeyHash::of_secret(&ours).to_string());
    let mut new = changed.clone();
    new["id"] = json!(KeyHash::of_secret("sk-new").to_string());
    let document = json!({"format": all["format"], "version": all["version"],
        "records": [changed, new]});
    for written in [1, 0] {
        let taken = gateway.admin("POST", "/config/import", &document).await;
        assert_eq!(taken.status(), 200, "{}", taken.text());
        assert_eq!(taken.json()["written"], written, "{}", taken.text());
    }
    for (key, status) in [(ours.as_str(), 200), (&theirs, 404), ("sk-new", 404)] {
        let answer = get(&gateway, key, &file).await;
        assert_eq!(answer.status(), status, "{key}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_refused_and_not_shown() {
    let fake = Fake::start(|_| Reply::json(200, &json!({"files": [{"name": "secret"}]}))).await;
    let config = Config::new().model("odd", "openai/odd", &format!("{}/v1", fake.url), "");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    for target in ["/v1/files", "/v1/batches"] {
        let refused = get(&gateway, &key, target).await;
        assert_eq!(refused.status(), 400, "{}", refused.text());
        assert!(!refused.text().contains("secret"), "{}", refused.text());
        let admin = get(&gateway, MASTER_KEY, target).await;
        assert_eq!(admin.json()["files"][0]["name"], "secret");
    }
}
