//! Images and documents on the web, for providers that take nothing but bytes: fetched from where
//! the operator allows it and from nowhere else.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use meridian_testkit::config::MASTER_KEY;
use meridian_testkit::deadline::SOON;
use meridian_testkit::fake::{Asked, Fake, Reply};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::raw::{Request, Response};
use serde_json::{Value, json};

use crate::world::binary;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nan image";
const PDF: &[u8] = b"%PDF-1.7 a document";

/// The web: another loopback address than the allowed one is inside for these tests.
fn page(asked: &Asked) -> Reply {
    let port = asked
        .header("host")
        .and_then(|host| host.rsplit(':').next());
    let port = port.unwrap_or_default();
    let of = |kind, bytes: &[u8]| Reply::of(200, kind, bytes.to_vec());
    match asked.path() {
        "/a.png" => of("image/png", PNG),
        "/wrong-word" => of("text/html", PNG),
        "/a.pdf" => of("application/pdf", PDF),
        "/page" => of("image/png", b"<html>"),
        "/large" => of("image/png", &[PNG, &[0; 70_000]].concat()),
        "/half" => of("image/png", &[PNG, &[0; 40_000]].concat()),
        "/moved" => Reply::redirect("/a.png"),
        "/inside" => Reply::redirect(&format!("http://127.0.0.2:{port}/a.png")),
        "/metadata" => Reply::redirect("http://169.254.169.254/latest/meta-data/"),
        "/never" => Reply::never(),
        _ => Reply::of(404, "text/plain", b"no".to_vec()),
    }
}

