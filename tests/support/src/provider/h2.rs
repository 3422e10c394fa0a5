//! HTTP/2 on the provider's side.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use tokio::sync::mpsc;

use super::exchange::{Decided, Received};
use super::h1::Wire;
use super::meter::{End, Progress};
use super::script::{Act, Early, Point};
use super::{Shared, control};

const WINDOW_BYTES: u32 = 1 << 20;
const STREAMS_MAX: u32 = 4096;

/// What a stream asks of its connection.
enum Order {
    GoAway,
    HangUp,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<W: Wire>(io: W, shared: Arc<Shared>, number: u64) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW_BYTES);
    builder.initial_connection_window_size(WINDOW_BYTES * 16);
    builder.max_concurrent_streams(STREAMS_MAX);
    let Ok(mut connection) = builder.handshake::<W, Bytes>(io).await else {
        return;
    };
    let (orders, mut ordered) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let stream = Stream { shared: Arc::clone(&shared), number,
                        orders: orders.clone() };
                    tokio::spawn(stream.serve(request, respond));
                }
                Some(Err(_)) | None => return,
            },
            order = ordered.recv() => match order {
                Some(Order::GoAway) => connection.graceful_shutdown(),
                Some(Order::HangUp) | None => return,
            },
        }
    }
}

struct Stream {
    shared: Arc<Shared>,
    number: u64,
    orders: mpsc::UnboundedSender<Order>,
}

/// Why writing stopped before the end.
enum Stop {
    Gone,
    Fault,
}

impl Stream {
    async fn serve(self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (parts, body) = request.into_parts();
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned();
        match self.shared.early(None) {
            Early::NeverRead => std::future::pending().await,
            Early::Answer | Early::AnswerThenRead => {
                self.answer(&parts, &target, Bytes::new(), &mut respond)
                    .await;
                // Let the answer out first: a reset clears what is queued.
                tokio::time::sleep(Duration::from_millis(20)).await;
                respond.send_reset(Reason::NO_ERROR);
                return;
            }
            Early::No => {}
        }
        let Some(body) = read_body(body).await else {
            return;
        };
        if target.starts_with("/__") {
            let method = parts.method.as_str();
            let (status, text) = control::answer(&self.shared, method, &target, &body);
            let response = http::Response::builder().status(status).body(());
            if let Ok(mut send) = respond.send_response(response.unwrap_or_default(), false) {
                // A client that went away needs no answer.
                let _ = send.send_data(text.into(), true);
            }
            return;
        }
        self.answer(&parts, &target, body, &mut respond).await;
    }

    async fn answer(
        &self,
        parts: &http::request::Parts,
        target: &str,
        body: Bytes,
        respond: &mut SendResponse<Bytes>,
    ) {
        let header = |name: &str| {
            let value = parts.headers.get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let received = Received {
            connection: self.number,
            h2: true,
            method: parts.method.as_str(),
            target,
            head: rendered(parts, target),
            body,
            header: &header,
        };
        let decided = self.shared.decide(&received);
        let mut exchange = Exchange {
            decided: &decided,
            orders: &self.orders,
            progress: Progress::default(),
        };
        let end = match exchange.run(respond).await {
            Ok(()) => End::Complete,
            Err(Stop::Gone) => End::ClientReset,
            Err(Stop::Fault) => End::Faulted,
        };
        let usage = decided.answer.usage;
        self.shared
            .meter
            .finish(decided.seq, usage, exchange.progress, end);
    }
}

/// An answer under way.
struct Exchange<'a> {
    decided: &'a Decided,
    orders: &'a mpsc::UnboundedSender<Order>,
    progress: Progress,
}

