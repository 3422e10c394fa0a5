//! Frames recorded from Bedrock and made ones, cut at every byte, damaged in every byte.

use proptest::prelude::*;

use super::*;
use crate::config::Provider;
use crate::routing::failure::{Origin, of_complaint};
use crate::wire::upstream_error::FaultClass;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/fixtures/bedrock/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).unwrap()
}

/// Headers and payload of a frame.
type Named = (String, Vec<u8>);

/// Every frame as (headers, payload); the error at which reading stopped.
fn frames(chunks: &[&[u8]]) -> (Vec<Named>, Result<(), FrameError>) {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let mut found = Vec::new();
    for chunk in chunks {
        reader.feed(chunk);
        loop {
            match reader.next_frame() {
                Ok(Some(message)) => {
                    let headers: Vec<_> = message.headers.iter().collect();
                    found.push((format!("{headers:?}"), message.payload.to_vec()));
                }
                Ok(None) => break,
                Err(error) => {
                    reader.feed(b"more");
                    assert_eq!(reader.next_frame().unwrap_err(), error);
                    return (found, Err(error));
                }
            }
        }
    }
    (found, reader.finish())
}

#[test]
fn recorded_streams_read_the_same_at_every_cut() {
    for (name, count) in [
        ("converse_stream_text.bin", 33),
        ("converse_stream_tools.bin", 26),
        ("converse_stream_thinking.bin", 25),
        ("agw_basic.bin", 7),
        ("synthetic_invoke_response_stream_claude.bin", 6),
    ] {
        let bytes = fixture(name);
        let whole = frames(&[&bytes]);
        assert_eq!((whole.0.len(), whole.1), (count, Ok(())), "{name}");
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(frames(&[left, right]), whole, "{name} cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(frames(&single), whole, "{name} byte by byte");
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_cut() {
    let bytes = fixture("converse_stream_text.bin");
    let first = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
    for end in 1..first {
        let (found, ending) = frames(&[&bytes[..end]]);
        assert_eq!(found.len(), 0);
        assert_eq!(ending, Err(FrameError::Truncated { bytes: end }));
    }
    assert_eq!(frames(&[&bytes[..first]]).1, Ok(()));
}

#[test]
fn damage_in_any_byte_is_found() {
    let mut frame = Vec::new();
    write_event("messageStart", br#"{"role":"assistant"}"#, &mut frame).unwrap();
    for at in 0..frame.len() {
        let mut bytes = frame.clone();
        bytes[at] ^= 0x10;
        let (found, ending) = frames(&[&bytes]);
        assert_eq!(found, [], "byte {at}");
        let expected = match at {
            0..12 => FrameError::PreludeChecksum,
            _ => FrameError::FrameChecksum,
        };
        assert_eq!(ending, Err(expected), "byte {at}");
    }
    let bad = frames(&[&fixture("synthetic_bad_crc.bin")]);
    assert_eq!(bad, (Vec::new(), Err(FrameError::FrameChecksum)));
}

/// A prelude with its checksum, whatever it says.
fn prelude(total: u32, headers: u32) -> Vec<u8> {
    let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn lengths_are_bounded_before_anything_is_kept() {
    let error = |total, headers| frames(&[&prelude(total, headers)]).1.unwrap_err();
    let limit = FRAME_BYTES_MAX;
    assert_eq!(
        error(u32::MAX, 0),
        FrameError::FrameTooLarge {
            bytes: u32::MAX as usize,
            limit
        }
    );
    assert_eq!(
        error(1 << 20, (HEADERS_BYTES_MAX + 1) as u32),
        FrameError::HeadersTooLarge {
            bytes: HEADERS_BYTES_MAX + 1
        }
    );
    assert_eq!(
        error(15, 0),
        FrameError::Lengths {
            total: 15,
            headers: 0
        }
    );
    assert_eq!(
        error(20, 5),
        FrameError::Lengths {
            total: 20,
            headers: 5
        }
    );
    let payload = vec![0; FRAME_BYTES_MAX];
    let mut out = Vec::new();
    assert!(write_event("x", &payload, &mut out).is_err());
    assert!(out.is_empty());
    let large = vec![b'x'; 1 << 20];
    write_event("x", &large, &mut out).unwrap();
    let chunks: Vec<&[u8]> = out.chunks(4096).collect();
    assert_eq!(frames(&chunks).0[0].1, large);
}

#[test]
fn headers_of_every_type_are_read_and_written() {
    let uuid = *b"0123456789abcdef";
    let values = [
        HeaderValue::Bool(true),
        HeaderValue::Bool(false),
        HeaderValue::Byte(-1),
        HeaderValue::Short(-300),
        HeaderValue::Int(70_000),
        HeaderValue::Long(-5_000_000_000),
        HeaderValue::Bytes(&[0, 255]),
        HeaderValue::Text("é"),
        HeaderValue::Timestamp(1_700_000_000_000),
        HeaderValue::Uuid(uuid),
    ];
    let headers: Vec<Header<'_>> = values
        .into_iter()
        .map(|value| Header { name: "n", value })
        .collect();
    let mut out = Vec::new();
    write_frame(&headers, b"", &mut out).unwrap();
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    reader.feed(&out);
    let message = reader.next_frame().unwrap().unwrap();
    assert_eq!(message.headers.iter().collect::<Vec<_>>(), headers);
    assert_eq!(message.headers.text("n"), None);
    let long = "x".repeat(70_000);
    let too_long = Err(FrameError::Header(HeaderProblem::TooLong));
    assert_eq!(write_event(&long, b"", &mut out), too_long);
    let unnamed = write_frame(&[Header::text("", "x")], b"", &mut out);
    assert_eq!(unnamed, Err(FrameError::Header(HeaderProblem::Name)));
}

#[test]
fn headers_that_lie_are_refused() {
    for (bytes, problem) in [
        (b"\x01n\x0a".as_slice(), HeaderProblem::Type(10)),
        (b"\x01n\x07\x00\x05ab", HeaderProblem::Cut),
        (b"\x05n", HeaderProblem::Cut),
        (b"\x00\x00", HeaderProblem::Name),
        (b"\x01n\x07\x00\x01\xff", HeaderProblem::Text),
    ] {
        let mut frame = prelude((16 + bytes.len()) as u32, bytes.len() as u32);
        frame.extend_from_slice(bytes);
        let crc = crc32fast::hash(&frame);
        frame.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(frames(&[&frame]).1, Err(FrameError::Header(problem)));
    }
}

/// The class that routing sees in the last frame of a stream.
fn last_class(bytes: &[u8]) -> (FaultClass, u16) {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    reader.feed(bytes);
    let mut last = None;
    while let Some(message) = reader.next_frame().unwrap() {
        if let Content::Exception {
            name, complaint, ..
        } = message.content()
        {
            let origin = Origin {
                provider: Provider::Bedrock,
                named_by_client: false,
            };
            let fault = of_complaint(origin, complaint.clone(), 200, Some(name), None).fault;
            assert_eq!(complaint.status(), fault.error.status, "{name}");
            last = Some((fault.class, fault.error.status));
        }
    }
    last.unwrap()
}

#[test]
fn exceptions_inside_frames_have_their_class() {
    for (name, class, status) in [
        ("throttlingException", FaultClass::RateLimit, 429),
        ("serviceUnavailableException", FaultClass::Unavailable, 503),
        ("internalServerException", FaultClass::Internal, 500),
        ("modelTimeoutException", FaultClass::Timeout, 408),
        ("validationException", FaultClass::BadRequest, 400),
    ] {
        let mut bytes = Vec::new();
        write_exception(name, br#"{"message":"no"}"#, &mut bytes).unwrap();
        assert_eq!(last_class(&bytes), (class, status), "{name}");
    }
    let mut bytes = Vec::new();
    let long = br#"{"message":"Input is too long for requested model."}"#;
    write_exception("validationException", long, &mut bytes).unwrap();
    assert_eq!(last_class(&bytes).0, FaultClass::ContextWindow);
    let error = fixture("synthetic_error_frame.bin");
    assert_eq!(last_class(&error), (FaultClass::Internal, 500));
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    reader.feed(&fixture(
        "synthetic_converse_midstream_modelStreamError.bin",
    ));
    assert!(matches!(
        reader.next_frame().unwrap().unwrap().content(),
        Content::Event {
            kind: "messageStart",
            ..
        }
    ));
    let content = reader.next_frame().unwrap().unwrap().content();
    let Content::Exception {
        name,
        original_status,
        complaint,
    } = content
    else {
        panic!("an exception");
    };
    assert_eq!(
        (name, original_status),
        ("modelStreamErrorException", Some(500))
    );
    assert!(complaint.message.starts_with("The system encountered"));
    let mut bytes = Vec::new();
    write_frame(&[Header::text("x", "y")], b"{}", &mut bytes).unwrap();
    assert_eq!(last_class(&bytes).0, FaultClass::Internal);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6),
        sizes in prop::collection::vec(1usize..40, 0..40),
    ) {
        let mut bytes = Vec::new();
        for payload in &payloads {
            write_event("chunk", payload, &mut bytes).unwrap();
        }
        let mut chunks = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes {
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        chunks.push(rest);
        let (found, ending) = frames(&chunks);
        prop_assert_eq!(ending, Ok(()));
        let found: Vec<_> = found.into_iter().map(|(_, payload)| payload).collect();
        prop_assert_eq!(found, payloads);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = frames(&[&bytes]);
    }
}
