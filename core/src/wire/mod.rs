//! Bytes of requests and answers: found by span, changed by splice, never re-serialised.

pub mod edit;
pub mod event_stream;
pub mod fallbacks;
pub mod field;
pub mod file_refs;
pub mod http1;
pub mod json;
pub mod json_array;
pub mod multipart;
pub mod object_list;
pub mod retry_after;
pub mod scrub;
pub mod span;
pub mod sse;
pub mod upstream_error;
pub(crate) mod walk;
