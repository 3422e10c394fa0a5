//! Writing one answer: framing, pauses and the faults of the wire.

use super::super::exchange::Decided;
use super::super::meter::{End, Progress};
use super::super::script::{Act, Framing, Point};
use super::read::Head;
use super::{Conn, Gone, Wire};

/// An answer under way.
pub(super) struct Exchange<'a> {
    decided: &'a Decided,
    framing: Framing,
    without_body: bool,
    pub(super) keep_alive: bool,
    pub(super) progress: Progress,
    /// Bytes ready to be written.
    out: Vec<u8>,
    /// Counted once `out` is written.
    pending: Progress,
}

/// Why writing stopped before the end.
enum Stop {
    Gone(Gone),
    Fault,
}

impl From<Gone> for Stop {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

impl<'a> Exchange<'a> {
    pub(super) fn new(decided: &'a Decided, head: &Head) -> Self {
        let script = &decided.script;
        let usual = match decided.answer.stream {
            true => Framing::Chunked,
            false => Framing::Length,
        };
        let framing = script.framing.unwrap_or(usual);
        let goes_away = script.fault.is_some_and(|fault| fault.act == Act::GoAway);
        let status = decided.answer.status;
        Self {
            decided,
            framing,
            without_body: head.method() == "HEAD" || status == 204 || status == 304,
            keep_alive: head.keep_alive && framing != Framing::Close && !goes_away,
            progress: Progress::default(),
            out: Vec::with_capacity(decided.answer.body.bytes.len() + 512),
            pending: Progress::default(),
        }
    }

    /// Writes the answer as scripted and says how that ended.
    pub(super) async fn run<W: Wire>(&mut self, conn: &mut Conn<W>) -> End {
        match self.write_all(conn).await {
            Ok(()) => End::Complete,
            Err(Stop::Gone(gone)) => gone.into(),
            Err(Stop::Fault) => End::Faulted,
        }
    }

    async fn write_all<W: Wire>(&mut self, conn: &mut Conn<W>) -> Result<(), Stop> {
        let script = &self.decided.script;
        conn.pause(script.head_ms).await?;
        self.fault(conn, Point::Head).await?;
        self.push_head();
        if script.first_ms > 0 {
            self.flush(conn).await?;
            conn.pause(script.first_ms).await?;
        }
        if !self.without_body {
            self.write_body(conn).await?;
        }
        self.flush(conn).await?;
        self.fault(conn, Point::After).await
    }

    async fn write_body<W: Wire>(&mut self, conn: &mut Conn<W>) -> Result<(), Stop> {
        let (script, body) = (&self.decided.script, &self.decided.answer.body);
        // Cut pieces have to leave one by one, or the network would mend them.
        let recut = !script.cuts.is_empty() || script.every > 0;
        for index in 0..body.pieces.len() {
            if index > 0 && index % script.batch.max(1) == 0 {
                self.flush(conn).await?;
                conn.pause(script.chunk_ms.max(u64::from(recut))).await?;
            }
            self.fault(conn, Point::Piece(index)).await?;
            let piece = body.piece(index);
            if self.strikes(Point::Mid(index)) {
                self.push_half(piece);
                self.flush(conn).await?;
                self.fault(conn, Point::Mid(index)).await?;
            }
            self.push_piece(piece, body.pieces[index].tokens);
        }
        for index in body.pieces.len()..=self.last_struck() {
            // A fault beyond the last piece strikes at the end.
            self.fault(conn, Point::Piece(index)).await?;
        }
        self.fault(conn, Point::End).await?;
        if self.framing == Framing::Chunked {
            self.out.extend_from_slice(b"0\r\n");
            for (name, value) in &script.trailers {
                self.out
                    .extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            self.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn last_struck(&self) -> usize {
        match self.decided.script.fault.map(|fault| fault.at) {
            Some(Point::Piece(index)) => index,
            _ => 0,
        }
    }

    fn push_head(&mut self) {
        let (script, answer) = (&self.decided.script, &self.decided.answer);
        for status in &script.interim {
            let line = format!("HTTP/1.1 {status} Interim\r\nx-interim: {status}\r\n\r\n");
            self.out.extend_from_slice(line.as_bytes());
        }
        let line = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
        self.out.extend_from_slice(line.as_bytes());
        for (name, value) in &answer.headers {
            for part in [name.as_str(), ": ", value.as_str(), "\r\n"] {
                self.out.extend_from_slice(part.as_bytes());
            }
        }
        let length = answer.body.bytes.len();
        match self.framing {
            Framing::Length => {
                let line = format!("content-length: {length}\r\n");
                self.out.extend_from_slice(line.as_bytes());
            }
            Framing::Chunked => self
                .out
                .extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::Close => {}
        }
        if !script.trailers.is_empty() {
            let names: Vec<&str> = script
                .trailers
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            let line = format!("trailer: {}\r\n", names.join(", "));
            self.out.extend_from_slice(line.as_bytes());
        }
        if !self.keep_alive {
            self.out.extend_from_slice(b"connection: close\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn push_piece(&mut self, piece: &[u8], tokens: u32) {
        if self.framing == Framing::Chunked && !piece.is_empty() {
            self.out
                .extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            self.out.extend_from_slice(piece);
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.out.extend_from_slice(piece);
        }
        self.pending.pieces += 1;
        self.pending.tokens += u64::from(tokens);
        self.pending.bytes += piece.len();
    }

    /// Half a piece under a chunk size that promises all of it.
    fn push_half(&mut self, piece: &[u8]) {
        let half = &piece[..piece.len() / 2];
        if self.framing == Framing::Chunked {
            self.out
                .extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        self.out.extend_from_slice(half);
        self.pending.bytes += half.len();
    }

    async fn flush<W: Wire>(&mut self, conn: &mut Conn<W>) -> Result<(), Stop> {
        if self.out.is_empty() {
            return Ok(());
        }
        conn.write(&self.out).await?;
        self.out.clear();
        let done = std::mem::take(&mut self.pending);
        self.progress.pieces += done.pieces;
        self.progress.tokens += done.tokens;
        self.progress.bytes += done.bytes;
        Ok(())
    }

    fn strikes(&self, point: Point) -> bool {
        let fault = self.decided.script.fault;
        let content = |act| matches!(act, Act::Truncate | Act::Error | Act::Malformed);
        fault.is_some_and(|fault| fault.at == point && !content(fault.act))
    }

    async fn fault<W: Wire>(&mut self, conn: &mut Conn<W>, point: Point) -> Result<(), Stop> {
        let act = match self.decided.script.fault {
            Some(fault) if self.strikes(point) => fault.act,
            _ => return Ok(()),
        };
        if act == Act::GoAway {
            return Ok(());
        }
        if act == Act::BadChunk {
            self.out.extend_from_slice(b"zz\r\n{}\r\n");
        }
        self.flush(conn).await?;
        match act {
            Act::Stall => return Err(Stop::Gone(conn.gone().await)),
            Act::Reset => {
                // The peer reads what was sent only if it gets it before the reset.
                conn.pause(2).await?;
                conn.reset_at_drop();
            }
            _ => {}
        }
        Err(Stop::Fault)
    }
}

fn reason(status: u16) -> &'static str {
    let known = http::StatusCode::from_u16(status).ok();
    known
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Status")
}
