//! The provider dialect `chat`: OpenAI, Azure, vLLM and everything compatible.

pub(crate) mod request;
pub(crate) mod tools;

mod answer;
mod messages;

pub(crate) use answer::Reader;
