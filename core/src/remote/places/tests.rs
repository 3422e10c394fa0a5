//! Where bodies of each dialect name things on the web, and the same with bytes.

use super::*;

fn search(body: &str) -> Vec<Place> {
    let spans = BodySpans::scan(body.as_bytes()).unwrap();
    places(body.as_bytes(), &spans)
}

fn fill(body: &str, media: &'static str, bytes: &[u8]) -> String {
    let item = |place| (place, Fetched { media, bytes });
    let items: Vec<_> = search(body).into_iter().map(item).collect();
    String::from_utf8(filled(body.as_bytes(), &items)).unwrap()
}

#[test]
fn each_dialect_names_things_and_takes_their_bytes() {
    // Body, where, what for, the same body with bytes.
    let table = [
        (
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https:\/\/a/b"}}]}]}"#,
            "messages[0].content[0].image_url.url",
            Use::Image,
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:M;base64,aGk="}}]}]}"#,
        ),
        (
            r#"{"messages":[{"content":[{"type":"file","file":{"filename":"n","file_data":"http://a/b"}}]}]}"#,
            "messages[0].content[0].file.file_data",
            Use::Document,
            r#"{"messages":[{"content":[{"type":"file","file":{"filename":"n","file_data":"data:M;base64,aGk="}}]}]}"#,
        ),
        (
            r#"{"messages":[{"content":[{"type":"file","file":{"file_id" : "https://a/b"}}]}]}"#,
            "messages[0].content[0].file.file_id",
            Use::Document,
            r#"{"messages":[{"content":[{"type":"file","file":{"file_data":"data:M;base64,aGk="}}]}]}"#,
        ),
        (
            r#"{"input":[{"content":[{"type":"input_image","image_url":"HTTPS://a/b"}]}]}"#,
            "input[0].content[0].image_url",
            Use::Image,
            r#"{"input":[{"content":[{"type":"input_image","image_url":"data:M;base64,aGk="}]}]}"#,
        ),
        (
            r#"{"input":[{"content":[{"type":"input_file","file_url":"https://a/b"}]}]}"#,
            "input[0].content[0].file_url",
            Use::Document,
            r#"{"input":[{"content":[{"type":"input_file","file_data":"data:M;base64,aGk="}]}]}"#,
        ),
        (
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"url","url":"https://a/b"},"x":1}]}]}"#,
            "messages[0].content[0].source.url",
            Use::Image,
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64","media_type":"M","data":"aGk="},"x":1}]}]}"#,
        ),
        (
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"document","source":{"type":"url","url":"https://a/b"}}]}]}]}"#,
            "messages[0].content[0].content[0].source.url",
            Use::Document,
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"document","source":{"type":"base64","media_type":"M","data":"aGk="}}]}]}]}"#,
        ),
    ];
    for (body, field, wanted, expected) in table {
        let found = search(body);
        let [place] = &found[..] else {
            panic!("{body}: {found:?}")
        };
        assert_eq!((place.field.as_str(), place.wanted), (field, wanted));
        assert!(place.url.to_lowercase().ends_with("://a/b"), "{place:?}");
        assert_eq!(fill(body, "M", b"hi"), expected);
    }
}

#[test]
fn several_are_filled_in_their_order_and_text_stays_text() {
    let body = concat!(
        r#"{"system":"s","messages":[{"content":[{"type":"document","source":{"type":"url","url":"https://a/1"}},"#,
        r#"{"type":"document","source":{"url":"https://a/2","type":"url"}}]}],"model":"m"}"#
    );
    let found = search(body);
    assert_eq!(found.len(), 2);
    assert!(found[0].url.ends_with('1') && found[1].url.ends_with('2'));
    let text = fill(body, "text/plain", b"\"hi\"");
    let text: serde_json::Value = serde_json::from_str(&text).unwrap();
    let source = &text["messages"][0]["content"][1]["source"];
    assert_eq!(source["data"], "\"hi\"");
    assert_eq!(source["type"], "text");
    assert_eq!(text["model"], "m");
}

#[test]
fn what_is_here_already_or_is_no_things_address_is_left_alone() {
    for body in [
        r#"{"messages":[{"content":"https://a/b"}]}"#,
        r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,aGk="}}]}]}"#,
        r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"s3://a/b"}}]}]}"#,
        r#"{"messages":[{"content":[{"type":"tool_use","input":{"image_url":"https://a/b"}}]}]}"#,
        r#"{"metadata":{"image_url":"https://a/b"},"input":"file:///etc/passwd"}"#,
        r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}"#,
    ] {
        assert_eq!(search(body), [], "{body}");
    }
}
