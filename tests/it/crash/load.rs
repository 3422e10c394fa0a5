//! Clients that never stop asking, whatever happens to the gateway, and remember what they got.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meridian_testkit::raw::{BodyEnd, Conn, Request, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::dice::Dice;

/// Pause of a client that found nobody listening.
const PAUSE: Duration = Duration::from_millis(5);

/// What a client got for one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    /// The answer came to its proper end.
    pub complete: bool,
    /// Output tokens that arrived.
    pub tokens: u64,
}

/// Running clients.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<HashMap<String, Fate>>>,
}

impl Load {
    /// Starts `clients` of them.
    pub(crate) fn start(addr: SocketAddr, keys: &[String], clients: usize, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number: usize| {
            let client = Client {
                addr,
                keys: keys.to_vec(),
                number,
                dice: Dice::new(seed ^ ((number as u64 + 1) << 32)),
                stop: Arc::clone(&stop),
            };
            tokio::spawn(client.run())
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// Lets every client finish its request and tells the fate of each, by marker.
    pub(crate) async fn finish(self) -> HashMap<String, Fate> {
        self.stop.store(true, Ordering::Relaxed);
        let mut fates = HashMap::new();
        for client in self.clients {
            fates.extend(client.await.expect("a client that does not panic"));
        }
        fates
    }
}

struct Client {
    addr: SocketAddr,
    keys: Vec<String>,
    number: usize,
    dice: Dice,
    stop: Arc<AtomicBool>,
}

impl Client {
    async fn run(mut self) -> HashMap<String, Fate> {
        let mut fates = HashMap::new();
        let mut conn = None;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(mut open) = conn.take() else {
                match Conn::try_open(self.addr).await {
                    Ok(fresh) => conn = Some(fresh),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
                continue;
            };
            let marker = format!("crash-{}-{}", self.number, fates.len());
            let fate = ask(&mut open, &self.request(&marker)).await;
            match fate.complete {
                true => conn = Some(open),
                false => tokio::time::sleep(PAUSE).await,
            }
            fates.insert(marker, fate);
        }
        fates
    }

    fn request(&mut self, marker: &str) -> Request {
        let tokens = self.dice.within(1..160);
        let pace = self.dice.within(0..4);
        let head = self.dice.within(0..40);
        let stream = self.dice.within(0..3) > 0;
        let messages = self.dice.within(0..2) > 0;
        let prompt = "word ".repeat(self.dice.within(1..60) as usize);
        let script = format!("x+tokens={tokens}+chunk_ms={pace}+head_ms={head}");
        let mut body = json!({
            "stream": stream,
            "messages": [{"role": "user", "content": prompt}],
        });
        if self.dice.within(0..4) == 0 || messages {
            body["max_tokens"] = json!(tokens + self.dice.within(0..50));
        }
        let key = self.dice.pick(&self.keys).clone();
        if messages {
            body["model"] = json!(format!("cl-{script}"));
            body["metadata"] = json!({"user_id": marker});
            Request::post("/v1/messages", &body).anthropic(&key)
        } else {
            body["model"] = json!(format!("fake-{script}"));
            body["user"] = json!(marker);
            Request::post("/v1/chat/completions", &body).bearer(&key)
        }
    }
}

/// Sends one request and reads as much of its answer as comes.
pub(crate) async fn ask(conn: &mut Conn, request: &Request) -> Fate {
    if conn.send(&request.bytes()).await.is_err() {
        return Fate::default();
    }
    let Ok(head) = conn.head().await else {
        return Fate::default();
    };
    if head.status != 200 {
        let refused = conn.rest_of(head).await;
        assert_eq!(refused.status(), 503, "{}", refused.text());
        return Fate::default();
    }
    let response = conn.rest_of(head).await;
    let streams = response
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    let (tokens, ended) = if streams {
        streamed(&response)
    } else {
        whole(&response)
    };
    let complete = response.end == BodyEnd::Complete && ended;
    assert!(
        complete || response.end != BodyEnd::Complete,
        "an answer that looks whole and is none: {:?} {}",
        response.head.fields,
        response.text()
    );
    Fate { complete, tokens }
}

/// Content events of a stream, and whether it came to its end.
fn streamed(response: &Response) -> (u64, bool) {
    let (mut tokens, mut ended) = (0, false);
    for data in response.events() {
        if data == "[DONE]" {
            ended = true;
            continue;
        }
        // The last event may be cut.
        let event: Value = serde_json::from_str(&data).unwrap_or_default();
        let texts = [
            &event["choices"][0]["delta"]["content"],
            &event["delta"]["text"],
        ];
        tokens += u64::from(
            texts
                .iter()
                .any(|text| text.as_str().is_some_and(|text| !text.is_empty())),
        );
        ended |= event["type"] == "message_stop";
    }
    (tokens, ended)
}

/// Tokens that a whole answer reports.
fn whole(response: &Response) -> (u64, bool) {
    if response.end != BodyEnd::Complete {
        return (0, false);
    }
    let usage = &response.json()["usage"];
    let tokens = usage["completion_tokens"]
        .as_u64()
        .or(usage["output_tokens"].as_u64());
    (tokens.unwrap_or(0), tokens.is_some())
}
