//! Settings that a request brings with it, in headers and in its body; the body wins.

use std::time::Duration;

use http::HeaderMap;
use meridian_core::error::GatewayError;
use meridian_core::key::KeyOverrides;
use meridian_core::wire::fallbacks::Fallbacks;
use meridian_core::wire::field::Field;
use meridian_core::wire::span::BodySpans;

use crate::plane::request;

/// Longest deadline that a request may set.
const DEADLINE_MAX: Duration = Duration::from_secs(86_400);

/// Settings that a request brings with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// Limit of one attempt.
    pub timeout: Option<Duration>,
    /// The same for a stream, until its first content.
    pub stream_timeout: Option<Duration>,
    /// Longest silence in a started answer.
    pub stall_timeout: Option<Duration>,
    /// Longest time from arrival to the end of the answer.
    pub total_timeout: Option<Duration>,
    /// Attempts after the first.
    pub num_retries: Option<u32>,
    /// Models to try after any failure, instead of the configuration's; an empty list is none.
    pub fallbacks: Option<Vec<String>>,
    /// The same when the prompt is too long.
    pub context_window_fallbacks: Option<Vec<String>>,
    /// The same when the content is refused.
    pub content_policy_fallbacks: Option<Vec<String>>,
    /// No other model is tried, whatever asks for it.
    pub disable_fallbacks: bool,
}

impl Overrides {
    /// Reads the headers; a malformed one is refused by its name.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, GatewayError> {
        let seconds = |name| match header(headers, name)? {
            None => Ok(None),
            Some(text) => deadline(name, text.parse().unwrap_or(f64::NAN)).map(Some),
        };
        Ok(Self {
            timeout: seconds("x-litellm-timeout")?,
            stream_timeout: seconds("x-litellm-stream-timeout")?,
            stall_timeout: seconds("x-meridian-stall-timeout")?,
            total_timeout: seconds("x-meridian-total-timeout")?,
            num_retries: retries(headers)?,
            ..Self::default()
        })
    }

    /// Reads the body of a request for `model` over what the headers said.
    pub(super) fn read_body(
        &mut self,
        spans: &BodySpans,
        body: &[u8],
        model: &str,
    ) -> Result<(), GatewayError> {
        let seconds = |field: Field| match spans.number(body, field)? {
            None => Ok::<_, GatewayError>(None),
            Some(number) => deadline(field.name(), number).map(Some),
        };
        self.timeout = seconds(Field::Timeout)?.or(self.timeout);
        self.stream_timeout = seconds(Field::StreamTimeout)?.or(self.stream_timeout);
        let retries = match spans.count(body, Field::NumRetries)? {
            None => spans.count(body, Field::MaxRetries)?,
            own => own,
        };
        let retries = retries.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        self.num_retries = retries.or(self.num_retries);
        let names = |field: Field| match spans.value(body, field).map(Fallbacks::read) {
            None => Ok(None),
            Some(Ok(list)) => Ok(Some(list.for_model(model))),
            Some(Err(why)) => Err(bad(field.name(), format!("'{}' {why}", field.name()))),
        };
        self.fallbacks = names(Field::Fallbacks)?;
        self.context_window_fallbacks = names(Field::ContextWindowFallbacks)?;
        self.content_policy_fallbacks = names(Field::ContentPolicyFallbacks)?;
        let disabled = spans.flag(body, Field::DisableFallbacks)?;
        self.disable_fallbacks = disabled.unwrap_or(false);
        Ok(())
    }
}

impl Overrides {
    /// Takes what the key says about requests of `model` where the request says nothing.
    pub(super) fn inherit(&mut self, key: &KeyOverrides, model: &str) {
        self.timeout = self.timeout.or(key.timeout);
        self.stream_timeout = self.stream_timeout.or(key.stream_timeout);
        self.num_retries = self.num_retries.or(key.num_retries);
        for (own, list) in [
            (&mut self.fallbacks, &key.fallbacks),
            (
                &mut self.context_window_fallbacks,
                &key.context_window_fallbacks,
            ),
            (
                &mut self.content_policy_fallbacks,
                &key.content_policy_fallbacks,
            ),
        ] {
            let names = || list.as_ref().map(|list| list.for_model(model));
            // A key's list that says nothing about this model leaves it to the configuration.
            *own = own
                .take()
                .or_else(|| names().filter(|names| !names.is_empty()));
        }
        self.disable_fallbacks |= key.disable_fallbacks;
    }

