//! What a request says about the cache: the body's `cache` object, and the `Cache-Control` header.

use std::time::Duration;

use serde_json::Value as Json;

use crate::error::GatewayError;

/// Members of `cache`, by LiteLLM's names.
pub const CONTROLS: [&str; 6] = [
    "ttl",
    "s-maxage",
    "no-cache",
    "no-store",
    "namespace",
    "use-cache",
];
/// Another spelling of `s-maxage`.
const S_MAX_AGE: &str = "s-max-age";
/// Longest time that is accepted: ten years, and nothing overflows.
const SECONDS_MAX: f64 = 315_360_000.0;
/// Longest namespace, bytes.
const NAMESPACE_BYTES_MAX: usize = 256;
/// Where errors of the header belong.
const HEADER: &str = "cache-control";

/// What a request asks of the cache; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheControls {
    /// Do not answer from the cache.
    pub no_cache: bool,
    /// Do not keep the answer.
    pub no_store: bool,
    /// Use the cache where it is off by default.
    pub use_cache: bool,
    /// How long the answer is kept.
    pub ttl: Option<Duration>,
    /// Oldest answer that will do.
    pub max_age: Option<Duration>,
    /// A part of the tenant's cache of its own.
    pub namespace: Option<String>,
}

impl CacheControls {
    /// Reads both places, `body` being the JSON value of `cache`; what stands there wins.
    ///
    /// # Errors
    /// A control that cannot be understood, named.
    pub fn read(body: Option<&[u8]>, header: Option<&str>) -> Result<Self, GatewayError> {
        let mut controls = Self::default();
        if let Some(header) = header {
            controls.read_header(header)?;
        }
        if let Some(body) = body {
            controls.read_body(body)?;
        }
        Ok(controls)
    }

    /// A control that the request uses and that is not in `allowed`.
    pub fn first_outside(&self, allowed: &[Box<str>]) -> Option<&'static str> {
        let used = [
            self.ttl.is_some(),
            self.max_age.is_some(),
            self.no_cache,
            self.no_store,
            self.namespace.is_some(),
            self.use_cache,
        ];
        let used = CONTROLS.into_iter().zip(used);
        let mut used = used.filter_map(|(name, used)| used.then_some(name));
        used.find(|name| !allowed.iter().any(|one| **one == **name))
    }

    fn read_body(&mut self, body: &[u8]) -> Result<(), GatewayError> {
        let Ok(Json::Object(members)) = serde_json::from_slice(body) else {
            return Err(bad("cache", "expected an object"));
        };
        for (name, value) in &members {
            match name.as_str() {
                _ if value.is_null() => {}
                "no-cache" => self.no_cache = flag(name, value)?,
                "no-store" => self.no_store = flag(name, value)?,
                "use-cache" => self.use_cache = flag(name, value)?,
                "ttl" => self.ttl = Some(seconds(name, value)?),
                "s-maxage" | S_MAX_AGE => self.max_age = Some(seconds(name, value)?),
                "namespace" => self.namespace = Some(namespace(value)?),
                _ => {
                    let message = format!("unknown; known are {}", CONTROLS.join(", "));
                    return Err(bad(&format!("cache.{name}"), &message));
                }
            }
        }
        Ok(())
    }

    /// As LiteLLM reads it: `s-maxage` is how long the answer is kept. Directives that say nothing
    /// to a shared cache are passed over, as HTTP wants it.
    fn read_header(&mut self, header: &str) -> Result<(), GatewayError> {
        for directive in header.split(',') {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (directive.trim(), None),
            };
            if name.eq_ignore_ascii_case("no-cache") && value.is_none() {
                self.no_cache = true;
            } else if name.eq_ignore_ascii_case("no-store") {
                self.no_store = true;
            } else if name.eq_ignore_ascii_case("s-maxage") {
                let written = value.and_then(|value| value.parse::<u32>().ok());
                let seconds = written.map(f64::from).and_then(duration);
                let message = "s-maxage: expected whole seconds";
                self.ttl = Some(seconds.ok_or_else(|| bad(HEADER, message))?);
            }
        }
        Ok(())
    }
}

fn flag(name: &str, value: &Json) -> Result<bool, GatewayError> {
    let flag = value.as_bool();
    flag.ok_or_else(|| bad(&format!("cache.{name}"), "expected true or false"))
}

fn seconds(name: &str, value: &Json) -> Result<Duration, GatewayError> {
    let seconds = value.as_f64().and_then(duration);
    seconds.ok_or_else(|| bad(&format!("cache.{name}"), "expected seconds, at least 0"))
}

fn duration(seconds: f64) -> Option<Duration> {
    let fits = (0.0..=SECONDS_MAX).contains(&seconds);
    fits.then(|| Duration::from_secs_f64(seconds))
}

fn namespace(value: &Json) -> Result<String, GatewayError> {
    let fits = |text: &&str| (1..=NAMESPACE_BYTES_MAX).contains(&text.len());
    let message = format!("expected a text of 1 to {NAMESPACE_BYTES_MAX} bytes");
    let text = value.as_str().filter(fits);
    text.map(str::to_owned)
        .ok_or_else(|| bad("cache.namespace", &message))
}

fn bad(field: &str, message: &str) -> GatewayError {
    GatewayError::BadField {
        field: field.to_owned(),
        message: format!("{field}: {message}"),
    }
}
