//! Any cut of any stream gives the same events.

use proptest::prelude::*;

use super::*;

type Found = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Events of a stream that comes in these chunks; the tail without a blank line is the last one.
fn events(chunks: &[&[u8]]) -> Vec<Found> {
    let mut scanner = EventScanner::new(EVENT_BYTES_MAX);
    let mut found = Vec::new();
    let mut note = |raw: &[u8]| {
        let event = Event::parse(raw);
        if event.name.is_some() || event.data.is_some() {
            found.push((
                event.name.map(<[u8]>::to_vec),
                event.data.map(Cow::into_owned),
            ));
        }
    };
    for chunk in chunks {
        let mut at = scanner.skip_line_feed(chunk);
        while let Some(end) = scanner.next_end(chunk, at).unwrap() {
            note(scanner.event(chunk, at, end));
            at = end;
        }
    }
    note(scanner.partial());
    found
}

fn data(text: &str) -> Found {
    (None, Some(text.as_bytes().to_vec()))
}

#[test]
fn every_form_of_line_and_field_is_read_at_every_cut() {
    let stream = "\u{feff}data: a\n\n: comment\r\ndata:b\r\n\r\n\r\nevent: x\rdata: c\r\rid: 1\n\
                  retry: 5\n\ndata: é漢\ndata\ndata:  d\n\n\n\ndata: {\"a\":1}\r\n\r\ndata: end";
    let mut expected = vec![data("a"), data("b")];
    expected.push((Some(b"x".to_vec()), Some(b"c".to_vec())));
    expected.extend([data("é漢\n\n d"), data("{\"a\":1}"), data("end")]);
    let bytes = stream.as_bytes();
    for cut in 0..=bytes.len() {
        let (left, right) = bytes.split_at(cut);
        assert_eq!(events(&[left, right]), expected, "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(events(&single), expected);
}

#[test]
fn an_event_over_the_limit_is_a_typed_error() {
    let mut scanner = EventScanner::new(10);
    assert_eq!(scanner.next_end(b"data: 12\n\n", 0), Ok(Some(10)));
    let error = Err(SseError::EventTooLarge { limit: 10 });
    assert_eq!(scanner.next_end(b"data: 123\n\n", 0), error);
    let mut scanner = EventScanner::new(10);
    assert_eq!(scanner.next_end(b"data: 1", 0), Ok(None));
    assert_eq!(scanner.next_end(b"2345", 0), error);
}

#[test]
fn nothing_is_written_into_a_cut_line_end() {
    let mut scanner = EventScanner::new(EVENT_BYTES_MAX);
    assert!(scanner.at_boundary());
    assert_eq!(scanner.next_end(b"data: a\r\n\r", 0), Ok(Some(10)));
    assert!(!scanner.mid_event());
    assert!(!scanner.at_boundary());
    assert_eq!(scanner.skip_line_feed(b"\ndata"), 1);
    assert!(scanner.at_boundary());
    assert_eq!(scanner.next_end(b"\ndata", 1), Ok(None));
    assert!(scanner.mid_event() && !scanner.at_boundary());
}

#[test]
fn a_megabyte_event_is_read_and_its_buffer_given_back() {
    let mut scanner = EventScanner::new(EVENT_BYTES_MAX);
    let large = [b"data: ".as_slice(), &vec![b'x'; 1 << 20], b"\n\n"].concat();
    for chunk in large.chunks(4096) {
        assert!(scanner.next_end(chunk, 0).is_ok());
    }
    assert!(scanner.carry.capacity() >= 1 << 20);
    assert_eq!(scanner.next_end(b"data: a\n\n", 0), Ok(Some(9)));
    assert_eq!(scanner.carry.capacity(), 0);
}

proptest! {
    #[test]
    fn random_streams_read_the_same_in_any_pieces(
        stream in prop::collection::vec(
            prop_oneof![
                Just(b"data: x".to_vec()), Just(b"data:".to_vec()), Just(b"event: e".to_vec()),
                Just(b": c".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()),
                Just(b"\r\n".to_vec()), Just(b"\n\n".to_vec()), Just(b"\xEF\xBB\xBF".to_vec()),
                prop::collection::vec(any::<u8>(), 0..4),
            ],
            0..40,
        ),
        cuts in prop::collection::vec(1usize..20, 0..40),
    ) {
        let bytes = stream.concat();
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        prop_assert_eq!(events(&pieces), events(&[&bytes]));
    }
}
