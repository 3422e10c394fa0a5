//! Edits change what they name and nothing else.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn edited(body: &str, change: impl FnOnce(&mut BodyEdit<'_>)) -> String {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let spans = BodySpans::scan(&body).unwrap();
    let mut edit = BodyEdit::new(&body, &spans);
    change(&mut edit);
    let edited = edit.finish();
    let len = edited.len();
    let bytes = edited.into_bytes();
    assert_eq!(bytes.len(), len);
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_model_changes_in_place_with_odd_spacing_kept() {
    let body = "\u{feff}{ \"messages\" : [ ] ,\n \"model\"\t: \"a\" , \"x\":1.00 }\n";
    let changed = edited(body, |edit| edit.set_text("model", "gpt-\"4\""));
    assert_eq!(changed, body.replace("\"a\"", "\"gpt-\\\"4\\\"\""));
    assert_eq!(edited(body, |_| ()), body);
}

#[test]
fn members_are_added_and_removed_with_their_commas() {
    let cases = [
        (r#"{}"#, r#"{"z":1}"#),
        (r#"{ }"#, r#"{"z":1 }"#),
        (r#"{"tags":1}"#, r#"{"z":1}"#),
        (r#"{"tags":1 , "a":2}"#, r#"{"a":2,"z":1}"#),
        (r#"{"a":2 , "tags":1 }"#, r#"{"a":2,"z":1 }"#),
        (
            r#"{"a":1, "tags":2, "b":3,"cache":4}"#,
            r#"{"a":1, "b":3,"z":1}"#,
        ),
        (r#"{"tags":1,"cache":2,"timeout":3}"#, r#"{"z":1}"#),
        (
            r#"{"tags":1,"a":1,"cache":2,"timeout":3}"#,
            r#"{"a":1,"z":1}"#,
        ),
    ];
    for (body, expected) in cases {
        let changed = edited(body, |edit| {
            edit.remove_gateway_only();
            edit.set("z", "1");
        });
        assert_eq!(changed, expected, "{body}");
    }
}

#[test]
fn defaults_go_under_the_clients_own_values() {
    let changed = edited(r#"{"temperature":null,"top_p":1}"#, |edit| {
        edit.set_default("temperature", "0.5");
        edit.set_default("seed", "7");
        edit.set_default("seed", "8");
        edit.set("top_p", "0.1");
        edit.set("top_p", "0.2");
    });
    assert_eq!(changed, r#"{"temperature":null,"top_p":0.2,"seed":7}"#);
    let changed = edited(r#"{"a":1}"#, |edit| {
        edit.set("a", "2");
        edit.remove("a");
        edit.set("b", "3");
        edit.remove("b");
    });
    assert_eq!(changed, "{}");
}

#[test]
fn usage_is_asked_for_once() {
    let cases = [
        (
            r#"{"stream":true}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            UsageChunk::Injected,
        ),
        (
            r#"{"stream_options":null}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
            UsageChunk::Injected,
        ),
        (
            r#"{"stream_options": {"x": 1, "include_usage": false}}"#,
            r#"{"stream_options": {"x": 1, "include_usage": true}}"#,
            UsageChunk::Injected,
        ),
        (
            r#"{"stream_options":{ }}"#,
            r#"{"stream_options":{"include_usage":true }}"#,
            UsageChunk::Injected,
        ),
        (
            r#"{"stream_options":{"include_usage":true}}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
            UsageChunk::Asked,
        ),
    ];
    for (body, expected, who) in cases {
        let mut asked = None;
        let changed = edited(body, |edit| asked = Some(edit.request_usage().unwrap()));
        assert_eq!((changed.as_str(), asked), (expected, Some(who)), "{body}");
    }
    edited(r#"{"stream_options":[1]}"#, |edit| {
        assert!(edit.request_usage().is_err());
    });
}

#[test]
fn a_large_body_is_sliced_not_copied() {
    let filler = "x".repeat(1 << 20);
    let body = Bytes::from(format!(r#"{{"model":"a","input":"{filler}"}}"#));
    let spans = BodySpans::scan(&body).unwrap();
    let mut edit = BodyEdit::new(&body, &spans);
    edit.set_text("model", "b");
    let edited = edit.finish();
    assert_eq!(edited.parts().len(), 3);
    let tail = &edited.parts()[2];
    assert_eq!(tail.as_ptr(), body[body.len() - tail.len()..].as_ptr());
}

#[test]
fn the_gateway_only_list_is_sorted_for_its_search() {
    assert!(GATEWAY_ONLY.is_sorted());
}

/// The same changes on a tree, as the reference.
fn reference(body: &str, removed: &[String], set: &[(String, i64)]) -> Map<String, Value> {
    let mut map: Map<String, Value> = serde_json::from_str(body).unwrap();
    for name in removed {
        map.remove(name);
    }
    for (name, number) in set {
        map.insert(name.clone(), Value::from(*number));
    }
    map
}

proptest! {
    #[test]
    fn edits_equal_the_same_edits_of_a_tree(
        names in prop::collection::btree_set("[a-f]|model|stream|tags", 0..8),
        removed in prop::collection::vec("[a-f]|model|tags", 0..5),
        set in prop::collection::vec(("[a-h]|model|\"é", any::<i64>()), 0..5),
        space in "[ \n\t]{0,2}",
    ) {
        let members: Vec<String> = names
            .iter()
            .map(|name| format!("{space}\"{name}\"{space}:{space}[\"{name}\",{{}}]{space}"))
            .collect();
        let body = format!("{space}{{{}}}{space}", members.join(","));
        let changed = edited(&body, |edit| {
            removed.iter().for_each(|name| edit.remove(name));
            set.iter().for_each(|(name, number)| edit.set(name, number.to_string()));
        });
        let tree: Map<String, Value> = serde_json::from_str(&changed).unwrap();
        prop_assert_eq!(tree, reference(&body, &removed, &set));
        // Members that no edit names keep their bytes.
        for (name, member) in names.iter().zip(&members) {
            let named = removed.contains(name) || set.iter().any(|(set, _)| set == name);
            if !named {
                prop_assert!(changed.contains(member.trim()), "{} in {}", member, changed);
            }
        }
    }
}
