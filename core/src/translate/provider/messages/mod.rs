//! The provider dialect `messages`: Anthropic and Claude on other clouds.

pub(crate) mod request;

mod answer;
mod conversation;
mod parts;
mod thinking;
mod tools;

pub(crate) use answer::Reader;
pub(crate) use request::weight_of_param;
pub(crate) use thinking::{budget_of, effort_of};
