//! Loading and refreshing against real files and a real TCP server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const NOW: WallMs = WallMs(1_000);
const LATER: WallMs = WallMs(2_000);

fn map(models: usize, input: &str) -> String {
    let entry = |at| format!(r#""m{at}": {{"input_cost_per_token": {input}}}"#);
    let entries: Vec<String> = (0..models).map(entry).collect();
    format!("{{{}}}", entries.join(","))
}

fn environment(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn the_environment_is_litellms() {
    let url = ("LITELLM_MODEL_COST_MAP_URL", "http://prices.test/map");
    let settings = PriceSettings::from_environment(&environment(&[url]));
    assert_eq!(settings.url.as_deref(), Some("http://prices.test/map"));
    let local = ("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    let settings = PriceSettings::from_environment(&environment(&[url, local]));
    let expected = PriceSettings {
        local: true,
        ..PriceSettings::default()
    };
    assert_eq!(settings, expected);
}

#[tokio::test]
async fn with_nothing_configured_the_embedded_map_is_used_and_never_refreshed() {
    let source = PriceSource::load(PriceSettings::default(), NOW).unwrap();
    assert!(source.book().find("openai", "gpt-4o", None).is_some());
    assert_eq!(source.current().origin, Origin::Embedded);
    assert!(!source.is_refreshable());
    assert_eq!(source.refresh(LATER).await.unwrap(), Refreshed::Unchanged);
}

#[tokio::test]
async fn a_file_is_taken_over_and_a_bad_one_keeps_the_old_prices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prices.json");
    std::fs::write(&path, map(10, "1e-6")).unwrap();
    let settings = PriceSettings {
        file: Some(path.clone()),
        ..PriceSettings::default()
    };
    let source = PriceSource::load(settings, NOW).unwrap();
    assert_eq!(source.refresh(LATER).await.unwrap(), Refreshed::Unchanged);

    std::fs::write(&path, map(5, "2e-6")).unwrap();
    let half = source.refresh(LATER).await.unwrap();
    assert_eq!(
        half,
        Refreshed::Replaced {
            before: 10,
            after: 5
        }
    );
    assert_eq!(source.current().at, LATER);

    for bad in [
        map(2, "2e-6"),
        "{".to_owned(),
        "[]".to_owned(),
        String::new(),
    ] {
        std::fs::write(&path, bad).unwrap();
        source.refresh(WallMs(3_000)).await.unwrap_err();
        assert_eq!(source.book().len(), 5);
    }
    std::fs::remove_file(&path).unwrap();
    source.refresh(WallMs(3_000)).await.unwrap_err();
    assert_eq!(source.current().at, LATER, "a failure changes nothing");
}

#[test]
fn a_configured_file_that_cannot_be_read_stops_the_start() {
    let settings = PriceSettings {
        file: Some(PathBuf::from("/nonexistent/prices.json")),
        ..PriceSettings::default()
    };
    assert!(matches!(
        PriceSource::load(settings, NOW),
        Err(PriceSourceError::File { .. })
    ));
}

#[tokio::test]
async fn a_url_replaces_the_embedded_map_unless_it_shrank() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/map.json", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for body in [map(3, "1e-6"), map(5_000, "1e-6")] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
        }
    });
    let settings = PriceSettings {
        url: Some(url),
        ..PriceSettings::default()
    };
    let source = PriceSource::load(settings, NOW).unwrap();
    let shrunk = source.refresh(LATER).await;
    assert!(matches!(
        shrunk,
        Err(PriceSourceError::Shrunk { after: 3, .. })
    ));
    assert_eq!(source.current().origin, Origin::Embedded);
    source.refresh(LATER).await.unwrap();
    assert_eq!(source.current().origin, Origin::Url);
    assert!(source.book().find("any", "m4999", None).is_some());
    source.refresh(LATER).await.unwrap_err();
    assert_eq!(
        source.book().len(),
        5_000,
        "an unreachable url changes nothing"
    );
}
