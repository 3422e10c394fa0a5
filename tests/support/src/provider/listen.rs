//! Listeners, TLS and the choice between HTTP/1.1 and h2 for each connection.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Mode, Shared};
use crate::raw::zero_linger;

const BACKLOG: u32 = 4096;

/// A certificate made for this run, and its PEM for those who must trust it.
pub(crate) fn certificate() -> std::io::Result<(TlsAcceptor, String)> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(std::io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(std::io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}

/// Starts the threads and returns the address they listen on.
pub(crate) fn start(
    shared: &Arc<Shared>,
    tls: Option<&TlsAcceptor>,
    threads: usize,
) -> std::io::Result<(SocketAddr, Vec<JoinHandle<()>>)> {
    let mut addr = shared.options.addr;
    let mut handles = Vec::with_capacity(threads);
    for _ in 0..threads {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            listener(addr)?
        };
        addr = listener.local_addr()?;
        let (shared, tls) = (Arc::clone(shared), tls.cloned());
        let run = move || runtime.block_on(accept(shared, tls, listener));
        handles.push(
            std::thread::Builder::new()
                .name("fake-provider".into())
                .spawn(run)?,
        );
    }
    Ok((addr, handles))
}

fn listener(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Takes connections until the provider stops; while refusing there is no listener.
async fn accept(shared: Arc<Shared>, tls: Option<TlsAcceptor>, first: TcpListener) {
    let addr = first.local_addr().expect("a listener has an address");
    let mut open = Some(first);
    let mut mode = shared.mode.subscribe();
    let mut stopping = shared.stopping.subscribe();
    // Connections that nobody will read.
    let mut hung = Vec::new();
    let mut stopped = pin!(stopping.wait_for(|stop| *stop));
    loop {
        let now = *mode.borrow_and_update();
        if matches!(now, Mode::Refuse | Mode::Dead) {
            open = None;
        } else if open.is_none() {
            open = Some(listener(addr).expect("the port is still ours"));
        }
        let accepted = async {
            match &open {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut stopped => return,
            _ = mode.changed() => {}
            taken = accepted => match (taken, *mode.borrow()) {
                (Ok((stream, _)), Mode::Hang) => hung.push(stream),
                (Ok((stream, _)), Mode::Reset) => zero_linger(&stream),
                (Ok((stream, _)), _) => {
                    tokio::spawn(connection(Arc::clone(&shared), tls.clone(), stream));
                }
                (Err(_), _) => tokio::task::yield_now().await,
            },
        }
    }
}

/// Serves a connection until it ends, or until the provider is to be dead.
async fn connection(shared: Arc<Shared>, tls: Option<TlsAcceptor>, stream: TcpStream) {
    let mut mode = shared.mode.subscribe();
    let socket = socket2::SockRef::from(&stream).try_clone();
    tokio::select! {
        () = serve(shared, tls, stream) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Dead) => {
            // Fails only on a socket that is gone already.
            let _ = socket.map(|socket| socket.set_linger(Some(std::time::Duration::ZERO)));
        }
    }
}

async fn serve(shared: Arc<Shared>, tls: Option<TlsAcceptor>, stream: TcpStream) {
    let number = shared.meter.connection();
    // Only latency depends on it.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else {
        match speaks_h2(&stream).await {
            Some(true) => super::h2::serve(stream, shared, number).await,
            Some(false) => super::h1::serve(stream, shared, number).await,
            None => {}
        }
        return;
    };
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        super::h2::serve(stream, shared, number).await;
    } else {
        super::h1::serve(stream, shared, number).await;
    }
}

/// Whether the connection opens with h2's preface; `None` if it ends first.
async fn speaks_h2(stream: &TcpStream) -> Option<bool> {
    let mut start = [0; 3];
    loop {
        let seen = stream
            .peek(&mut start)
            .await
            .ok()
            .filter(|&seen| seen > 0)?;
        if seen == start.len() || !b"PRI".starts_with(&start[..seen]) {
            return Some(&start == b"PRI");
        }
        // A first byte or two of what may be the preface: rare, so a short nap will do.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
