//! Answers of the management API: LiteLLM's error envelope in its several spellings.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use meridian_core::endpoint::Dialect;
use meridian_core::error::GatewayError;
use serde_json::{Value, json};

/// A management call that was refused. Holds no secret.
#[derive(Debug, PartialEq)]
pub enum AdminError {
    /// An authentication or authorization error of the gateway.
    Gateway(GatewayError),
    /// LiteLLM's envelope with its own words.
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// `error.type`.
        kind: &'static str,
        /// `error.param`; LiteLLM writes the string `None` where it has none.
        param: &'static str,
        /// `error.message`.
        message: String,
    },
    /// The body does not fit the route's fields: FastAPI's `{"detail": [...]}`, status 422.
    Invalid(Vec<Value>),
    /// FastAPI's own `{"detail": "..."}`.
    Detail(StatusCode, &'static str),
    /// A bare JSON string, which LiteLLM's metrics route answers with.
    Text(StatusCode, String),
}

impl AdminError {
    /// LiteLLM's `HTTPException(detail={"error": text})`: the message is Python's repr of it.
    pub fn detail(status: StatusCode, text: impl AsRef<str>) -> Self {
        let message = format!("{{'error': {}}}", python_text(text.as_ref()));
        Self::plain(status, message)
    }

    /// LiteLLM's `HTTPException(detail=text)` on routes of the common error path.
    pub fn plain(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Refused {
            status,
            kind: "internal_server_error",
            param: "None",
            message: message.into(),
        }
    }

    /// LiteLLM's `ProxyException` with `type: bad_request_error`.
    pub fn bad_request(param: &'static str, message: impl Into<String>) -> Self {
        Self::Refused {
            status: StatusCode::BAD_REQUEST,
            kind: "bad_request_error",
            param,
            message: message.into(),
        }
    }

    /// `/key/update` reports every refusal as an authentication error; the status stays.
    #[must_use]
    pub fn as_auth_error(self) -> Self {
        match self {
            Self::Refused {
                status,
                kind: "internal_server_error",
                param,
                message,
            } if status.is_client_error() => Self::Refused {
                status,
                kind: "auth_error",
                param,
                message,
            },
            other => other,
        }
    }

    /// The store or something else behind the gateway failed; the caller may try again.
    pub fn unavailable() -> Self {
        Self::Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "no_db_connection",
            param: "None",
            message: "The store is not available. Try again in 5 seconds.".to_owned(),
        }
    }

    /// A report that took too long, or whose turn did not come.
    pub fn late() -> Self {
        Self::Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "timeout_error",
            param: "None",
            message: "This report takes too long beside what else is read now. Try again in 5 \
                seconds, or ask for less: fewer days, one key, a smaller page."
                .to_owned(),
        }
    }

    /// Text that a bulk answer shows for one failed item.
    pub fn text(&self) -> String {
        match self {
            Self::Gateway(error) => error.to_string(),
            Self::Refused { message, .. } => message.clone(),
            Self::Invalid(problems) => Value::from(problems.clone()).to_string(),
            Self::Detail(_, text) => (*text).to_owned(),
            Self::Text(_, text) => text.clone(),
        }
    }
}

impl From<GatewayError> for AdminError {
    fn from(error: GatewayError) -> Self {
        Self::Gateway(error)
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let json_answer = |status: StatusCode, body: Value| (status, Json(body)).into_response();
        match self {
            Self::Gateway(error) => gateway_answer(&error),
            Self::Refused {
                status,
                kind,
                param,
                message,
            } => {
                let code = status.as_u16().to_string();
                let error = json!({"message": message, "type": kind, "param": param, "code": code});
                let mut answer = json_answer(status, json!({"error": error}));
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    let seconds = header::HeaderValue::from_static("5");
                    answer.headers_mut().insert(header::RETRY_AFTER, seconds);
                }
                answer
            }
            Self::Invalid(problems) => json_answer(
                StatusCode::UNPROCESSABLE_ENTITY,
                json!({"detail": problems}),
            ),
            Self::Detail(status, text) => json_answer(status, json!({"detail": text})),
            Self::Text(status, text) => json_answer(status, Value::String(text)),
        }
    }
}

fn gateway_answer(error: &GatewayError) -> Response {
    let reply = error.reply();
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = reply.body(Dialect::OpenAi, "");
    let mut answer = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(seconds) = reply.retry_after_s {
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

/// A string as Python's `repr` prints it: single quotes unless it holds one and no double quote.
fn python_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter == quote => {
                out.push('\\');
                out.push(letter);
            }
            letter => out.push(letter),
        }
    }
    out.push(quote);
    out
}

/// A number as Python prints a float: `1.0`, `0.5`, `nan`.
pub(super) fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    // Rust's Debug keeps the `.0` and writes `inf` as Python does.
    format!("{number:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_printed_as_python_prints_a_dict() {
        let error = AdminError::detail(StatusCode::BAD_REQUEST, "No keys provided for update");
        assert_eq!(error.text(), "{'error': 'No keys provided for update'}");
        let quoted = AdminError::detail(StatusCode::BAD_REQUEST, "must start with 'sk-'.");
        assert_eq!(quoted.text(), "{'error': \"must start with 'sk-'.\"}");
        assert_eq!(python_text("a'b\"c\\"), "'a\\'b\"c\\\\'");
        assert_eq!(python_float(1.0), "1.0");
    }
}
