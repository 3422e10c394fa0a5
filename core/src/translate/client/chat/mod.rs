//! The client dialect `chat`.

pub(crate) mod body;
pub(crate) mod request;
pub(crate) mod stream;
