//! The GET against a real TCP server that answers with given bytes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LIMITS: GetLimits = GetLimits {
    body_bytes_max: 1000,
    timeout: Duration::from_secs(10),
};

/// Answers one connection after the other with the given bytes; gives back the base URL.
async fn server(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let read = stream.read_buf(&mut request).await.unwrap();
                assert_ne!(read, 0, "request ended early");
            }
            let text = String::from_utf8(request).unwrap().to_lowercase();
            assert!(text.starts_with("get /"), "{text}");
            assert!(text.contains("accept-encoding: identity"), "{text}");
            stream.write_all(&answer).await.unwrap();
        }
    });
    base
}

fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn redirect(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

async fn fetch(answers: Vec<Vec<u8>>, limits: GetLimits) -> Result<Bytes, GetError> {
    let base = server(answers).await;
    get(&Connector::new(None), &format!("{base}/map?x=1"), limits).await
}

#[tokio::test]
async fn a_body_arrives_whole_in_every_framing() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = format!("{chunked}3\r\n{{\"a\r\n4\r\n\":1}}\r\n0\r\n\r\n");
    for answer in [ok("{\"a\":1}"), chunked.into_bytes()] {
        let body = fetch(vec![answer], LIMITS).await.unwrap();
        assert_eq!(body.as_ref(), b"{\"a\":1}");
    }
}

#[tokio::test]
async fn redirects_are_followed_within_the_scheme_and_only_three() {
    let body = fetch(vec![redirect("/b"), ok("b")], LIMITS).await.unwrap();
    assert_eq!(body.as_ref(), b"b");
    let loops = fetch(vec![redirect("/again"); 4], LIMITS).await;
    assert!(matches!(loops, Err(GetError::TooManyRedirects)));
    let other_scheme = fetch(vec![redirect("https://127.0.0.1/x")], LIMITS).await;
    assert!(matches!(other_scheme, Err(GetError::BadRedirect)));
    let nowhere = fetch(vec![redirect("")], LIMITS).await;
    assert!(matches!(nowhere, Err(GetError::BadRedirect)));
}

#[tokio::test]
async fn what_is_not_a_whole_plain_200_is_an_error() {
    let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
    let missing = fetch(vec![missing], LIMITS).await;
    assert!(matches!(missing, Err(GetError::Status(404))));
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec();
    let cut = fetch(vec![cut], LIMITS).await;
    assert!(matches!(cut, Err(GetError::Transport(_))), "{cut:?}");
    let big = fetch(vec![ok(&"x".repeat(1001))], LIMITS).await;
    assert!(matches!(big, Err(GetError::TooLarge(1000))));
    let gzip = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_vec();
    let gzip = fetch(vec![gzip], LIMITS).await;
    assert!(matches!(gzip, Err(GetError::Encoded(_))));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let limits = GetLimits {
        timeout: Duration::from_millis(50),
        ..LIMITS
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let silent = get(&Connector::new(None), &url, limits).await;
    assert!(matches!(silent, Err(GetError::Timeout(_))));
}

#[test]
fn urls_are_taken_apart_and_secrets_stay_out_of_errors() {
    let target = Target::parse("https://[::1]:8443/a?b=c").unwrap();
    assert_eq!(
        (target.host.as_str(), target.port, target.path.as_str()),
        ("::1", 8443, "/a?b=c")
    );
    assert_eq!(Target::parse("http://example.test").unwrap().port, 80);
    for url in ["ftp://x/", "/path", "", "http://", "https:///x"] {
        assert!(Target::parse(url).is_err(), "{url}");
    }
    for url in ["https://user:secret@host/", "https://ho st/?key=secret"] {
        let error = Target::parse(url).unwrap_err();
        assert_eq!(error.to_string(), "not a usable url");
    }
}

#[test]
fn redirects_lead_up_but_never_down() {
    let from = Target::parse("http://a.test:81/b/c/d?e").unwrap();
    let head = |location: &str| {
        let mut head = ResponseHeader::build(302, None).unwrap();
        head.insert_header(header::LOCATION, location).unwrap();
        head
    };
    let caller = Within::Caller(Caller {
        refuses: &|_, _| None,
        takes: &|_| Ok(()),
    });
    for (location, to) in [
        ("x?y#z", "http://a.test:81/b/c/x?y"),
        ("./x/", "http://a.test:81/b/c/x/"),
        ("../../../x", "http://a.test:81/x"),
        ("..", "http://a.test:81/b/"),
        ("?y=a:b", "http://a.test:81/b/c/d?y=a:b"),
        ("/x", "http://a.test:81/x"),
        ("//b.test/x", "http://b.test/x"),
        ("https://b.test/x", "https://b.test/x"),
    ] {
        let target = from.redirected(&head(location), &caller).unwrap();
        assert_eq!(target, Target::parse(to).unwrap(), "{location}");
    }
    let above = Target::parse("https://a.test/b").unwrap();
    for (from, location) in [
        (&above, "http://a.test/secret"),
        (&from, "mailto:secret@a.test"),
        (&from, "https://user:secret@a.test/"),
        (&from, "#secret"),
    ] {
        let error = from.redirected(&head(location), &caller).unwrap_err();
        assert_eq!(error.to_string(), "redirect cannot be followed");
    }
    let operators = from.redirected(&head("https://b.test/x"), &Within::Anywhere);
    assert!(operators.is_err());
}
