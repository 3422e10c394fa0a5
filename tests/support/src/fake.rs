//! A server whose every answer is a test's own function.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Request line and fields.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Asked {
    /// Its method.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Path without its query.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// A parameter of the query, as it was written.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target().split_once('?')?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(found.1.trim())
    }

    /// The body, or null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    kind: &'static str,
    parts: Vec<Vec<u8>>,
    is_cut: bool,
    is_mute: bool,
    location: Option<String>,
}

impl Reply {
    /// These bytes in one piece.
    pub fn of(status: u16, kind: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            kind,
            parts: vec![body],
            is_cut: false,
            is_mute: false,
            location: None,
        }
    }

    /// Go there instead.
    pub fn redirect(location: &str) -> Self {
        Self {
            location: Some(location.to_owned()),
            ..Self::of(302, "text/plain", Vec::new())
        }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::of(status, "application/json", body.to_string().into_bytes())
    }

    /// A stream, chunk by chunk.
    pub fn stream(kind: &'static str, parts: Vec<Vec<u8>>) -> Self {
        Self {
            status: 200,
            kind,
            parts,
            is_cut: false,
            is_mute: false,
            location: None,
        }
    }

    /// None at all: the connection stays open.
    pub fn never() -> Self {
        Self {
            is_mute: true,
            ..Self::stream("", Vec::new())
        }
    }

    /// The same, broken off behind so many chunks, or half of them where there are fewer.
    pub fn cut(mut self, behind: usize) -> Self {
        self.parts.truncate(behind.min(self.parts.len() / 2));
        self.is_cut = true;
        self
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The server. It stops with the runtime of its test.
#[derive(Clone)]
pub struct Fake {
    /// `http://127.0.0.1:port`.
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Answer>,
}

impl Fake {
    /// Listens on a port of its own.
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let fake = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            asked: Arc::default(),
            answer: Arc::new(answer),
        };
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = serving.clone();
                tokio::spawn(async move { fake.serve(stream).await });
            }
        });
        fake
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("a list").clone()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let Some(asked) = read(&mut stream).await else {
            return;
        };
        self.asked.lock().expect("a list").push(asked.clone());
        let reply = (self.answer)(&asked);
        if reply.is_mute {
            std::future::pending::<()>().await;
        }
        let location = reply.location.as_ref();
        let location = location.map(|to| format!("location: {to}\r\n"));
        let head = format!(
            "HTTP/1.1 {} X\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\
             {}connection: close\r\n\r\n",
            reply.status,
            reply.kind,
            location.unwrap_or_default()
        );
        let _ = stream.write_all(head.as_bytes()).await;
        for part in reply.parts.iter().filter(|part| !part.is_empty()) {
            let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
            chunk.extend_from_slice(part);
            chunk.extend_from_slice(b"\r\n");
            let _ = stream.write_all(&chunk).await;
        }
        if !reply.is_cut {
            let _ = stream.write_all(b"0\r\n\r\n").await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        let count = stream
            .read(&mut part)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let asked = Asked {
            head: String::from_utf8_lossy(&bytes[..end]).into_owned(),
            body: bytes[end + 4..].to_vec(),
        };
        let length = asked
            .header("content-length")
            .and_then(|length| length.parse().ok());
        if asked.body.len() >= length.unwrap_or(0) {
            return Some(asked);
        }
    }
}
