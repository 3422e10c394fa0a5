//! A request as exact bytes.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Conn, Response};

/// A request to be sent as it is: nothing is added but `Host` and the body's framing.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Target with its query.
    pub target: String,
    /// Fields, in order.
    pub fields: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Send the body in chunks of this many bytes instead of with a length.
    pub chunked: Option<usize>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
            chunked: None,
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST of JSON.
    pub fn post(target: &str, body: &Value) -> Self {
        Self::post_bytes(target, body.to_string().into_bytes())
    }

    /// A POST of bytes that are said to be JSON.
    pub fn post_bytes(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut request = Self::new("POST", target).field("content-type", "application/json");
        request.body = body.into();
        request
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `Authorization: Bearer`.
    pub fn bearer(self, key: &str) -> Self {
        self.field("authorization", &format!("Bearer {key}"))
    }

    /// Adds Anthropic's credential and version.
    pub fn anthropic(self, key: &str) -> Self {
        self.field("x-api-key", key)
            .field("anthropic-version", "2023-06-01")
    }

    /// Sends the body in chunks of `size` bytes.
    pub fn chunks_of(mut self, size: usize) -> Self {
        self.chunked = Some(size);
        self
    }

    /// The head's bytes.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has = |name: &str| {
            self.fields
                .iter()
                .any(|(held, _)| held.eq_ignore_ascii_case(name))
        };
        if !has("host") {
            text += "host: 127.0.0.1\r\n";
        }
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        if self.chunked.is_some() {
            text += "transfer-encoding: chunked\r\n";
        } else if !has("content-length") && (!self.body.is_empty() || self.method == "POST") {
            text += &format!("content-length: {}\r\n", self.body.len());
        }
        text += "\r\n";
        text.into_bytes()
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        let Some(size) = self.chunked else {
            bytes.extend_from_slice(&self.body);
            return bytes;
        };
        for chunk in self.body.chunks(size.max(1)) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    /// Sends it on a connection of its own and reads the whole response.
    pub async fn send(&self, addr: SocketAddr) -> Response {
        Conn::open(addr).await.exchange(self).await
    }
}
