//! The fake provider as a program, for load tests and for trying the gateway by hand.
//!
//! `cargo run --example fake_provider -- --port 9100`. Control: `GET /__meter?rows=1`,
//! `POST /__script {"model":"m","scripts":[{"status":500},{}]}`, `POST /__mode {"mode":"refuse"}`,
//! `POST /__reset`. Model names are scripts too: `fake+tokens=20+chunk_ms=50+reset@3`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use meridian_testkit::provider::{Options, Provider, UPSTREAM_KEY};

/// A fake OpenAI, Azure and Anthropic server that does what the model name says.
#[derive(Parser)]
struct Arguments {
    /// Port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A credential to accept; may be repeated.
    #[arg(long, default_value = UPSTREAM_KEY)]
    key: Vec<String>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Speak TLS; the certificate is written to this file.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Requests remembered for `/__meter?rows=1`; 0 counts totals only.
    #[arg(long, default_value_t = 0)]
    rows: usize,
    /// Where `replay=` finds recorded bodies.
    #[arg(long)]
    fixtures: Option<PathBuf>,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let provider = Provider::start_with(Options {
        addr: SocketAddr::from(([127, 0, 0, 1], arguments.port)),
        keys: arguments.key,
        threads: arguments.threads,
        tls: arguments.tls.is_some(),
        record: false,
        rows_max: arguments.rows,
        fixtures: arguments.fixtures,
    })?;
    if let (Some(path), Some(pem)) = (&arguments.tls, provider.ca_pem()) {
        std::fs::write(path, pem)?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", provider.url())?;
    out.flush()?;
    loop {
        std::thread::park();
    }
}
