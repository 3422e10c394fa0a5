//! The provider dialect `responses`: OpenAI and Azure.

pub(crate) mod request;

mod answer;
mod items;
mod tools;

pub(crate) use answer::Reader;