/// Bedrock in both of its ways, and a provider that fetches by itself.
fn model(asked: &Asked) -> Reply {
    let path = asked.path();
    let body = if path.contains("/model/down") {
        return Reply::json(500, &json!({"message": "down"}));
    } else if path.ends_with("/converse") {
        json!({"output": {"message": {"role": "assistant", "content": [{"text": "seen"}]}},
            "stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4}})
    } else if path.ends_with("/invoke") {
        json!({"id": "m", "type": "message", "role": "assistant", "model": "claude-x",
            "content": [{"type": "text", "text": "seen"}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "output_tokens": 1}})
    } else {
        json!({"id": "c", "object": "chat.completion", "model": "gpt-x", "choices": [{"index": 0,
            "finish_reason": "stop", "message": {"role": "assistant", "content": "seen"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}})
    };
    Reply::json(200, &body)
}

struct World {
    web: Fake,
    models: Fake,
    gateway: Gateway,
}

/// `settings` are lines of the section `meridian`.
async fn world(settings: &[&str]) -> World {
    let (web, models) = (Fake::start(page).await, Fake::start(model).await);
    let url = &models.url;
    let aws = format!(
        "aws_region_name: eu-west-1, aws_access_key_id: AKIAFAKE, aws_secret_access_key: s, \
         api_base: '{url}'"
    );
    let mut yaml = format!(
        "
model_list:
  - model_name: claude
    litellm_params: {{model: 'bedrock/eu.anthropic.claude-x-v1:0', {aws}}}
  - model_name: nova
    litellm_params: {{model: bedrock/amazon.nova-x, {aws}}}
  - model_name: down
    litellm_params: {{model: bedrock/converse/down, {aws}}}
  - model_name: halting
    litellm_params: {{model: bedrock/converse/down, {aws}}}
  - model_name: gpt
    litellm_params: {{model: openai/gpt-x, api_key: sk-fake, api_base: '{url}/v1'}}
general_settings:
  master_key: {MASTER_KEY}
router_settings:
  num_retries: 0
  fallbacks: [{{down: [gpt]}}, {{halting: [nova]}}]
meridian:
  retry_budget: 1
"
    );
    for line in settings {
        writeln!(yaml, "  {line}").unwrap();
    }
    let gateway = Setup::with_yaml(binary(), &yaml).start().await;
    World {
        web,
        models,
        gateway,
    }
}

impl World {
    async fn ask(&self, path: &str, body: &Value) -> Response {
        let request = Request::post(path, body).bearer(MASTER_KEY);
        self.gateway.send(&request).await
    }

    /// A chat with an image at each of these paths of the web.
    async fn look(&self, model: &str, paths: &[&str]) -> Response {
        let urls: Vec<String> = paths.iter().map(|path| self.on_web(path)).collect();
        self.ask("/v1/chat/completions", &chat(model, &urls)).await
    }

    fn on_web(&self, path: &str) -> String {
        format!("{}{path}", self.web.url)
    }

    fn last(&self) -> Value {
        self.models.asked().pop().unwrap().json()
    }
}

fn chat(model: &str, urls: &[String]) -> Value {
    let image = |url: &String| json!({"type": "image_url", "image_url": {"url": url}});
    let parts: Vec<Value> = urls.iter().map(image).collect();
    json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": parts}]})
}

fn refused(answer: &Response, field: &str, why: &str) {
    assert_eq!(answer.status(), 400, "{}", answer.text());
    let error = answer.json()["error"].clone();
    assert_eq!(error["param"], field, "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(why) && message.contains(field), "{error}");
}

#[tokio::test]
async fn every_dialect_s_web_items_reach_bedrock_as_bytes() {
    let world = world(&["fetch_allow: [127.0.0.1]"]).await;
    let (image, document) = (world.on_web("/moved"), world.on_web("/a.pdf"));
    let png = BASE64_STANDARD.encode(PNG);
    let pdf = BASE64_STANDARD.encode(PDF);
    let asks = [
        (
            "/v1/chat/completions",
            json!({"max_tokens": 9, "messages": [{"role": "user", "content": [
                {"type": "text", "text": "what?"},
                {"type": "image_url", "image_url": {"url": image}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": document}}]}]}),
        ),
        (
            "/v1/responses",
            json!({"max_output_tokens": 9, "input": [{"role": "user", "content": [
                {"type": "input_text", "text": "what?"},
                {"type": "input_image", "image_url": image},
                {"type": "input_file", "filename": "a.pdf", "file_url": document}]}]}),
        ),
        (
            "/v1/messages",
            json!({"max_tokens": 9, "messages": [{"role": "user", "content": [
                {"type": "text", "text": "what?"},
                {"type": "image", "source": {"type": "url", "url": image}},
                {"type": "document", "source": {"type": "url", "url": document}}]}]}),
        ),
    ];
    for (path, mut body) in asks {
        for model in ["claude", "nova"] {
            body["model"] = json!(model);
            let answer = world.ask(path, &body).await;
            assert_eq!(answer.status(), 200, "{path} {model}: {}", answer.text());
            let sent = world.last().to_string();
            assert!(
                sent.contains(&png) && sent.contains(&pdf),
                "{path} {model}: {sent}"
            );
            assert!(!sent.contains("http://"), "{path} {model}: {sent}");
        }
    }
    // The bytes tell the type, whatever the server says; several come in their order.
    let answer = world.look("nova", &["/wrong-word", "/a.png"]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(
        world.last()["messages"][0]["content"][0]["image"]["format"],
        "png"
    );
}

#[tokio::test]
async fn what_must_not_be_reached_is_not_connected_to() {
    let world = world(&["fetch_allow: [127.0.0.1]"]).await;
    let field = "messages[0].content[0].image_url.url";
    let port = world.web.url.rsplit(':').next().unwrap();
    refused(&world.look("nova", &["/inside"]).await, field, "loopback");
    refused(
        &world.look("nova", &["/metadata"]).await,
        field,
        "link-local",
    );
    let asked = world.web.asked().len();
    for (host, why) in [
        ("127.0.0.2", "loopback"),
        ("2130706434", "loopback"),
        ("[::ffff:127.0.0.2]", "loopback"),
        ("[::]", "unspecified"),
        ("0.0.0.0", "this network"),
        ("169.254.169.254", "link-local"),
        ("user:secret@127.0.0.1", "not a usable url"),
    ] {
        let url = format!("http://{host}:{port}/a.png");
        let answer = world
            .ask("/v1/chat/completions", &chat("nova", &[url]))
            .await;
        refused(&answer, field, why);
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    assert_eq!(world.web.asked().len(), asked, "nothing was asked");
    assert_eq!(world.models.asked().len(), 0);
}

#[tokio::test]
async fn a_name_of_an_address_inside_is_refused_unless_it_is_named() {
    let field = "messages[0].content[0].image_url.url";
    for (settings, is_reached) in [
        (&[][..], false),
        (&["fetch_allow: [10.0.0.0/8, other.test]"], false),
        (&["fetch_allow: [localhost]"], true),
    ] {
        let world = world(settings).await;
        let url = world.on_web("/a.png").replace("127.0.0.1", "localhost");
        let answer = world
            .ask("/v1/chat/completions", &chat("nova", &[url]))
            .await;
        match is_reached {
            true => assert_eq!(answer.status(), 200, "{}", answer.text()),
            false => refused(&answer, field, "loopback"),
        }
        assert_eq!(world.web.asked().len(), usize::from(is_reached));
    }
}

#[tokio::test]
async fn what_does_not_come_or_is_none_is_said_with_its_place() {
    let world = world(&[
        "fetch_allow: [127.0.0.1]",
        "fetch_bytes_max: 65536",
        "fetch_timeout_s: 1",
    ])
    .await;
    let field = |index: usize| format!("messages[0].content[{index}].image_url.url");
    for (path, why) in [
        ("/page", "no PNG, JPEG, GIF or WebP"),
        ("/a.pdf", "application/pdf"),
        ("/none", "answered 404"),
        ("/large", "65536 bytes together"),
        ("/never", "no complete answer"),
    ] {
        let answer = world.look("nova", &["/a.png", path]).await;
        refused(&answer, &field(1), why);
    }
    // Each takes of what is left as it comes: either may be the one too many.
    let halves = world.look("nova", &["/half", "/half"]).await;
    assert_eq!(halves.status(), 400, "{}", halves.text());
    let text = halves.text();
    assert!(text.contains("65536 bytes together"), "{text}");
    assert_eq!(world.models.asked().len(), 0);
    let claude = json!({"model": "claude", "max_tokens": 9, "messages": [{"role": "user",
        "content": [{"type": "image", "source": {"type": "url", "url": world.on_web("/page")}}]}]});
    let answer = world.ask("/v1/messages", &claude).await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert_eq!(answer.json()["type"], "error");
    assert!(
        answer.text().contains("messages[0].content[0].source.url"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn who_fetches_by_itself_gets_the_address_also_as_a_fallback() {
    let world = world(&["fetch_allow: [127.0.0.1]"]).await;
    let url = world.on_web("/a.png");
    let answer = world.look("gpt", &["/a.png"]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(world.last().to_string().contains(&url));
    assert_eq!(world.web.asked().len(), 0);
    let answer = world.look("down", &["/a.png"]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let asked = world.models.asked();
    let [.., first, second] = &asked[..] else {
        panic!("two attempts")
    };
    assert!(
        first
            .json()
            .to_string()
            .contains(&BASE64_STANDARD.encode(PNG))
    );
    assert!(second.json().to_string().contains(&url));
    assert_eq!(world.web.asked().len(), 1);
}

#[tokio::test]
async fn all_attempts_of_a_request_share_what_was_fetched() {
    let world = world(&["fetch_allow: [127.0.0.1]"]).await;
    let answer = world.look("halting", &["/a.png", "/wrong-word"]).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let asked = world.models.asked();
    let [.., first, second] = &asked[..] else {
        panic!("two attempts")
    };
    for attempt in [first, second] {
        let body = attempt.json().to_string();
        assert!(body.contains(&BASE64_STANDARD.encode(PNG)), "{body}");
    }
    assert_eq!(world.web.asked().len(), 2, "each item once");
    // The next request fetches for itself.
    world.look("nova", &["/a.png"]).await;
    assert_eq!(world.web.asked().len(), 3);
}

#[tokio::test]
async fn what_does_not_come_is_asked_of_who_fetches_by_itself_and_what_is_wrong_is_not() {
    let world = world(&["fetch_allow: [127.0.0.1]", "fetch_timeout_s: 1"]).await;
    for path in ["/none", "/never"] {
        let answer = world.look("down", &[path]).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        assert!(world.last().to_string().contains(&world.on_web(path)));
    }
    let asked = world.models.asked().len();
    let field = "messages[0].content[0].image_url.url";
    refused(&world.look("down", &["/page"]).await, field, "no PNG");
    refused(&world.look("down", &["/inside"]).await, field, "loopback");
    assert_eq!((asked, world.models.asked().len()), (2, 2));
}

#[tokio::test]
async fn nothing_is_fetched_where_that_is_off_and_a_client_that_leaves_ends_it() {
    let off = world(&["fetch_allow: [127.0.0.1]", "fetch_bytes_max: 0"]).await;
    let answer = off.look("nova", &["/a.png"]).await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert_eq!((off.web.asked().len(), off.models.asked().len()), (0, 0));

    let world = world(&["fetch_allow: [127.0.0.1]", "fetch_timeout_s: 600"]).await;
    let left = tokio::time::timeout(SOON / 20, world.look("nova", &["/never"])).await;
    assert!(left.is_err(), "no answer");
    // It holds no place of those that are served.
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let page = world.gateway.admin("GET", "/metrics/", &Value::Null).await;
        let is_left = |line: &&str| line.contains("client_gone") && !line.starts_with('#');
        if page
            .text()
            .lines()
            .any(|line| is_left(&line) && !line.ends_with(" 0"))
        {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "the request goes on");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.models.asked().len(), 0);
}
