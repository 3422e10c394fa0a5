//! A new process takes the place of a running one (`kill -USR2`): it opens everything beside it,
//! gets its listening socket, and only when it serves does the old one let nobody in any more.
//!
//! The two talk over a socket that the new one has as its standard input. Whatever goes wrong
//! before the last word leaves the old one serving as if nothing had been tried.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::door::Door;
use super::supervisor::WATCHDOG_PID_VARIABLE;
use crate::clock;
use crate::escrow::Identity;
use crate::journal::Drain;
use crate::state::State;

/// Set for a process that takes over, whose standard input is the line to the one that serves.
const VARIABLE: &str = "MERIDIAN_TAKES_OVER";
/// Longest time until the new process serves; a store that is slow to load is waited for.
const START_MAX: Duration = Duration::from_secs(300);
/// Longest wait of the new process for an answer of the old one.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Longest wait for management calls that run, and for the records of what they changed.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// Longest wait for rights in budgets to arrive at the new process. It is let in without: what it
/// needs it asks for.
const RIGHTS_MAX: Duration = Duration::from_secs(20);
/// Between two looks who the new process is.
const LOOK: Duration = Duration::from_millis(20);

/// What is said on the line, one byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// The new one is about to read the store: nothing may change it meanwhile.
    Hold,
    /// Nothing does, and all that was spent is in it.
    Held,
    /// The new one has all but the socket.
    Ready,
    /// Here it is, beside this byte.
    Socket,
    /// The new one serves.
    Serving,
}

impl Word {
    const ALL: [Self; 5] = [
        Self::Hold,
        Self::Held,
        Self::Ready,
        Self::Socket,
        Self::Serving,
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Hold => b'h',
            Self::Held => b'H',
            Self::Ready => b'r',
            Self::Socket => b's',
            Self::Serving => b'S',
        }
    }

    fn of(byte: u8) -> io::Result<Self> {
        let known = Self::ALL.into_iter().find(|word| word.byte() == byte);
        known.ok_or_else(|| io::Error::other("the other process speaks another language"))
    }
}

/// The process that served before this one, seen from this one.
#[derive(Debug)]
pub(super) struct Predecessor {
    line: UnixStream,
}

impl Predecessor {
    /// The one that started this process to take its place; `None` after a usual start.
    ///
    /// # Errors
    /// When the line to it cannot be used.
    pub(super) fn of(env: &HashMap<String, String>) -> io::Result<Option<Self>> {
        if !env.contains_key(VARIABLE) {
            return Ok(None);
        }
        let line = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
        line.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Some(Self { line }))
    }

    /// Returns when nothing changes the store but requests that run.
    pub(super) fn hold(&self) -> io::Result<()> {
        self.say(Word::Hold)?;
        let mut byte = [0];
        (&self.line).read_exact(&mut byte)?;
        match Word::of(byte[0])? {
            Word::Held => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Its listening socket.
    pub(super) fn socket(&self) -> io::Result<TcpListener> {
        self.say(Word::Ready)?;
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [IoSliceMut::new(&mut byte)];
        rustix::net::recvmsg(&self.line, &mut bytes, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        let mut sockets = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.into_iter().next(),
            _ => None,
        });
        let socket = sockets.next();
        socket
            .map(TcpListener::from)
            .ok_or_else(|| io::Error::other("the process before sent no socket"))
    }

    /// From now on the other one lets nobody in.
    pub(super) fn serving(&self) -> io::Result<()> {
        self.say(Word::Serving)
    }

    fn say(&self, word: Word) -> io::Result<()> {
        (&self.line).write_all(&[word.byte()])
    }
}

fn unexpected(word: Word) -> io::Error {
    io::Error::other(format!("unexpected word {word:?}"))
}

/// Starts this program anew, as it now lies on disk, with the same arguments and environment, and
/// helps it until it serves.
///
/// # Errors
/// When it does not come to serve; it is ended then, and this process goes on.
pub(super) async fn replace(state: &Arc<State>, drain: &Drain, door: &Door) -> io::Result<u32> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let line = tokio::net::UnixStream::from_std(ours)?;
    let mut child = start(theirs)?;
    let pid = child.id().unwrap_or_default();
    tracing::info!(pid, "a new process is started to take over");
    let talk = talk((line, pid), state, drain, door);
    let talked = tokio::time::timeout(START_MAX, talk).await;
    state.turnstile.release();
    match talked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(()) => Ok(pid),
        Err(error) => {
            // It may be gone already, and no other process has its number before it is waited for.
            let _ = child.start_kill();
            let status = child.wait().await;
            let what = "the new process does not take over; this one goes on";
            tracing::error!(%error, ?status, "{what}");
            Err(error)
        }
    }
}

fn start(line: UnixStream) -> io::Result<Child> {
    let mut words = std::env::args_os();
    let program = words.next().ok_or(io::ErrorKind::NotFound)?;
    Command::new(program)
        .args(words)
        .env(VARIABLE, "1")
        .env_remove(WATCHDOG_PID_VARIABLE)
        .stdin(Stdio::from(OwnedFd::from(line)))
        .spawn()
}

async fn talk(
    (mut line, pid): (tokio::net::UnixStream, u32),
    state: &Arc<State>,
    drain: &Drain,
    door: &Door,
) -> io::Result<()> {
    loop {
        match Word::of(line.read_u8().await?)? {
            Word::Hold => {
                let held = state.turnstile.hold(HOLD_MAX).await && drain.flush(HOLD_MAX).await;
                if !held {
                    return Err(io::Error::other("the store does not come to rest"));
                }
                send(&line, Word::Held, None).await?;
            }
            Word::Ready => {
                give_rights(state, pid).await;
                send(&line, Word::Socket, Some(door.listener())).await?;
            }
            Word::Serving => return Ok(()),
            other => return Err(unexpected(other)),
        }
    }
}

/// The new process gets a part of this one's rights, where nodes share budgets: its first requests
/// would wait for them, on a busy machine longer than they may.
async fn give_rights(state: &State, pid: u32) {
    let Some(rights) = &state.rights else {
        return;
    };
    let until = clock::mono() + RIGHTS_MAX;
    let to = loop {
        if let Some(actor) = Identity::of_process(state.journal.life(), pid) {
            break Some(actor);
        }
        if clock::mono() >= until {
            break None;
        }
        tokio::time::sleep(LOOK).await;
    };
    let given = match to {
        Some(to) => rights.hand_over(to, until).await,
        None => false,
    };
    if !given {
        tracing::warn!(
            pid,
            "the new process has no rights in budgets yet; it asks for them"
        );
    }
}

/// One byte, and perhaps a socket; neither ever fills the line.
async fn send(
    line: &tokio::net::UnixStream,
    word: Word,
    socket: Option<&TcpListener>,
) -> io::Result<()> {
    line.writable().await?;
    let byte = [word.byte()];
    let sockets: Vec<_> = socket.iter().map(|socket| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("no room for a socket"));
    }
    let bytes = [IoSlice::new(&byte)];
    rustix::net::sendmsg(line, &bytes, &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}
