//! A provider that does as little as possible: one write per answer, so that the proxies are the
//! bottleneck and not it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running upstream.
pub(crate) struct Upstream {
    /// Where it listens on loopback.
    pub port: u16,
}

/// What a request asks for, told by its model.
enum Ask {
    Json,
    /// Chunks, 20 ms apart.
    Stream(usize),
    /// One chunk, then silence.
    Idle,
}

/// Starts it on the current runtime.
pub(crate) async fn start() -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
    Upstream { port }
}

async fn serve(mut stream: TcpStream) {
    let answer = json_answer();
    let mut buffer = Vec::with_capacity(8192);
    while let Some(ask) = read_request(&mut stream, &mut buffer).await {
        let sent = match ask {
            Ask::Json => stream.write_all(&answer).await,
            Ask::Stream(chunks) => send_stream(&mut stream, chunks).await,
            Ask::Idle => send_stream_head(&mut stream).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Ask> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        let Some(end) = find(buffer, b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| {
            line.strip_prefix("content-length:")?
                .trim()
                .parse::<usize>()
                .ok()
        });
        if buffer.len() < end + 4 + length.unwrap_or(0) {
            continue;
        }
        let body = &buffer[end + 4..];
        let ask = match () {
            () if find(body, b"bench-idle").is_some() => Ask::Idle,
            () if find(body, b"bench-stream").is_some() => Ask::Stream(super::CHUNKS),
            () => Ask::Json,
        };
        return Some(ask);
    }
}

fn json_answer() -> Vec<u8> {
    let text = "x".repeat(640);
    let body = format!(
        r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":200,"completion_tokens":160,"total_tokens":360}}}}"#
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                           transfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn delta() -> Vec<u8> {
    chunk(
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":\
         1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\
         \"hello there \"},\"finish_reason\":null}],\"usage\":null}\n\n",
    )
}

async fn send_stream_head(stream: &mut TcpStream) -> std::io::Result<()> {
    stream
        .write_all(&[STREAM_HEAD.as_bytes(), &delta()].concat())
        .await
}

async fn send_stream(stream: &mut TcpStream, chunks: usize) -> std::io::Result<()> {
    stream.write_all(STREAM_HEAD.as_bytes()).await?;
    let delta = delta();
    for _ in 0..chunks {
        stream.write_all(&delta).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let tail = "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"choices\":\
                [{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\
                \"chatcmpl-bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":200,\
                \"completion_tokens\":160,\"total_tokens\":360}}\n\ndata: [DONE]\n\n";
    stream
        .write_all(&[chunk(tail), b"0\r\n\r\n".to_vec()].concat())
        .await
}

/// Where `needle` begins in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
