//! The provider dialect `chat`.

pub(crate) mod request;

mod answer;

pub(crate) use answer::Reader;
