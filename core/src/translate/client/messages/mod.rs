//! The client dialect `messages`.

pub(crate) mod body;
pub(crate) mod request;
pub(crate) mod stream;
