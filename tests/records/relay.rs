//! A wire between a node and a server that can be cut, or that swallows what is sent on it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Passes everything on.
    Whole,
    /// Is cut: connections end, new ones end at once.
    Cut,
    /// Swallows everything; nobody is told.
    BlackHole,
}

/// The wire. Dropping it cuts it.
pub(crate) struct Relay {
    addr: SocketAddr,
    wire: watch::Sender<Wire>,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (wire, state) = watch::channel(Wire::Whole);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if state.has_changed().is_err() {
                    // Nobody holds the wire any more.
                    return;
                }
                tokio::spawn(carry(client, server, state.clone()));
            }
        });
        Self { addr, wire }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<Wire>) {
    let wire = *state.borrow_and_update();
    let mut server = match wire {
        Wire::Cut => return,
        Wire::BlackHole => None,
        Wire::Whole => TcpStream::connect(server).await.ok(),
    };
    let (mut up, mut down) = (vec![0; 1 << 14], vec![0; 1 << 14]);
    loop {
        let whole = *state.borrow() == Wire::Whole;
        let from_server = async {
            match &mut server {
                Some(server) => server.read(&mut down).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() || *state.borrow() == Wire::Cut {
                return;
            },
            read = client.read(&mut up) => match read {
                Ok(count) if count > 0 => if let (true, Some(server)) = (whole, &mut server)
                    && server.write_all(&up[..count]).await.is_err()
                {
                    return;
                },
                _ => return,
            },
            read = from_server => match read {
                Ok(count) if count > 0 => if whole && client.write_all(&down[..count]).await.is_err() {
                    return;
                },
                _ => return,
            },
        }
    }
}
