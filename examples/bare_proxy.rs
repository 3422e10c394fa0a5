//! A pingora-proxy that does nothing but pass requests on: the peer that benches compare with.
//!
//! `bare_proxy LISTEN_PORT UPSTREAM_PORT`, one worker thread.

#![expect(
    clippy::expect_used,
    reason = "a program for benches: a wrong argument ends it"
)]

use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session};

struct Bare {
    upstream: u16,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            ("127.0.0.1", self.upstream),
            false,
            String::new(),
        )))
    }
}

fn main() {
    let mut ports = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u16>().expect("a port"));
    let (listen, upstream) = (
        ports.next().expect("listen port"),
        ports.next().expect("upstream"),
    );
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 4096,
        ..Default::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = pingora_proxy::http_proxy_service(&server.configuration, Bare { upstream });
    proxy.add_tcp(&format!("127.0.0.1:{listen}"));
    server.add_service(proxy);
    server.run_forever();
}
