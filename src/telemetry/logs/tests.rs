//! Tests of the log: what a reader of the output sees.

use std::sync::Mutex;

use super::*;

/// An output that the test can read.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(json: bool, filter: &str, log: impl FnOnce()) -> Vec<String> {
    let captured = Captured::default();
    let options = LogOptions {
        json,
        filter: filter.into(),
    };
    let (subscriber, logs) = subscriber(&options, Box::new(captured.clone())).unwrap();
    tracing::subscriber::with_default(subscriber, log);
    logs.flush();
    let bytes = captured.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn through_bridge(level: log::Level, target: &str, message: &str) {
    use log::Log;
    let bridge = Bridge(LogTracer::new());
    let mut record = log::Record::builder();
    record.level(level).target(target);
    bridge.log(&record.args(format_args!("{message}")).build());
}

#[test]
fn json_lines_are_json_and_hold_no_credential() {
    let lines = written(true, "info", || {
        tracing::info!(
            url = "https://u:CANARY@h/v1?key=CANARY",
            "key sk-CANARY\nnext"
        );
        tracing::error!(headers = ?[("x-api-key", "CANARY")], "failed");
    });
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["timestamp"].is_string() && value["target"].is_string());
        assert!(!line.contains("CANARY"), "{line}");
    }
    let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(first["level"], "INFO");
    assert_eq!(first["message"], "key ***\nnext");
    assert_eq!(first["url"], "https://***@h/v1?key=***");
}

#[test]
fn at_trace_libraries_stay_at_info() {
    let lines = written(false, "trace", || {
        tracing::trace!(target: "h2::codec", "frame with a prompt");
        tracing::debug!(target: "meridianish::x", "not ours");
        tracing::info!(target: "h2::codec", "shown one");
        tracing::trace!(target: "meridian::plane", "shown two");
        through_bridge(log::Level::Debug, "pingora_core::server", "bootstrap");
        through_bridge(log::Level::Info, "pingora_core::server", "shown three");
    });
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, text) in lines.iter().zip(["shown one", "shown two", "shown three"]) {
        assert!(line.ends_with(text), "{line}");
    }
    assert!(lines[2].contains("pingora_core::server: "), "{}", lines[2]);
}

#[test]
fn a_clients_broken_connection_is_not_our_error() {
    let log = || {
        let app = "pingora_core::apps";
        through_bridge(log::Level::Error, app, "HTTP server fails to read: x");
        let listening = "pingora_core::services::listening";
        through_bridge(log::Level::Error, listening, "Downstream handshake error x");
        through_bridge(log::Level::Error, listening, "Accept() failed: x");
    };
    let lines = written(false, "info", log);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("ERROR") && lines[0].contains("Accept() failed"));
    assert_eq!(written(false, "meridian=debug,error", log).len(), 3);
}

#[test]
fn a_flood_is_ten_lines_and_one_that_counts_the_rest() {
    for json in [true, false] {
        let lines = written(json, "info", || {
            for at in 0..1_000 {
                tracing::error!(attempt = at, "store is down, sk-CANARY");
            }
            for _ in 0..50 {
                tracing::info!("requests are not limited");
            }
        });
        // A slow machine may take more than a second for the loop.
        let shown = lines.iter().filter(|line| line.contains("ERROR")).count();
        assert!(shown % 10 == 0 && shown < 500, "{shown}");
        let infos = lines.iter().filter(|line| line.contains("INFO")).count();
        assert_eq!(infos, 50);
        let like = "lines like: store is down, ***";
        let notes = lines.iter().filter(|line| line.contains(like));
        let notes = notes.map(|line| {
            let (_, count) = line.split_once("suppressed ").unwrap();
            count.split_once(' ').unwrap().0.parse::<usize>().unwrap()
        });
        assert_eq!(shown + notes.sum::<usize>(), 1_000);
        assert!(!lines.concat().contains("CANARY"));
    }
}

#[test]
fn an_output_that_stalls_does_not_stall_the_caller() {
    /// Blocks until its test ends.
    struct Stalled(std::sync::mpsc::Receiver<()>);
    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (release, released) = std::sync::mpsc::channel();
    let options = LogOptions {
        json: false,
        filter: "info".into(),
    };
    let (subscriber, logs) = subscriber(&options, Box::new(Stalled(released))).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..20_000 {
            tracing::info!("line");
        }
    });
    // Ends although nothing can be written.
    drop(logs);
    drop(release);
}

#[test]
fn a_panic_is_counted_and_its_text_passes_the_redaction() {
    let options = crate::telemetry::metrics::MetricsOptions::default();
    let metrics = Arc::new(crate::telemetry::metrics::Metrics::new(&options).unwrap());
    let lines = written(false, "info", || {
        let hook = std::panic::take_hook();
        crate::telemetry::report_panics(metrics.clone());
        let caught = std::panic::catch_unwind(|| panic!("key sk-CANARY"));
        std::panic::set_hook(hook);
        assert!(caught.is_err());
    });
    let line = lines.iter().find(|line| line.contains("panic: key ***"));
    assert!(
        line.is_some_and(|line| line.contains("logs/tests.rs")),
        "{lines:?}"
    );
    let page = String::from_utf8(metrics.render(&Default::default())).unwrap();
    assert!(!page.contains("meridian_panics_total 0"), "not counted");
}

#[test]
fn options_follow_the_environment() {
    let of = |env: &[(&str, &str)], terminal| {
        let env = env
            .iter()
            .map(|(name, text)| ((*name).into(), (*text).into()));
        let options = LogOptions::of(&env.collect(), false, terminal);
        (options.json, options.filter)
    };
    assert_eq!(of(&[], true), (false, QUIET_LIBRARIES.into()));
    assert_eq!(of(&[], false), (true, QUIET_LIBRARIES.into()));
    assert!(of(&[("JSON_LOGS", "True")], true).0);
    assert_eq!(of(&[("LITELLM_LOG", "WARNING")], true).1, "warn");
    let debug = of(&[("LITELLM_LOG", "DEBUG")], true).1;
    assert_eq!(debug, "info,meridian=debug,meridian_core=debug");
    let both = [("LITELLM_LOG", "DEBUG"), ("RUST_LOG", "error")];
    assert_eq!(of(&both, true).1, "error");
    let bad = LogOptions {
        json: false,
        filter: "meridian=loud".into(),
    };
    assert!(subscriber(&bad, Box::new(std::io::sink())).is_err());
}

#[test]
fn names_of_scopes_are_redacted_where_they_are_to_be() {
    assert_eq!(Whose("team: a", false).to_string(), "team: a");
    assert_eq!(Whose("team: a", true).to_string(), "redacted");
}
