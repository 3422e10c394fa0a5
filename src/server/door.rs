//! The socket that requests come in by: opened here or taken over from the process before, handed
//! to the process after, and closed while requests that came in by it go on.

use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use meridian_core::config::Config;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, Server, ShutdownWatch};
use pingora_core::services::Service as Offered;
use pingora_core::services::listening::Service;
use tokio::sync::watch;

use super::StartError;
use super::supervisor::Pulse;
use crate::cli::{Role, ServeArgs};
use crate::plane::Front;
use crate::state::State;

/// Buffers of a client's connection. Reads go straight to the session's own buffer: Pingora's
/// default of another 64 KiB would be most of what an idle stream costs. Head and body of a usual
/// answer leave in one write.
const LISTENER_BUFFERS: L4BufferSettings = L4BufferSettings {
    read: Some(0),
    write: Some(4 * 1024),
};

/// Where requests, or with `--role admin` management calls, come in.
pub(super) fn address(args: &ServeArgs, config: &Config) -> String {
    if args.role == Role::Admin {
        let bind = config.meridian.admin_bind;
        let host = if args.host == "0.0.0.0" {
            bind.ip().to_string()
        } else {
            args.host.clone()
        };
        return join_address(&host, args.port.unwrap_or(bind.port()));
    }
    join_address(&args.host, args.port.unwrap_or(4000))
}

fn join_address(host: &str, port: u16) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Pingora panics on an address it cannot bind; a person gets a sentence instead.
pub(super) fn check_address(address: &str) -> Result<(), StartError> {
    let bound = std::net::TcpListener::bind(address);
    bound.map(drop).map_err(|error| StartError::Listen {
        address: address.to_owned(),
        error,
    })
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Door {
    address: String,
    listener: TcpListener,
    closed: watch::Sender<bool>,
    pulse: Arc<Pulse>,
}

impl Door {
    /// Listens on an address, or on the socket that a process before this one listened on.
    pub(super) fn open(
        address: &str,
        taken_over: Option<TcpListener>,
    ) -> Result<Arc<Self>, StartError> {
        let failed = |error| StartError::Listen {
            address: address.to_owned(),
            error,
        };
        let opened = match taken_over {
            Some(listener) => Ok(listener),
            None => TcpListener::bind(address),
        };
        let listener = opened.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Arc::new(Self {
            address: address.to_owned(),
            listener,
            closed: watch::Sender::new(false),
            pulse: Arc::default(),
        }))
    }

    /// The socket, to be shared with another process.
    pub(super) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Lets nobody in any more by this process; whoever shares the socket still may.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Whether the threads behind it are alive.
    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }
}

/// What is done once, when requests are let in.
pub(super) type Opened = Box<dyn FnOnce() + Send>;

/// The data plane behind its door, as Pingora runs it.
struct Entrance {
    plane: Service<Front>,
    door: Arc<Door>,
    opened: Mutex<Option<Opened>>,
}

#[async_trait]
impl Offered for Entrance {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        match (&fds, self.door.listener.try_clone()) {
            (Some(fds), Ok(listener)) => {
                let fd = listener.into_raw_fd();
                fds.lock().add(self.door.address.clone(), fd);
            }
            (None, _) => tracing::error!("the server has no place for sockets"),
            (_, Err(error)) => tracing::error!(%error, "the listening socket cannot be used"),
        }
        let (plane, door) = (&mut self.plane, &self.door);
        let closed = door.closed.subscribe();
        let opened = self
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(opened) = opened {
            opened();
        }
        let served = plane.start_service(fds, closed, listeners_per_fd);
        let until_shutdown = async {
            // An error means that the server is gone, which is the same.
            let _in_order = shutdown.wait_for(|shutdown| *shutdown).await.is_ok();
            door.close();
            std::future::pending().await
        };
        let serving = async {
            served.await;
            // Requests go on when nobody is let in any more, and so does the pulse.
            std::future::pending().await
        };
        tokio::select! {
            () = serving => {}
            () = until_shutdown => {}
            () = door.pulse.beat() => {}
        }
    }

    fn name(&self) -> &str {
        self.plane.name()
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.door.address.clone()])
    }
}

/// Pingora's server with the data plane behind a door. `opened` is called when requests are let
/// in.
pub(super) fn server(
    state: &Arc<State>,
    door: &Arc<Door>,
    args: &ServeArgs,
    opened: Opened,
) -> Result<Server, StartError> {
    let threads = args
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let conf = ServerConf {
        threads: threads.unwrap_or(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let plane = Front::new(Arc::clone(state));
    let mut service = Service::new("data plane".to_owned(), plane);
    let mut endpoint = ListenerConfig::tcp(&door.address).l4_buffer(LISTENER_BUFFERS);
    match &state.rules.load().config.meridian.tls {
        None => {}
        Some(tls) => {
            let (cert, key) = (&tls.cert, &tls.key);
            let failed = |error| StartError::Tls(format!("{cert}, {key}: {error}"));
            let mut settings = TlsSettings::intermediate(cert, key).map_err(failed)?;
            settings.enable_h2();
            endpoint = endpoint.tls(settings);
        }
    }
    service.add_listener(endpoint);
    server.add_service(Entrance {
        plane: service,
        door: Arc::clone(door),
        opened: Mutex::new(Some(opened)),
    });
    Ok(server)
}
