//! OpenAI's embeddings told to Cohere, Amazon Titan, AI Studio and Vertex AI.

mod answer;
mod request;

pub(crate) use answer::answer;
pub(crate) use request::request;
