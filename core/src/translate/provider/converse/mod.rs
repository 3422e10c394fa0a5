//! Bedrock Converse.

pub(crate) mod answer;
mod citation;
mod content;
mod family;
pub(crate) mod request;
mod thinking;
pub(in crate::translate::provider) mod tools;

pub(crate) use answer::Reader;
