//! Random requests that look like ways around an authorization check.

use base64::Engine as _;

use crate::dice::Dice;

/// The credentials that a probe can carry.
#[derive(Clone, Debug)]
pub(super) struct Callers {
    pub(super) master: String,
    pub(super) key: String,
    /// May call `/v1/models` and nothing else.
    pub(super) narrow: String,
    pub(super) blocked: String,
}

/// Whose credential it is, decided when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Master,
    Key,
    Narrow,
    /// Blocked, unknown, no virtual key, or written so that nobody can read it.
    Nobody,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) fields: Vec<(String, String)>,
    /// Credential of each header that carries one, by lower-case name in order of sending.
    pub(super) carried: Vec<(&'static str, Who)>,
}

const METHODS: [&str; 8] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
];
/// Paths of the table, with the method that they answer.
const PATHS: [(&str, &str); 16] = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/chat/completions"),
    ("POST", "/openai/deployments/fake-x/chat/completions"),
    ("POST", "/engines/fake-x/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/embeddings"),
    ("GET", "/v1/models"),
    ("GET", "/models"),
    ("POST", "/key/generate"),
    ("POST", "/key/block"),
    ("GET", "/key/list"),
    ("GET", "/global/spend"),
    ("GET", "/spend/logs"),
    ("POST", "/global/spend/reset"),
    ("GET", "/health/liveliness"),
    ("GET", "/health/readiness"),
];
const HOSTS: [&str; 8] = [
    "localhost:4000",
    "evil.example",
    "127.0.0.1",
    "localhost/health/liveliness",
    "localhost/health/liveliness?x=",
    "localhost#",
    "[::1]:4000",
    "admin",
];
const EXTRA: [(&str, &str); 14] = [
    ("X-Original-URL", "/health/liveliness"),
    ("X-Rewrite-URL", "/health/liveliness"),
    ("X-HTTP-Method-Override", "GET"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Host", "localhost"),
    ("X-Forwarded-Prefix", "/health"),
    ("X-Forwarded-Proto", "https"),
    ("Forwarded", "for=127.0.0.1;host=localhost"),
    ("X-User-Role", "proxy_admin"),
    ("x-litellm-user-role", "proxy_admin"),
    ("Content-Type", "text/plain; charset=\"a;b\""),
    ("Accept", "*/*, ,;q=x"),
    ("Referer", "http://localhost/key/generate"),
    ("Cookie", "token=sk-nobody; role=admin"),
];
const CARRIERS: [&str; 6] = [
    "x-litellm-api-key",
    "authorization",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
];

impl Probe {
    /// Rolls one.
    pub(super) fn roll(dice: &mut Dice, callers: &Callers) -> Self {
        let &(own, path) = dice.pick(&PATHS);
        let method = match dice.within(0..6) {
            0 => *dice.pick(&METHODS),
            _ => own,
        };
        let mut probe = Self {
            method,
            target: target(dice, path),
            fields: Vec::new(),
            carried: Vec::new(),
        };
        let host = match probe.target.starts_with("http://") {
            // Another Host beside a URL is no valid request.
            true => "localhost".to_owned(),
            false => (*dice.pick(&HOSTS)).to_owned(),
        };
        probe.fields.push(("Host".to_owned(), host));
        for _ in 0..dice.within(0..3) {
            let &(name, value) = dice.pick(&EXTRA);
            probe.fields.push((name.to_owned(), value.to_owned()));
        }
        for _ in 0..*dice.pick(&[0, 1, 1, 1, 1, 1, 2, 3]) {
            probe.carry(dice, callers);
        }
        probe
    }

    /// Adds a credential in one of the headers that carry one.
    fn carry(&mut self, dice: &mut Dice, callers: &Callers) {
        let name = *dice.pick(&CARRIERS);
        let (text, who) = match dice.within(0..8) {
            0 | 1 => (callers.master.clone(), Who::Master),
            2 | 3 => (callers.key.clone(), Who::Key),
            4 => (callers.narrow.clone(), Who::Narrow),
            5 => (callers.blocked.clone(), Who::Nobody),
            6 => (damaged(dice, &callers.key), Who::Nobody),
            _ => ("sk-nobody-0123456789".to_owned(), Who::Nobody),
        };
        let (value, who) = if name == "authorization" {
            written(dice, &text, who)
        } else if dice.within(0..3) == 0 {
            (format!("Bearer {text}"), who)
        } else {
            (text, who)
        };
        self.fields.push((recased(dice, name), value));
        self.carried.push((name, who));
    }

    /// The request's bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            text += &format!("{name}: {value}\r\n");
        }
        // Enough to be read as a request, too little to be served.
        text += "Content-Length: 2\r\n\r\n{}";
        text.into_bytes()
    }
}

/// `Authorization`: with a scheme it names its caller, without one nobody.
fn written(dice: &mut Dice, text: &str, who: Who) -> (String, Who) {
    match dice.within(0..8) {
        0 => (text.to_owned(), Who::Nobody),
        1 => (format!("bearer {text}"), who),
        2 => (format!("BEARER   {text}"), who),
        3 => {
            let encoded = base64::prelude::BASE64_STANDARD.encode(format!("user:{text}"));
            (format!("Basic {encoded}"), who)
        }
        4 => (format!("Digest {text}"), Who::Nobody),
        _ => (format!("Bearer {text}"), who),
    }
}

/// A credential that is nearly right.
fn damaged(dice: &mut Dice, key: &str) -> String {
    match dice.within(0..5) {
        0 => key[..key.len() - 1].to_owned(),
        1 => format!("{key}x"),
        2 => key.to_uppercase(),
        3 => format!("{key},{key}"),
        _ => format!("{key}%20"),
    }
}

fn recased(dice: &mut Dice, name: &str) -> String {
    match dice.within(0..3) {
        0 => name.to_uppercase(),
        1 => name.to_owned(),
        _ => name
            .bytes()
            .map(|byte| match dice.within(0..2) {
                0 => char::from(byte.to_ascii_uppercase()),
                _ => char::from(byte),
            })
            .collect(),
    }
}

/// A path as an attacker would write it.
fn target(dice: &mut Dice, path: &str) -> String {
    let at = dice.within(1..path.len() as u64) as usize;
    let byte = path.as_bytes()[at];
    let (before, after) = (&path[..at], &path[at + 1..]);
    let public = "/health/liveliness";
    match dice.within(0..26) {
        0 => format!("{before}%{byte:02x}{after}"),
        1 => format!("{before}%{byte:02X}{after}"),
        2 => format!("{before}%25{byte:02x}{after}"),
        3 => format!("{before}{}{after}", char::from(byte).to_ascii_uppercase()),
        4 => format!("{before}/{}{after}", char::from(byte)),
        5 => format!("/{path}"),
        6 => format!("{path}/"),
        7 => format!("{path}//"),
        8 => format!("{public}/..{path}"),
        9 => format!("{public}/..;{path}"),
        10 => format!("{public}%2f..{path}"),
        11 => format!("/.{path}"),
        12 => format!("{path};{public}"),
        13 => format!("{path}?x={public}"),
        14 => format!("{path}?"),
        15 => format!("{path}?key=sk-nobody&a=%00"),
        16 => format!("{path}%00"),
        17 => format!("{path}%20"),
        18 => path.replacen('/', "\\", 2),
        19 => path.replace('/', "%2F"),
        20 => format!("{path}.json"),
        21 => format!("{path}%3f{public}"),
        22 => format!("http://localhost{path}"),
        _ => path.to_owned(),
    }
}
