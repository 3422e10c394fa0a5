//! Arrays cut at every byte.

use proptest::prelude::*;

use super::*;

fn items(chunks: &[&[u8]]) -> (Vec<String>, Result<(), ArrayError>) {
    let mut splitter = ArraySplitter::new(ITEM_BYTES_MAX);
    let mut found = Vec::new();
    for chunk in chunks {
        splitter.feed(chunk);
        loop {
            match splitter.next_item() {
                Ok(Some(item)) => found.push(String::from_utf8_lossy(item).into_owned()),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
    }
    (found, splitter.finish())
}

#[test]
fn geminis_array_reads_the_same_at_every_cut() {
    let text = "[{\n  \"a\": \"]},\\\"{\\\\\"\n}\n,\r\n{\"b\":[{},[]],\"c\":\"é\"} , []\n]\n";
    let expected = [
        "{\n  \"a\": \"]},\\\"{\\\\\"\n}",
        "{\"b\":[{},[]],\"c\":\"é\"}",
        "[]",
    ];
    let bytes = text.as_bytes();
    for cut in 0..=bytes.len() {
        let (left, right) = bytes.split_at(cut);
        let (found, ending) = items(&[left, right]);
        assert_eq!(
            (found.as_slice(), ending),
            (&expected.map(String::from)[..], Ok(())),
            "{cut}"
        );
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(items(&single).0, expected);
    for end in 0..bytes.len() - 2 {
        let at = end as u64;
        assert_eq!(items(&[&bytes[..end]]).1, Err(ArrayError::Truncated { at }));
    }
}

#[test]
fn one_object_is_one_item_and_an_empty_array_is_none() {
    let error = br#" {"error":{"code":400}} "#;
    assert_eq!(
        items(&[error]),
        (vec![r#"{"error":{"code":400}}"#.to_owned()], Ok(()))
    );
    assert_eq!(items(&[b"[ ]"]), (Vec::new(), Ok(())));
}

#[test]
fn what_is_no_array_is_refused_where_it_stands() {
    for (text, at, byte) in [
        ("<html>", 0, b'<'),
        ("[1]", 1, b'1'),
        ("[,{}]", 1, b','),
        ("[{},]", 4, b']'),
        ("[{}{}]", 3, b'{'),
        ("[] []", 3, b'['),
        ("{}{}", 2, b'{'),
    ] {
        let error = Err(ArrayError::Unexpected { byte, at });
        assert_eq!(items(&[text.as_bytes()]).1, error, "{text}");
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(items(&single).1, error, "{text}");
    }
}

#[test]
fn an_item_over_the_limit_is_a_typed_error() {
    let mut splitter = ArraySplitter::new(8);
    splitter.feed(br#"[{"a":12},{"a":123}]"#);
    assert_eq!(splitter.next_item(), Ok(Some(br#"{"a":12}"#.as_slice())));
    let error = Err(ArrayError::ItemTooLarge { limit: 8 });
    assert_eq!(splitter.next_item(), error);
    splitter.feed(b"[]");
    assert_eq!(splitter.next_item(), error);
    let mut splitter = ArraySplitter::new(8);
    splitter.feed(br#"[{"a":"12345"#);
    assert_eq!(splitter.next_item(), error);
}

proptest! {
    #[test]
    fn random_arrays_read_the_same_in_any_pieces(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["[", "]", "{", "}", ",", "\"", "\\", "a", " ", "1", ":"]),
            0..40,
        ),
    ) {
        let text = pieces.concat();
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(items(&single), items(&[text.as_bytes()]));
    }
}
