//! Forms as SDKs send them, cut and malformed ones.

use proptest::prelude::*;

use super::*;

const TYPE: &str = "multipart/form-data; boundary=abc";

fn form() -> Bytes {
    Bytes::from_static(
        b"--abc\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
          Content-Type: audio/wav\r\n\r\nRIFF\r\n--ab \r\n\0\xff\r\n\
          --abc\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
          --abc\r\ncontent-disposition:form-data;name=response_format\r\n\r\n\r\n--abc--\r\n",
    )
}

#[test]
fn the_model_is_read_and_replaced() {
    let body = form();
    let spans = FormSpans::scan(&body, TYPE).unwrap();
    assert_eq!(spans.parts().len(), 3);
    assert_eq!(spans.text(&body, "model"), Ok(Some("whisper-1")));
    assert_eq!(spans.text(&body, "response_format"), Ok(Some("")));
    assert_eq!(spans.text(&body, "stream"), Ok(None));
    let not_text = Err(MultipartError::NotText("file"));
    assert_eq!(spans.text(&body, "file"), not_text);
    let changed = spans.with_text(&body, "model", "w").into_bytes();
    let again = FormSpans::scan(&changed, TYPE).unwrap();
    assert_eq!(again.text(&changed, "model"), Ok(Some("w")));
    assert_eq!(changed.len(), body.len() - "whisper-1".len() + 1);
}

#[test]
fn a_missing_model_is_added_in_front() {
    let body = form();
    let spans = FormSpans::scan(&body, TYPE).unwrap();
    let changed = spans.with_text(&body, "language", "de").into_bytes();
    let again = FormSpans::scan(&changed, TYPE).unwrap();
    assert_eq!(again.parts().len(), 4);
    assert_eq!(again.text(&changed, "language"), Ok(Some("de")));
    assert!(changed.ends_with(&body));
}

#[test]
fn every_cut_is_a_typed_error() {
    let body = form();
    let closing = body.len() - 2;
    for cut in 0..closing {
        assert!(FormSpans::scan(&body[..cut], TYPE).is_err(), "cut at {cut}");
    }
    assert!(FormSpans::scan(&body[..closing], TYPE).is_ok());
}

#[test]
fn odd_forms_are_refused() {
    let scan = |body: &str, kind: &str| FormSpans::scan(body.as_bytes(), kind).unwrap_err();
    let part = |head: &str| format!("--abc\r\n{head}\r\n\r\nx\r\n--abc--");
    assert_eq!(scan("", "application/json"), MultipartError::ContentType);
    let no_boundary = "multipart/form-data; charset=utf-8";
    assert_eq!(scan("", no_boundary), MultipartError::ContentType);
    let twice = "multipart/form-data; boundary=abc; boundary=x";
    assert_eq!(scan("", twice), MultipartError::ContentType);
    assert_eq!(scan("x", TYPE), MultipartError::NoBoundary);
    assert_eq!(scan("--abcd\r\n", TYPE), MultipartError::BoundaryLine(5));
    let head = MultipartError::PartHead(7);
    assert_eq!(scan(&part("Content-Type: x"), TYPE), head);
    let unnamed = part("Content-Disposition: form-data; filename=x");
    assert_eq!(scan(&unnamed, TYPE), head);
    let two_names = part("Content-Disposition: form-data; name=x; name=model");
    assert_eq!(scan(&two_names, TYPE), head);
    let open = part("Content-Disposition: form-data; name=\"model");
    assert_eq!(scan(&open, TYPE), head);
    let field = "--abc\r\nContent-Disposition: form-data; name=\"mod\\el\"\r\n\r\nx\r\n";
    let body = format!("{field}{field}--abc--");
    assert_eq!(scan(&body, TYPE), MultipartError::Duplicate("model"));
    let long = format!("--abc\r\n{}", "x".repeat(PART_HEAD_BYTES_MAX + 1));
    assert_eq!(scan(&long, TYPE), MultipartError::TooLarge);
}

#[test]
fn quoted_boundaries_and_preambles_are_read() {
    let body = b"preamble\r\n--a b:c\r\nContent-Disposition: form-data; name=model\r\n\r\n\
                 m\r\n--a b:c--";
    let kind = "Multipart/Form-Data; charset=utf-8; Boundary=\"a b:c\"";
    let spans = FormSpans::scan(body, kind).unwrap();
    assert_eq!(spans.text(body, "model"), Ok(Some("m")));
}

proptest! {
    #[test]
    fn garbage_ends_in_a_result(
        text in prop_oneof![
            "(--abc|\r\n|content-disposition:|form-data|; ?name=|\"|=|;|[ -~]){0,40}",
            "(multipart/form-data|; ?|boundary=|charset=|\"|a|=){0,10}",
        ],
    ) {
        let _ = FormSpans::scan(text.as_bytes(), TYPE);
        let _ = FormSpans::scan(form().as_ref(), &text);
    }
}
