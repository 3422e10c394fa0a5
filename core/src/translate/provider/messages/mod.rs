//! The provider dialect `messages`.

pub(crate) mod request;

mod answer;

pub(crate) use answer::Reader;
