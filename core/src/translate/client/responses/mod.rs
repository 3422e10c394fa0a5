//! The client dialect `responses`.

pub(crate) mod body;
pub(crate) mod request;
pub(crate) mod stream;
