//! Claude's stream out of Bedrock's frames: each frame holds one event of Anthropic's dialect.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::wire::edit::quoted;
use crate::wire::event_stream::{Content, FRAME_BYTES_MAX, FrameError, FrameReader};
use crate::wire::json;

const ERROR_HEAD: &[u8] = br#"event: error
data: {"type":"error","error":{"type":""#;
const ERROR_MESSAGE: &[u8] = br#"","message":"#;
const ERROR_TAIL: &[u8] = b"}}\n\n";

/// Turns frames into an event stream.
#[derive(Clone, Debug)]
pub struct InvokeFrames {
    reader: FrameReader,
}

impl Default for InvokeFrames {
    fn default() -> Self {
        Self {
            reader: FrameReader::new(FRAME_BYTES_MAX),
        }
    }
}

impl InvokeFrames {
    /// Takes a chunk; appends the events of whole frames. An exception becomes an error event.
    ///
    /// # Errors
    /// A frame arrived changed, or is over the limit.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.reader.feed(chunk);
        while let Some(frame) = self.reader.next_frame()? {
            match frame.content() {
                Content::Event { payload, .. } => event(payload, out),
                Content::Exception {
                    name, complaint, ..
                } => {
                    let kind = anthropic_kind(name);
                    let message = quoted(&complaint.message);
                    let parts = [
                        ERROR_HEAD,
                        kind.as_bytes(),
                        ERROR_MESSAGE,
                        &message,
                        ERROR_TAIL,
                    ];
                    parts.iter().for_each(|part| out.extend_from_slice(part));
                }
            }
        }
        Ok(())
    }

    /// Whether the stream broke off inside a frame.
    pub fn mid_frame(&self) -> bool {
        self.reader.mid_frame()
    }
}

/// `{"bytes":"<base64>"}`; frames without bytes say nothing.
fn event(payload: &[u8], out: &mut Vec<u8>) {
    let payload = json::whole(payload).ok();
    let bytes = payload.and_then(|payload| payload.field(b"bytes")?.text());
    let decoded = bytes.and_then(|bytes| BASE64_STANDARD.decode(bytes.as_bytes()).ok());
    let Some(data) = decoded else {
        return;
    };
    let kind = json::whole(&data).ok();
    let kind = kind.and_then(|data| data.field(b"type")?.text());
    if let Some(kind) = kind {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\n\n");
}

/// Anthropic's word for an exception of Bedrock.
fn anthropic_kind(exception: &str) -> &'static str {
    match exception {
        "throttlingException" => "rate_limit_error",
        "validationException" => "invalid_request_error",
        "accessDeniedException" => "permission_error",
        "serviceUnavailableException" | "modelNotReadyException" => "overloaded_error",
        "modelTimeoutException" => "timeout_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event_stream::{write_event, write_exception};

    fn chunk(data: &str, out: &mut Vec<u8>) {
        let payload = format!(
            r#"{{"bytes":"{}","p":"abc"}}"#,
            BASE64_STANDARD.encode(data)
        );
        write_event("chunk", payload.as_bytes(), out).unwrap();
    }

    #[test]
    fn frames_cut_anywhere_become_the_events_inside_them() {
        let mut frames = Vec::new();
        chunk(r#"{"type":"message_start","message":{}}"#, &mut frames);
        chunk(r#"{"type":"ping"}"#, &mut frames);
        write_exception(
            "throttlingException",
            br#"{"message":"too \"many\""}"#,
            &mut frames,
        )
        .unwrap();
        let expected = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n\
            event: ping\ndata: {\"type\":\"ping\"}\n\n\
            event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\
            \"message\":\"too \\\"many\\\"\"}}\n\n";
        for cut in 0..frames.len() {
            let (mut reader, mut out) = (InvokeFrames::default(), Vec::new());
            reader.push(&frames[..cut], &mut out).unwrap();
            reader.push(&frames[cut..], &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {cut}");
            assert!(!reader.mid_frame());
        }
        let last = frames.len() - 1;
        frames[last] ^= 1;
        let mut out = Vec::new();
        assert!(InvokeFrames::default().push(&frames, &mut out).is_err());
    }
}
