//! TLS for the test clients: trusts exactly one certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Connects to 127.0.0.1 as `localhost`, offering one ALPN protocol.
pub(crate) async fn connect(
    addr: SocketAddr,
    ca_pem: &str,
    alpn: &[u8],
) -> (TlsStream<TcpStream>, socket2::Socket) {
    let certificate = CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a PEM");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(addr).await.expect("a connection");
    tcp.set_nodelay(true).expect("a live socket");
    let socket = socket2::SockRef::from(&tcp)
        .try_clone()
        .expect("a live socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await;
    (stream.expect("a TLS handshake"), socket)
}
