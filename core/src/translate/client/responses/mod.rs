//! The client dialect `responses`: OpenAI Responses.

pub(crate) mod body;
pub(crate) mod request;
pub(crate) mod stream;

mod echo;
mod items;
mod output;
mod tools;

pub(crate) use tools::flat_name;