impl Exchange<'_> {
    async fn run(&mut self, respond: &mut SendResponse<Bytes>) -> Result<(), Stop> {
        let (script, answer) = (&self.decided.script, &self.decided.answer);
        wait(script.head_ms, |cx| respond.poll_reset(cx)).await?;
        if let Some(act) = self.struck(Point::Head) {
            match act {
                Act::Stall => wait(u64::MAX, |cx| respond.poll_reset(cx)).await?,
                Act::Close => {
                    self.order(Order::HangUp);
                    // Held until then, or letting go of the stream would reset it first.
                    wait(u64::MAX, |cx| respond.poll_reset(cx)).await?;
                }
                Act::GoAway => {
                    self.order(Order::GoAway);
                    // Let that out first.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    self.order(Order::HangUp);
                    wait(u64::MAX, |cx| respond.poll_reset(cx)).await?;
                }
                _ => respond.send_reset(Reason::INTERNAL_ERROR),
            }
            return Err(Stop::Fault);
        }
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        if !answer.stream {
            response = response.header("content-length", answer.body.bytes.len());
        }
        let response = response.body(()).map_err(|_| Stop::Fault)?;
        let empty = answer.body.bytes.is_empty() && self.struck(Point::Piece(0)).is_none();
        let mut send = respond
            .send_response(response, empty)
            .map_err(|_| Stop::Gone)?;
        if !empty {
            wait(script.first_ms, |cx| send.poll_reset(cx)).await?;
            self.write_body(&mut send).await?;
        }
        if self.struck(Point::After) == Some(Act::GoAway) {
            self.order(Order::GoAway);
        } else if self.struck(Point::After).is_some() {
            // Let the answer out first.
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.order(Order::HangUp);
        }
        Ok(())
    }

    async fn write_body(&mut self, send: &mut SendStream<Bytes>) -> Result<(), Stop> {
        let (script, body) = (&self.decided.script, &self.decided.answer.body);
        let recut = !script.cuts.is_empty() || script.every > 0;
        let last = body.pieces.len().saturating_sub(1);
        // A fault beyond the last piece strikes at the end.
        let beyond = match script.fault.map(|fault| fault.at) {
            Some(Point::Piece(index)) if index > last || body.pieces.is_empty() => index,
            _ => usize::MAX,
        };
        let struck_late =
            self.struck(Point::End).is_some() || self.struck(Point::Piece(beyond)).is_some();
        for index in 0..body.pieces.len() {
            if index > 0 && index % script.batch.max(1) == 0 {
                wait(script.chunk_ms.max(u64::from(recut)), |cx| {
                    send.poll_reset(cx)
                })
                .await?;
            }
            self.fault(send, Point::Piece(index)).await?;
            let piece = Bytes::copy_from_slice(body.piece(index));
            if self.struck(Point::Mid(index)).is_some() {
                write(send, piece.slice(..piece.len() / 2), false).await?;
                self.fault(send, Point::Mid(index)).await?;
            }
            let more = struck_late || !script.trailers.is_empty();
            let size = piece.len();
            write(send, piece, index == last && !more).await?;
            self.progress.pieces += 1;
            self.progress.tokens += u64::from(body.pieces[index].tokens);
            self.progress.bytes += size;
        }
        self.fault(send, Point::Piece(beyond)).await?;
        self.fault(send, Point::End).await?;
        if struck_late {
            write(send, Bytes::new(), true).await?;
        } else if !script.trailers.is_empty() {
            let mut trailers = http::HeaderMap::new();
            for (name, value) in &script.trailers {
                let name = http::HeaderName::from_bytes(name.as_bytes());
                if let (Ok(name), Ok(value)) = (name, value.parse()) {
                    trailers.insert(name, value);
                }
            }
            send.send_trailers(trailers).map_err(|_| Stop::Gone)?;
        }
        Ok(())
    }

    fn struck(&self, point: Point) -> Option<Act> {
        let fault = self
            .decided
            .script
            .fault
            .filter(|fault| fault.at == point)?;
        let content = matches!(fault.act, Act::Truncate | Act::Error | Act::Malformed);
        (!content).then_some(fault.act)
    }

    fn order(&self, order: Order) {
        // A connection that is gone needs no order.
        let _ = self.orders.send(order);
    }

    async fn fault(&mut self, send: &mut SendStream<Bytes>, point: Point) -> Result<(), Stop> {
        match self.struck(point) {
            None => return Ok(()),
            Some(Act::GoAway) => {
                self.order(Order::GoAway);
                return Ok(());
            }
            Some(Act::Stall) => wait(u64::MAX, |cx| send.poll_reset(cx)).await?,
            Some(Act::Close) => {
                // Let what was sent out first.
                tokio::time::sleep(Duration::from_millis(5)).await;
                self.order(Order::HangUp);
                // The stream ends with its connection.
                wait(u64::MAX, |cx| send.poll_reset(cx))
                    .await
                    .unwrap_or_default();
            }
            Some(_) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                send.send_reset(Reason::INTERNAL_ERROR);
            }
        }
        Err(Stop::Fault)
    }
}

/// Waits `ms` unless the client resets the stream first.
async fn wait(
    ms: u64,
    mut poll_reset: impl FnMut(
        &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Reason, h2::Error>>,
) -> Result<(), Stop> {
    if ms == 0 {
        return Ok(());
    }
    let reset = std::future::poll_fn(|cx| poll_reset(cx).map(|_| ()));
    if ms == u64::MAX {
        reset.await;
        return Err(Stop::Gone);
    }
    tokio::select! {
        () = reset => Err(Stop::Gone),
        () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(()),
    }
}

/// Writes under flow control.
async fn write(send: &mut SendStream<Bytes>, mut bytes: Bytes, last: bool) -> Result<(), Stop> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| {
            if send.poll_reset(cx).is_ready() {
                return std::task::Poll::Ready(None);
            }
            send.poll_capacity(cx)
        });
        let Some(Ok(room)) = room.await else {
            return Err(Stop::Gone);
        };
        let part = bytes.split_to(room.min(bytes.len()));
        let ends = last && bytes.is_empty();
        send.send_data(part, ends).map_err(|_| Stop::Gone)?;
        if ends {
            return Ok(());
        }
    }
    match last {
        true => send.send_data(Bytes::new(), true).map_err(|_| Stop::Gone),
        false => Ok(()),
    }
}

async fn read_body(mut body: RecvStream) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part.ok()?;
        // Giving back capacity fails only on a dead stream, which the next read tells.
        let _ = body.flow_control().release_capacity(part.len());
        whole.extend_from_slice(&part);
    }
    Some(whole.freeze())
}

/// The head in the form of HTTP/1.1, for records.
fn rendered(parts: &http::request::Parts, target: &str) -> Bytes {
    let mut text = format!("{} {target} HTTP/2\r\n", parts.method).into_bytes();
    if let Some(authority) = parts.uri.authority() {
        text.extend_from_slice(format!("host: {authority}\r\n").as_bytes());
    }
    for (name, value) in &parts.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.into()
}
