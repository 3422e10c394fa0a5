//! Cohere's v2 chat.

pub(crate) mod answer;
mod content;
pub(crate) mod request;

pub(crate) use answer::Reader;
