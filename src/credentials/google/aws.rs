//! AWS as the issuer: what this machine is there, proved by a question to AWS's token service
//! that Google asks in its name.

use meridian_core::identity::AwsPlaces;
use meridian_core::sigv4::CallerIdentity;
use serde_json::Value;

use super::lacks;
use crate::clock;
use crate::credentials::aws::{self, Metadata};
use crate::credentials::fetch::{FetchError, Fetcher, text};

/// The version of the source that is known.
const VERSION: &str = "aws1";
/// What stands for the region in a URL.
const REGION: &str = "{region}";

/// A signed question as the subject token. The audience is signed too: it is good nowhere else.
pub(super) async fn subject(
    fetcher: &Fetcher,
    source: &Value,
    audience: &str,
    places: &AwsPlaces,
) -> Result<String, FetchError> {
    let version = text(source, "environment_id").unwrap_or_default();
    if version != VERSION {
        let message = format!(
            "`credential_source.environment_id` is `{version}`: only `{VERSION}` is known here"
        );
        return Err(FetchError::Wrong(message));
    }
    let url = text(source, "regional_cred_verification_url");
    let url = url.ok_or_else(|| lacks("credential_source.regional_cred_verification_url"))?;
    let metadata = Metadata {
        session_url: text(source, "imdsv2_session_token_url"),
        keys_url: text(source, "url"),
        zone_url: text(source, "region_url"),
    };
    let region = aws::region(fetcher, places, metadata).await?;
    let keys = aws::here(fetcher, places, &region, metadata).await?;
    let question = CallerIdentity {
        url: &url.replace(REGION, &region),
        region: &region,
        target: audience,
    };
    question.token(&keys, clock::now()).ok_or_else(|| {
        let what = "`credential_source.regional_cred_verification_url` names no host";
        FetchError::Wrong(what.to_owned())
    })
}
