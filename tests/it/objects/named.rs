//! Files that bodies name: their makers' alone, and asked for where they lie.

use super::*;

/// A provider that takes no files through the gateway.
const MANTLE: &str = "bedrock_mantle/anthropic.claude-x";
const MORE: &str = "aws_region_name: us-east-1";

/// A question about a file in each dialect, and where it names the file.
fn asking(id: &str) -> [(&'static str, Value, &'static str); 3] {
    let file = json!({"type": "file", "file": {"file_id": id}});
    let source = json!({"type": "document", "source": {"type": "file", "file_id": id}});
    let input = json!({"type": "input_image", "file_id": id});
    let of = |part: Value| json!([{"role": "user", "content": [part]}]);
    [
        (
            "/v1/chat/completions",
            json!({"model": "gpt", "messages": of(file)}),
            "messages[0].content[0].file.file_id",
        ),
        (
            "/v1/responses",
            json!({"model": "gpt", "input": of(input)}),
            "input[0].content[0].file_id",
        ),
        (
            "/v1/messages",
            json!({"model": "gpt", "max_tokens": 9, "messages": of(source)}),
            "messages[0].content[0].source.file_id",
        ),
    ]
}

#[tokio::test]
async fn a_file_in_a_body_is_its_makers_alone() {
    let (fake, gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let file = upload(&gateway, &ours).await;
    for (path, body, field) in asking(&file) {
        let own = gateway
            .send(&Request::post(path, &body).bearer(&ours))
            .await;
        assert_eq!(own.status(), 200, "{path}: {}", own.text());
        let before = fake.asked().len();
        let other = gateway
            .send(&Request::post(path, &body).bearer(&theirs))
            .await;
        assert_eq!(other.status(), 404, "{path}: {}", other.text());
        let error = &other.json()["error"];
        assert!(
            error["message"].as_str().unwrap().contains(field),
            "{error}"
        );
        match path {
            "/v1/messages" => assert_eq!(other.json()["type"], "error"),
            _ => assert_eq!(error["param"], field),
        }
        assert_eq!(
            fake.asked().len(),
            before,
            "the provider hears nothing of it"
        );
    }
    let address = &asking("https://example.test/a.pdf")[0];
    let answer = Request::post(address.0, &address.1).bearer(&theirs);
    let answer = gateway.send(&answer).await;
    assert_eq!(
        answer.status(),
        200,
        "an address is no id: {}",
        answer.text()
    );
    let foreign = &asking("file-foreign0")[0];
    for (key, status) in [(ours.as_str(), 404), (MASTER_KEY, 200)] {
        let answer = Request::post(foreign.0, &foreign.1).bearer(key);
        assert_eq!(gateway.send(&answer).await.status(), status);
    }
}

#[tokio::test]
async fn a_file_in_a_body_takes_the_request_to_where_it_lies() {
    let accounts = [(), ()].map(|()| Arc::new(Mutex::new(Account::default())));
    let [first, second] = accounts.map(|account| Fake::start(move |asked| answer(&account, asked)));
    let (first, second) = (first.await, second.await);
    let mut config = Config::new();
    for fake in [&first, &second] {
        config = config.model("gpt", "openai/gpt-x", &format!("{}/v1", fake.url), "");
    }
    let config = config.model("far", "openai/gpt-y", &format!("{}/far/v1", first.url), "");
    let gateway = Setup::new(binary(), &config).start().await;
    let key = gateway.key(&json!({})).await;
    let mut request = Request::new("POST", "/v1/files?model=gpt")
        .bearer(&key)
        .field("content-type", "multipart/form-data; boundary=b");
    request.body =
        b"--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nx\r\n--b--\r\n".to_vec();
    let file = id_of(&gateway.send(&request).await);
    let has_it = |fake: &Fake| fake.asked().iter().any(|one| one.path() == "/v1/files");
    let (keeper, other) = match has_it(&first) {
        true => (&first, &second),
        false => (&second, &first),
    };
    let [(path, mut body, field), ..] = asking(&file);
    for _ in 0..8 {
        let answer = gateway.send(&Request::post(path, &body).bearer(&key)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    assert_eq!((keeper.asked().len(), other.asked().len()), (9, 0));
    if std::ptr::eq(keeper, &second) {
        body["model"] = json!("far");
        let refused = gateway.send(&Request::post(path, &body).bearer(&key)).await;
        assert_eq!(refused.status(), 400, "{}", refused.text());
        assert_eq!(refused.json()["error"]["param"], field);
    }
}

#[tokio::test]
async fn files_of_providers_that_take_none_through_the_gateway_are_that_providers_business() {
    let account = Arc::new(Mutex::new(Account::default()));
    let openai = Fake::start(move |asked| answer(&account, asked)).await;
    let claude = Fake::start(|asked| match asked.json()["max_tokens"].as_u64() {
        Some(8) => Reply::json(500, &json!({"type": "error", "error": {"message": "down"}})),
        _ => Reply::json(
            200,
            &json!({"id": "m", "type": "message", "role": "assistant", "model": "claude-x",
                "content": [{"type": "text", "text": "seen"}], "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "output_tokens": 1}}),
        ),
    })
    .await;
    let config = Config::new()
        .model("gpt", "openai/gpt-x", &format!("{}/v1", openai.url), "")
        .model("claude", MANTLE, &claude.url, MORE)
        .router("num_retries: 0")
        .router("fallbacks: [{claude: [gpt]}]");
    let gateway = Setup::new(binary(), &config).start().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let file = upload(&gateway, &ours).await;
    let before = openai.asked().len();
    let [.., (path, mut body, _)] = asking(&file);
    body["model"] = json!("claude");
    let passed = Request::post(path, &body).bearer(&theirs);
    let passed = gateway.send(&passed).await;
    assert_eq!(passed.status(), 200, "{}", passed.text());
    assert!(
        claude
            .asked()
            .pop()
            .unwrap()
            .json()
            .to_string()
            .contains(&file)
    );
    // What is not looked at goes nowhere else, where it would be another tenant's.
    body["max_tokens"] = json!(8);
    let failed = Request::post(path, &body).bearer(&theirs);
    let failed = gateway.send(&failed).await;
    assert!(failed.status() >= 500, "{}", failed.text());
    assert_eq!(openai.asked().len(), before);
}

#[tokio::test]
async fn in_a_group_of_several_providers_an_id_goes_to_those_that_may_have_it() {
    let account = Arc::new(Mutex::new(Account::default()));
    let openai = Fake::start(move |asked| answer(&account, asked)).await;
    let claude = Fake::start(|_| {
        Reply::json(
            200,
            &json!({"id": "m", "type": "message", "role": "assistant", "model": "claude-x",
                "content": [{"type": "text", "text": "seen"}], "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "output_tokens": 1}}),
        )
    })
    .await;
    let config = Config::new()
        .model("gpt", "openai/gpt-x", &format!("{}/v1", openai.url), "")
        .model("gpt", MANTLE, &claude.url, MORE);
    let gateway = Setup::new(binary(), &config).start().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let [.., (path, own, _)] = asking("file_of_mantle");
    for _ in 0..6 {
        let answer = gateway.send(&Request::post(path, &own).bearer(&ours)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    assert_eq!((openai.asked().len(), claude.asked().len()), (0, 6));
    // One that was made here lies at OpenAI, and is nobody else's.
    let mut request = Request::new("POST", "/v1/files?model=gpt")
        .bearer(&ours)
        .field("content-type", "multipart/form-data; boundary=b");
    request.body =
        b"--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nx\r\n--b--\r\n".to_vec();
    let file = id_of(&gateway.send(&request).await);
    let [(path, body, _), ..] = asking(&file);
    for (key, status) in [(&ours, 200), (&theirs, 404)] {
        let answer = gateway.send(&Request::post(path, &body).bearer(key)).await;
        assert_eq!(answer.status(), status, "{}", answer.text());
    }
    assert_eq!(claude.asked().len(), 6);
}

#[tokio::test]
async fn what_the_requests_of_a_batch_name_is_the_tenants_own() {
    let (fake, gateway) = world().await;
    let (ours, theirs) = (gateway.key(&json!({})).await, gateway.key(&json!({})).await);
    let file = upload(&gateway, &ours).await;
    let input = |purpose: &str, lines: &[String]| {
        let mut request = Request::new("POST", "/v1/files")
            .field("content-type", "multipart/form-data; boundary=b");
        let file = "content-disposition: form-data; name=\"file\"; filename=\"in.jsonl\"";
        let purpose =
            format!("--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n");
        let lines = lines.join("\n");
        request.body = format!("{purpose}--b\r\n{file}\r\n\r\n{lines}\r\n--b--\r\n").into_bytes();
        request
    };
    let mut lines: Vec<String> = asking(&file)
        .iter()
        .map(|(url, body, _)| {
            json!({"custom_id": "r", "method": "POST", "url": url, "body": body}).to_string()
        })
        .collect();
    lines.insert(0, String::new());
    for purpose in ["batch", "user_data"] {
        let own = gateway.send(&input(purpose, &lines).bearer(&ours)).await;
        assert_eq!(own.status(), 200, "{}", own.text());
        let before = fake.asked().len();
        let other = gateway.send(&input(purpose, &lines).bearer(&theirs)).await;
        assert_eq!(other.status(), 404, "{}", other.text());
        let error = &other.json()["error"];
        let field = "file: line 2: body.messages[0].content[0].file.file_id";
        assert_eq!(error["param"], field, "{error}");
        assert_eq!(fake.asked().len(), before);
    }
    // What cannot be read is no way around it; a document may say what it likes.
    let broken = [format!("{}\r{}", lines[1], lines[2])];
    let refused = gateway.send(&input("batch", &broken).bearer(&theirs)).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    let document = [format!("see \"file_id\": \"{file}\"")];
    let taken = gateway
        .send(&input("user_data", &document).bearer(&theirs))
        .await;
    assert_eq!(taken.status(), 200, "{}", taken.text());
}
