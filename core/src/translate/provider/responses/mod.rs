//! The provider dialect `responses`.

pub(crate) mod request;

mod answer;

pub(crate) use answer::Reader;
