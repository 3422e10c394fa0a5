//! The scanner agrees with `serde_json` on what is valid and says where it is not.

use proptest::prelude::*;
use serde_json::Value as Tree;

use super::cursor::quote_or_backslash;
use super::*;

fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, JsonError> {
    Members::new(bytes).collect()
}

#[test]
fn members_are_found_with_their_places() {
    let body = br#" { "a" : [1,{"b":"}"}] , "\u0062":"x\"y", "n":-1.5e3 } "#;
    let found = members(body).unwrap();
    let names: Vec<&[u8]> = found.iter().map(|member| member.name).collect();
    assert_eq!(names, [&b"a"[..], br"\u0062", b"n"]);
    assert!(found[1].name_escaped);
    assert_eq!(found[1].value.text().unwrap(), "x\"y");
    assert_eq!(&body[found[0].value_at.clone()], br#"[1,{"b":"}"}]"#);
    assert_eq!(&body[found[2].name_at.clone()], br#""n""#);
    assert_eq!(found[2].value.number(), Some(-1500.0));
}

#[test]
fn errors_name_the_byte() {
    let cases: [(&str, usize, Problem); 12] = [
        ("", 0, Problem::End),
        ("[1]", 0, Problem::Value),
        ("{\"a\" 1}", 5, Problem::Colon),
        ("{\"a\":1 \"b\":2}", 7, Problem::Comma),
        ("{\"a\":1,}", 7, Problem::Name),
        ("{,}", 1, Problem::Name),
        ("{\"a\":tru}", 5, Problem::Value),
        ("{\"a\":[1}}", 7, Problem::Bracket),
        ("{\"a\":\"\\q\"}", 7, Problem::Escape),
        ("{\"a\":\"", 6, Problem::End),
        ("{\"a\":{\"b\":1}", 12, Problem::End),
        ("{a:1}", 1, Problem::Name),
    ];
    for (text, at, problem) in cases {
        let error = members(text.as_bytes()).unwrap_err();
        assert_eq!(error, JsonError { at, problem }, "{text}");
    }
}

#[test]
fn nesting_is_limited_without_recursion() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(whole(deep(128).as_bytes()).is_ok());
    let error = whole(deep(129).as_bytes()).unwrap_err();
    assert_eq!(error.problem, Problem::Depth);
    assert!(whole("[".repeat(1_000_000).as_bytes()).is_err());
}

#[test]
fn counts_are_lenient_about_form_and_strict_about_sign() {
    let count = |text: &str| whole(text.as_bytes()).unwrap().count();
    assert_eq!(count("12"), Some(12));
    assert_eq!(count("214.0"), Some(214));
    assert_eq!(count("-1"), None);
    assert_eq!(count("\"12\""), None);
    assert_eq!(count("1e400"), None);
}

/// Any JSON tree of a few levels.
fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        "[ -~\\n\"\\\\é漢]{0,40}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::from),
            prop::collection::btree_map("[a-z\"é]{0,20}", inner, 0..6)
                .prop_map(|map| Tree::Object(map.into_iter().collect())),
        ]
    })
}

fn check(value: Value<'_>, tree: &Tree) {
    match tree {
        Tree::Object(map) => {
            let found: Vec<_> = Members::new(value.raw).map(Result::unwrap).collect();
            assert_eq!(found.len(), map.len());
            for (member, (name, inner)) in found.iter().zip(map) {
                let quoted = [b"\"", member.name, b"\""].concat();
                assert_eq!(&serde_json::from_slice::<String>(&quoted).unwrap(), name);
                check(member.value, inner);
            }
        }
        Tree::Array(items) => {
            assert_eq!(value.items().count(), items.len());
            for (item, inner) in value.items().zip(items) {
                check(item, inner);
            }
        }
        Tree::String(text) => assert_eq!(value.text().unwrap(), text.as_str()),
        other => assert_eq!(value.raw, other.to_string().as_bytes()),
    }
}

proptest! {
    #[test]
    fn every_tree_reads_the_same_as_serde_reads_it(tree in tree(), pretty in any::<bool>()) {
        let text = if pretty { format!("{tree:#}") } else { tree.to_string() };
        check(whole(text.as_bytes()).unwrap(), &tree);
        for cut in 0..text.len() {
            let piece = &text.as_bytes()[..cut];
            if serde_json::from_slice::<Tree>(piece).is_ok() {
                prop_assert!(whole(piece).is_ok());
            }
        }
    }

    #[test]
    fn garbage_ends_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = whole(&bytes);
        let _ = members(&bytes);
        if let Ok(value) = whole(&bytes) {
            value.items().for_each(drop);
        }
    }

    #[test]
    fn what_serde_accepts_is_accepted(text in "[\\[\\]{}\",:0-9a-z \\\\-]{0,30}") {
        if serde_json::from_str::<Tree>(&text).is_ok() {
            prop_assert!(whole(text.as_bytes()).is_ok());
        }
    }
}

/// Rebuilds a value through the one-pass reader.
fn reread(reader: &mut Reader<'_>, depth: u32) -> Result<Tree, JsonError> {
    let mut map = serde_json::Map::new();
    let mut items = Vec::new();
    let mut ahead = Reader {
        cursor: reader.cursor,
    };
    match ahead.value()?.kind {
        Kind::Object if depth > 0 => {
            reader.members(|reader, name| {
                let name = [b"\"", name, b"\""].concat();
                let name = serde_json::from_slice(&name).unwrap();
                map.insert(name, reread(reader, depth - 1)?);
                Ok(())
            })?;
            Ok(Tree::Object(map))
        }
        Kind::Array if depth > 0 => {
            reader.items(|reader| {
                items.push(reread(reader, depth - 1)?);
                Ok(())
            })?;
            Ok(Tree::Array(items))
        }
        _ => Ok(serde_json::from_slice(reader.value()?.raw).unwrap()),
    }
}

proptest! {
    #[test]
    fn one_pass_reads_the_same_tree(tree in tree(), pretty in any::<bool>(), depth in 0u32..6) {
        let text = if pretty { format!(" {tree:#}") } else { tree.to_string() };
        let read = reread(&mut Reader::new(text.as_bytes()), depth);
        prop_assert_eq!(read.unwrap(), tree);
    }

    #[test]
    fn quotes_are_found_wherever_they_stand(
        filler in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let found = quote_or_backslash(&filler);
        prop_assert_eq!(found, filler.iter().position(|b| matches!(b, b'"' | b'\\')));
    }
}

#[test]
fn a_value_of_another_type_is_skipped() {
    let mut reader = Reader::new(b"[1, 2]");
    assert_eq!(reader.members(|_, _| unreachable!()), Ok(false));
    let mut reader = Reader::new(b"{\"a\":1,}");
    let read = reader.members(|reader, _| reader.value().map(drop));
    assert_eq!(read.unwrap_err().problem, Problem::Name);
}
