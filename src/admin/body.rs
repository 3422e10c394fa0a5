//! Request bodies, bounded in size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use meridian_core::error::GatewayError;
use serde_json::Map;

use super::declared;
use super::fields::{Fields, object_of};
use super::reply::AdminError;

/// Largest body of a management call.
pub(super) const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest time a caller may take to send it.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// The bytes of a body.
pub(super) struct RawBody(pub(super) Bytes);

/// The declared fields of a JSON body; others are ignored. An empty body is an empty object: what
/// is missing is then named.
pub(super) struct JsonBody(pub(super) Fields);

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = AdminError;

    async fn from_request(request: Request, _: &S) -> Result<Self, AdminError> {
        read(request.into_body(), BODY_BYTES_MAX).await.map(Self)
    }
}

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = AdminError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AdminError> {
        let operation = declared::of_request(request.extensions());
        let RawBody(body) = RawBody::from_request(request, state).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Fields::of_object(Map::new())));
        }
        let mut object = object_of(&body)?;
        if let Some(operation) = operation {
            operation.keep_fields(&mut object);
        }
        Ok(Self(Fields::of_object(object)))
    }
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, AdminError> {
    let bytes = axum::body::to_bytes(body, bytes_max);
    match tokio::time::timeout(BODY_TIME_MAX, bytes).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(AdminError::Gateway(GatewayError::BodyTooLarge {
            limit_bytes: bytes_max as u64,
        })),
        Err(_) => Err(AdminError::Gateway(GatewayError::BodyTimeout)),
    }
}
