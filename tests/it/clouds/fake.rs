//! Clouds as one server: it checks every signature and token, and answers as Bedrock's and
//! Vertex's doors for Claude do.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use meridian_core::ids::Secret;
use meridian_core::sigv4::{AwsCredentials, Signed, payload_hash};
use meridian_core::time::WallMs;
use meridian_core::wire::event_stream::write_event;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The key that the fake knows.
pub(super) const KEY: &str = "AKIAFAKE";
pub(super) const SECRET: &str = "secret-of-the-fake";
/// The token that its token server gives out.
pub(super) const TOKEN: &str = "ya29.fake";

/// Claude's events for one answer.
pub(super) const EVENTS: [&str; 6] = [
    r#"{"type":"message_start","message":{"id":"msg_f","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"usage":{"input_tokens":11,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Moon."}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#,
    r#"{"type":"message_stop"}"#,
];

/// A request that was let in.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) head: String,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(found.1.trim())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The server.
#[derive(Clone)]
pub(super) struct Clouds {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Clouds {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clouds = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
            refused: Arc::default(),
        };
        let serving = clouds.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let clouds = serving.clone();
                tokio::spawn(async move { clouds.serve(stream).await });
            }
        });
        clouds
    }

    /// Requests that were let in, those for tokens left out.
    pub(super) fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        let of_model = |one: &&Asked| !one.path().contains("/token");
        asked.iter().filter(of_model).cloned().collect()
    }

    /// Requests that were turned away, and why.
    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap().clone()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let Some(asked) = read(&mut stream).await else {
            return;
        };
        let (status, kind, body) = match self.check(&asked) {
            Ok(()) => {
                self.asked.lock().unwrap().push(asked.clone());
                if asked.path().contains("is-late") {
                    // Whoever asked goes away first.
                    let _ = stream.read(&mut [0; 1]).await;
                    return;
                }
                answer(&asked)
            }
            Err(why) => {
                self.refused.lock().unwrap().push(why.clone());
                let body = json!({"message": why}).to_string();
                (403, "application/json", body.into_bytes())
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body).await;
    }

    /// Whether the request proves who asks.
    fn check(&self, asked: &Asked) -> Result<(), String> {
        if asked.path().contains("/token") {
            return Ok(());
        }
        let given = asked.header("authorization").unwrap_or_default();
        let is_key = |name: &str| asked.header(name) == Some(TOKEN);
        if given == format!("Bearer {TOKEN}") || is_key("x-goog-api-key") || is_key("x-api-key") {
            return Ok(());
        }
        let date = asked.header("x-amz-date").unwrap_or_default();
        let (path, query) = asked.path().split_once('?').unwrap_or((asked.path(), ""));
        let request = Signed {
            method: asked.head.split(' ').next().unwrap(),
            host: asked.header("host").unwrap_or_default(),
            path,
            query,
            content_type: asked.header("content-type").unwrap_or_default(),
            payload: &payload_hash([asked.body.as_bytes()]),
            region: "eu-west-1",
            service: "bedrock",
        };
        let keys = AwsCredentials {
            access_key_id: KEY.to_owned(),
            secret_access_key: Secret::new(SECRET),
            session_token: None,
        };
        let expected = request.sign(&keys, moment(date)).authorization;
        match given == expected {
            true => Ok(()),
            false => Err(format!("signature: {given} instead of {expected}")),
        }
    }
}

/// `20260102T030405Z`.
fn moment(date: &str) -> WallMs {
    let part = |from: usize, to: usize| date.get(from..to).unwrap_or("00");
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    );
    WallMs::parse_iso(&iso).unwrap_or_default()
}

fn answer(asked: &Asked) -> (u16, &'static str, Vec<u8>) {
    const JSON: &str = "application/json";
    let path = asked.path();
    if path.contains("/token") {
        let body = format!(r#"{{"access_token":"{TOKEN}","expires_in":3599}}"#);
        return (200, JSON, body.into_bytes());
    }
    if let Some(counted) = count(asked) {
        return counted;
    }
    if path.ends_with("/count-tokens") {
        return (200, JSON, br#"{"inputTokens":42}"#.to_vec());
    }
    if path.ends_with("/count-tokens:rawPredict") {
        return (200, JSON, br#"{"input_tokens":43}"#.to_vec());
    }
    if path.ends_with("/invoke-with-response-stream") {
        let mut frames = Vec::new();
        for event in EVENTS {
            let bytes = BASE64_STANDARD.encode(event);
            let payload = format!(r#"{{"bytes":"{bytes}"}}"#);
            write_event("chunk", payload.as_bytes(), &mut frames).unwrap();
        }
        return (200, "application/vnd.amazon.eventstream", frames);
    }
    if path.contains(":streamRawPredict") {
        return (200, "text/event-stream", events().into_bytes());
    }
    let body = json!({
        "id": "msg_f", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "text", "text": "Moon."}], "stop_reason": "end_turn",
        "stop_sequence": null, "usage": {"input_tokens": 11, "output_tokens": 7},
    });
    (200, JSON, body.to_string().into_bytes())
}

/// Counts of tokens by those who have a question of their own for it.
fn count(asked: &Asked) -> Option<(u16, &'static str, Vec<u8>)> {
    let path = asked.path();
    let (status, body) = match () {
        () if path.contains("gemini-refuses") => (
            400,
            r#"{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}"#,
        ),
        () if path.ends_with(":countTokens") => (200, r#"{"totalTokens":44}"#),
        () if path.contains("/responses/input_tokens") => (
            200,
            r#"{"object":"response.input_tokens","input_tokens":45}"#,
        ),
        () if path.ends_with("/messages/count_tokens") && asked.body.contains("\"content\":7") => (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"content: not so"}}"#,
        ),
        () if path.ends_with("/messages/count_tokens") => (200, r#"{"input_tokens":46}"#),
        () => return None,
    };
    Some((status, "application/json", body.as_bytes().to_vec()))
}

/// The events as Anthropic's own stream has them.
pub(super) fn events() -> String {
    let event = |data: &&str| {
        let parsed: Value = serde_json::from_str(data).unwrap();
        format!(
            "event: {}\ndata: {data}\n\n",
            parsed["type"].as_str().unwrap()
        )
    };
    EVENTS.iter().map(event).collect()
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 8192];
        let count = stream.read(&mut part).await.ok()?;
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let asked = Asked {
                head: head.to_owned(),
                body: body.to_owned(),
            };
            let length = asked.header("content-length");
            let length = length.map_or(0, |length| length.parse().unwrap());
            if asked.body.len() >= length {
                return Some(asked);
            }
        }
        if count == 0 {
            return None;
        }
    }
}