    /// Models that the request names as fallbacks, each with its field; none when it turns them
    /// off.
    pub(super) fn named_fallbacks(&self) -> impl Iterator<Item = (Field, &str)> {
        let lists = [
            (Field::Fallbacks, &self.fallbacks),
            (
                Field::ContextWindowFallbacks,
                &self.context_window_fallbacks,
            ),
            (
                Field::ContentPolicyFallbacks,
                &self.content_policy_fallbacks,
            ),
        ];
        let named = lists.into_iter().flat_map(|(field, list)| {
            let names = list.iter().flatten();
            names.map(move |name| (field, name.as_str()))
        });
        named.filter(|_| !self.disable_fallbacks)
    }
}

/// A header's text; one that is empty says nothing.
pub(super) fn header<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, GatewayError> {
    let Some(value) = request::header(headers, name) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| bad(name, format!("'{name}' must be plain text")))?
        .trim();
    Ok((!text.is_empty()).then_some(text))
}

fn retries(headers: &HeaderMap) -> Result<Option<u32>, GatewayError> {
    const NAME: &str = "x-litellm-num-retries";
    let Some(text) = header(headers, NAME)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(bad(
            NAME,
            format!("'{NAME}' must be a number that is not negative"),
        )),
    }
}

/// A deadline from a request: positive, and at most a day.
fn deadline(name: &'static str, seconds: f64) -> Result<Duration, GatewayError> {
    let long = || (seconds.is_finite() && seconds > 0.0).then_some(DEADLINE_MAX);
    let asked = Duration::try_from_secs_f64(seconds).ok().or_else(long);
    let asked = asked.filter(|one| !one.is_zero());
    let asked = asked.map(|one| one.min(DEADLINE_MAX));
    asked.ok_or_else(|| bad(name, format!("'{name}' must be seconds, more than 0")))
}

