//! A second, slow opinion on routing, written from the page and not from the code.
//!
//! It normalises by a byte table, splits paths into steps and tries every way to give a parameter
//! its steps.

use crate::error::GatewayError;
use crate::routes::{Access, ROWS, Row, Target};

/// A seeded sequence (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// The next number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % end
    }

    /// One of them.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

pub(super) type Decision = Result<(Target, Access, &'static str, Option<String>), GatewayError>;

/// The decision for a request.
pub(super) fn decide(method: &str, raw: &str) -> Decision {
    let path = raw.split('?').next().unwrap_or("");
    if path.len() > 2_048 {
        return Err(GatewayError::RouteNotFound);
    }
    let path = decode(
        path,
        |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte),
        false,
    );
    let path = path.ok_or(GatewayError::RouteNotFound)?;
    let mut best: Option<(usize, &str, Option<String>)> = None;
    for row in ROWS {
        for pattern in row.paths {
            let Some(parameter) = shape(pattern, &path) else {
                continue;
            };
            let fixed = pattern.find('{').map_or(usize::MAX, |open| {
                pattern.len() - (pattern.find('}').unwrap_or(open) - open + 1)
            });
            if best.as_ref().is_none_or(|(most, ..)| fixed > *most) {
                best = Some((fixed, *pattern, parameter));
            }
        }
    }
    let (_, pattern, parameter) = best.ok_or(GatewayError::RouteNotFound)?;
    let answers = |row: &&Row| {
        let methods: Vec<&str> = row.methods.iter().map(|method| method.as_str()).collect();
        let head = method == "HEAD" && row.access == Access::Public && methods.contains(&"GET");
        row.paths.contains(&pattern) && (head || methods.contains(&method))
    };
    let row = ROWS.iter().find(answers);
    let row = row.ok_or(GatewayError::MethodNotAllowed)?;
    let pattern: &'static str = row.paths.iter().find(|path| **path == pattern).unwrap();
    Ok((row.target, row.access, pattern, parameter))
}

/// `Some(parameter)` when the path has the pattern's shape.
fn shape(pattern: &str, path: &str) -> Option<Option<String>> {
    let wanted: Vec<&str> = pattern.split('/').collect();
    let steps: Vec<&str> = path.split('/').collect();
    let Some(hole) = wanted.iter().position(|step| step.starts_with('{')) else {
        return (wanted == steps).then_some(None);
    };
    let after = wanted.len() - hole - 1;
    if steps.len() < wanted.len() {
        return None;
    }
    let (front, rest) = steps.split_at(hole);
    let (middle, back) = rest.split_at(rest.len() - after);
    if front != &wanted[..hole] || back != &wanted[hole + 1..] {
        return None;
    }
    let model = wanted[hole] == "{model}";
    if !model && middle.len() != 1 {
        return None;
    }
    let text = decode(&middle.join("/"), |_| true, true)?;
    let good = if model {
        good_model(&text)
    } else {
        good_id(&text)
    };
    good.then_some(Some(text))
}

fn good_model(text: &str) -> bool {
    let bad = ['\\', '?', '#', '%', ';'];
    let steps: Vec<&str> = text.split('/').collect();
    !text.is_empty()
        && text.len() <= 256
        && !text.contains(bad)
        && !text.chars().any(char::is_control)
        && !steps.contains(&"")
        && !steps.contains(&".")
        && !steps.contains(&"..")
}

fn good_id(text: &str) -> bool {
    let allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:=+@,";
    text.len() <= 1_024
        && text.chars().all(|letter| allowed.contains(letter))
        && text.chars().any(|letter| letter != '.')
}

/// Decodes escapes whose byte passes; the rest is kept, or refused when `strict`.
fn decode(text: &str, pass: fn(u8) -> bool, strict: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let value = hex
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match value {
            Some(value) if pass(value) => {
                out.push(value);
                at += 3;
            }
            None if strict && bytes[at] == b'%' => return None,
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// A request of the table, damaged up to four times.
pub(super) fn mutated_request(dice: &mut Dice) -> (String, String) {
    let row = &ROWS[dice.below(ROWS.len())];
    let names = [
        "gpt-4o",
        "azure/gpt-4o",
        "id-1",
        "resp_a=",
        "..",
        "a%2Fb",
        "chat",
        "é",
        "",
    ];
    let mut path = dice.pick(row.paths).to_owned();
    if let (Some(open), Some(close)) = (path.find('{'), path.find('}')) {
        path.replace_range(open..=close, dice.pick(&names));
    }
    let mut method = row.methods[0].as_str().to_owned();
    for _ in 0..dice.below(5) {
        mutate(dice, &mut method, &mut path);
    }
    (method, path)
}

fn mutate(dice: &mut Dice, method: &mut String, path: &mut String) {
    let pieces = [
        "/",
        "//",
        "/.",
        "/..",
        "/../",
        ";a=b",
        "%2F",
        "%2f",
        "%2e",
        "%2E%2E",
        "%00",
        "%zz",
        "%",
        "?key=sk-1",
        "#",
        "\\",
        " ",
        "é",
        "{model}",
        "/v1",
        "/cancel",
        "/chat/completions",
        "%252F",
    ];
    let methods = [
        "GET", "POST", "HEAD", "DELETE", "OPTIONS", "PUT", "get", "GET ", "CONNECT",
    ];
    let mut at = dice.below(path.len() + 1);
    while !path.is_char_boundary(at) {
        at -= 1;
    }
    match dice.below(8) {
        0 => *method = dice.pick(&methods).to_owned(),
        1 => path.insert_str(at, dice.pick(&pieces)),
        2 => path.truncate(at),
        3 => *path = path.to_uppercase(),
        4 => path.push_str(dice.pick(&["/", "?x=/v1/models", "#x", "%20"])),
        5 => {
            let kept = path.split_off(at);
            let Some(first) = kept.chars().next() else {
                return;
            };
            // Escapes one character, which is the same path only when that was unreserved.
            for byte in first.to_string().bytes() {
                path.push_str(&format!("%{byte:02x}"));
            }
            path.push_str(&kept[first.len_utf8()..]);
        }
        6 => *path = format!("http://evil.example{path}"),
        _ => *path = path.replacen("/v1", dice.pick(&["", "/v1", "/V1", "/v2"]), 1),
    }
}
