//! A small HTTP server whose answers a test writes.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) head: String,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ &str| {
            let key = line.split(':').next().unwrap_or_default();
            key.eq_ignore_ascii_case(name)
        };
        let found = self.head.lines().find(line)?;
        Some(found.split_once(':')?.1.trim())
    }

    /// A field of a form, decoded.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let pair = |pair: &&str| pair.split('=').next() == Some(name);
        let found = self.body.split('&').find(pair)?.split_once('=')?.1;
        let bytes = found.as_bytes();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            match bytes[at] {
                b'%' => {
                    let hex = std::str::from_utf8(&bytes[at + 1..at + 3]).unwrap();
                    out.push(u8::from_str_radix(hex, 16).unwrap());
                    at += 3;
                }
                byte => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        Some(String::from_utf8(out).unwrap())
    }

    pub(super) fn starts(&self, line: &str) -> bool {
        self.head.starts_with(line)
    }
}

/// The server.
pub(super) struct Server {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// One that answers with a status and a body; no answer at all for `None`.
    pub(super) async fn start(
        answer: impl Fn(&Asked) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move {
                    let Some((mut stream, asked)) = read(stream).await else {
                        return;
                    };
                    log.lock().unwrap().push(asked.clone());
                    let Some((status, body)) = answer(&asked) else {
                        return;
                    };
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        Self { url, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn read(mut stream: TcpStream) -> Option<(TcpStream, Asked)> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.ok()?;
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let asked = Asked {
                head: head.to_owned(),
                body: body.to_owned(),
            };
            let length = asked
                .header("content-length")
                .map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return Some((stream, asked));
            }
        }
        if count == 0 {
            return None;
        }
    }
}