fn bad(field: &'static str, message: String) -> GatewayError {
    GatewayError::BadField {
        field: field.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use meridian_core::ids::KeyHash;
    use meridian_core::key::KeyRecord;
    use serde_json::json;

    use super::*;

    fn from_headers(pairs: &[(&'static str, &str)]) -> Result<Overrides, GatewayError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_str(value).unwrap();
            headers.insert(HeaderName::from_static(name), value);
        }
        Overrides::from_headers(&headers)
    }

    fn read(body: &str) -> Result<Overrides, GatewayError> {
        let mut overrides = from_headers(&[("x-litellm-timeout", "9")])?;
        let spans = BodySpans::scan(body.as_bytes())?;
        overrides.read_body(&spans, body.as_bytes(), "a")?;
        Ok(overrides)
    }

    fn refused(outcome: Result<Overrides, GatewayError>) -> (String, String) {
        match outcome {
            Err(GatewayError::BadField { field, message }) => (field, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn headers_and_body_set_deadlines_retries_and_fallbacks_and_the_body_wins() {
        let from = from_headers(&[
            ("x-litellm-timeout", "1.5"),
            ("x-litellm-stream-timeout", " 2 "),
            ("x-litellm-num-retries", "3"),
        ]);
        let from = from.unwrap();
        assert_eq!(from.timeout, Some(Duration::from_millis(1_500)));
        assert_eq!(from.stream_timeout, Some(Duration::from_secs(2)));
        assert_eq!(from.num_retries, Some(3));
        assert!(from.fallbacks.is_none() && !from.disable_fallbacks);
        let body = r#"{"timeout": 1e9, "max_retries": 4, "fallbacks": [{"a": ["b"]}],
            "context_window_fallbacks": [], "disable_fallbacks": true}"#;
        let own = read(body).unwrap();
        assert_eq!(own.timeout, Some(DEADLINE_MAX));
        assert_eq!(own.num_retries, Some(4));
        assert_eq!(own.fallbacks, Some(vec!["b".to_owned()]));
        assert_eq!(own.context_window_fallbacks, Some(Vec::new()));
        assert_eq!(own.content_policy_fallbacks, None);
        assert!(own.disable_fallbacks);
        let kept = read(r#"{"timeout": null, "num_retries": 0, "max_retries": 4}"#).unwrap();
        assert_eq!(kept.timeout, Some(Duration::from_secs(9)));
        assert_eq!(kept.num_retries, Some(0));
    }

    #[test]
    fn a_malformed_setting_is_refused_by_its_name() {
        for name in [
            "x-litellm-timeout",
            "x-litellm-stream-timeout",
            "x-meridian-stall-timeout",
            "x-meridian-total-timeout",
        ] {
            for value in ["soon", "0", "-1", "nan", "inf"] {
                let (field, message) = refused(from_headers(&[(name, value)]));
                assert_eq!(field, name, "{value}");
                assert!(
                    message.ends_with("must be seconds, more than 0"),
                    "{message}"
                );
            }
        }
        for value in ["many", "-1", "1.5"] {
            let (field, _) = refused(from_headers(&[("x-litellm-num-retries", value)]));
            assert_eq!(field, "x-litellm-num-retries");
        }
        for (body, field) in [
            (r#"{"timeout": 0}"#, "timeout"),
            (r#"{"timeout": "5"}"#, "timeout"),
            (r#"{"stream_timeout": -1}"#, "stream_timeout"),
            (r#"{"num_retries": -1}"#, "num_retries"),
            (r#"{"max_retries": "2"}"#, "max_retries"),
            (r#"{"fallbacks": "b"}"#, "fallbacks"),
            (
                r#"{"content_policy_fallbacks": [1]}"#,
                "content_policy_fallbacks",
            ),
            (
                r#"{"context_window_fallbacks": {}}"#,
                "context_window_fallbacks",
            ),
            (r#"{"disable_fallbacks": "yes"}"#, "disable_fallbacks"),
        ] {
            let (found, message) = refused(read(body));
            assert_eq!(found, field, "{body}");
            assert!(message.contains(&format!("'{field}'")), "{message}");
        }
    }

    #[test]
    fn a_key_says_what_a_request_leaves_open() {
        let record: KeyRecord = serde_json::from_value(json!({
            "token": KeyHash::of_secret("k"), "key_name": "k",
            "metadata": {"disable_fallbacks": false},
            "extra": {"router_settings": {"timeout": 7, "num_retries": 5, "allowed_fails": null,
                "fallbacks": [{"a": ["k"]}], "context_window_fallbacks": [{"z": ["k"]}]}},
        }))
        .unwrap();
        let key = KeyOverrides::of(&record).unwrap();
        let asked = |body: &str| {
            let mut asked = Overrides::default();
            let spans = BodySpans::scan(body.as_bytes()).unwrap();
            asked.read_body(&spans, body.as_bytes(), "a").unwrap();
            asked.inherit(&key, "a");
            asked
        };
        let silent = asked("{}");
        assert_eq!(silent.timeout, Some(Duration::from_secs(7)));
        assert_eq!(silent.num_retries, Some(5));
        assert_eq!(silent.fallbacks, Some(vec!["k".to_owned()]));
        assert_eq!(silent.context_window_fallbacks, None);
        assert!(!silent.disable_fallbacks);
        let own = asked(r#"{"timeout": 1, "num_retries": 0, "fallbacks": []}"#);
        assert_eq!(own.timeout, Some(Duration::from_secs(1)));
        assert_eq!(
            (own.num_retries, own.fallbacks),
            (Some(0), Some(Vec::new()))
        );
    }
}
