//! What a frame says: an event, or the exception that ends its stream.

use serde_json::Value;

use super::header::Headers;
use crate::wire::upstream_error::Complaint;

/// A frame, verified.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its headers.
    pub headers: Headers<'a>,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// One event; types that nobody knows yet included.
    Event {
        /// `:event-type`.
        kind: &'a str,
        /// Its payload: JSON on Bedrock.
        payload: &'a [u8],
    },
    /// The provider gave up after it had answered with a success. Judged by
    /// [`crate::routing::failure::of_complaint`].
    Exception {
        /// `:exception-type` or `:error-code`; empty when the frame names none.
        name: &'a str,
        /// Status of the model that failed behind Bedrock (`originalStatusCode`).
        original_status: Option<u16>,
        /// What went wrong.
        complaint: Complaint,
    },
}

impl<'a> Message<'a> {
    /// Reads `:message-type` and what belongs to it. A frame that is neither event nor exception
    /// is an exception too: nothing after it can be trusted.
    pub fn content(&self) -> Content<'a> {
        let text = |name| self.headers.text(name);
        match text(":message-type") {
            Some("event") => Content::Event {
                kind: text(":event-type").unwrap_or_default(),
                payload: self.payload,
            },
            Some("error") => {
                let name = text(":error-code").unwrap_or_default();
                let message = text(":error-message").unwrap_or(name);
                self.exception(name, message.as_bytes())
            }
            Some("exception") => {
                let name = text(":exception-type").unwrap_or_default();
                self.exception(name, self.payload)
            }
            other => {
                let kind = other.unwrap_or("none");
                let body = format!("event-stream frame with message type {kind}");
                self.exception("", body.as_bytes())
            }
        }
    }

    fn exception(&self, name: &'a str, body: &[u8]) -> Content<'a> {
        let object: Option<Value> = serde_json::from_slice(body).ok();
        let status = object.as_ref().and_then(|object| {
            let status = object.get("originalStatusCode")?.as_u64()?;
            u16::try_from(status).ok()
        });
        let mut complaint = Complaint::read(body, 200);
        if complaint.kind.is_none() && !name.is_empty() {
            complaint.kind = Some(name.to_owned());
        }
        Content::Exception {
            name,
            original_status: status.filter(|status| (400..600).contains(status)),
            complaint,
        }
    }
}
