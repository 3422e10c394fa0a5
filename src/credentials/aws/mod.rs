//! Keys of AWS: the first credential from one of many places, then the role that is taken with it.

mod machine;
mod profile;
mod sts;

use std::future::Future;
use std::pin::Pin;

use meridian_core::identity::{Aws, AwsChain, AwsSource};
use meridian_core::ids::Secret;
use meridian_core::sigv4::AwsCredentials;
use meridian_core::time::WallMs;
use serde_json::Value;

use super::fetch::{Credential, FetchError, Fetcher, Token, text};
use profile::Profile;

pub(super) use sts::element;

/// Profiles that may name each other as sources.
const PROFILES_MAX: usize = 5;

/// Keys, and their end.
#[derive(Clone, Debug)]
struct Keys {
    keys: AwsCredentials,
    expires_at: Option<WallMs>,
}

/// Where the token service is.
#[derive(Clone, Copy)]
struct Sts<'a> {
    fetcher: &'a Fetcher,
    url: &'a str,
    region: &'a str,
}

/// The keys of an identity.
pub(super) async fn fetch(fetcher: &Fetcher, aws: &Aws) -> Result<Token, FetchError> {
    let sts = Sts {
        fetcher,
        url: &aws.sts,
        region: &aws.region,
    };
    let first = match &aws.source {
        AwsSource::Keys(keys) => fixed(keys.clone()),
        AwsSource::Profile(places) => {
            let name = &places.profile;
            let profile = profile::find(&places.files, name).await?.ok_or_else(|| {
                FetchError::Wrong(format!("there is no profile `{name}` in AWS's files"))
            })?;
            of_profile(sts, places, profile, PROFILES_MAX).await?
        }
        AwsSource::WebIdentity(web) => sts::web_identity(sts, web).await?,
        AwsSource::Chain(chain) => of_chain(sts, chain).await?,
    };
    let last = match &aws.assume {
        None => first,
        Some(role) => sts::assume(sts, &first.keys, role).await?,
    };
    Ok(Token::until(Credential::Aws(last.keys), last.expires_at))
}

fn fixed(keys: AwsCredentials) -> Keys {
    Keys {
        keys,
        expires_at: None,
    }
}

/// The first place that has something decides: what it has and cannot give is an error, never a
/// reason to go on as somebody else.
async fn of_chain(sts: Sts<'_>, chain: &AwsChain) -> Result<Keys, FetchError> {
    if let Some(keys) = &chain.keys {
        return Ok(fixed(keys.clone()));
    }
    if let Some(web) = &chain.web {
        return sts::web_identity(sts, web).await;
    }
    if let Some(profile) = profile::find(&chain.files, &chain.profile).await? {
        return of_profile(sts, chain, profile, PROFILES_MAX).await;
    }
    if let Some(container) = &chain.container {
        return machine::container(sts.fetcher, container).await;
    }
    if let Some(url) = &chain.imds {
        return machine::instance(sts.fetcher, url).await;
    }
    let places = "AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, profiles, \
        AWS_CONTAINER_CREDENTIALS_*, the instance's metadata (turned off)";
    Err(FetchError::Nowhere(places.to_owned()))
}

/// Boxed: profiles name profiles.
fn of_profile<'a>(
    sts: Sts<'a>,
    places: &'a AwsChain,
    profile: Profile,
    left: usize,
) -> Pin<Box<dyn Future<Output = Result<Keys, FetchError>> + Send + 'a>> {
    Box::pin(async move {
        let name = profile.name.clone();
        if left == 0 {
            let message = format!("profile `{name}`: too many `source_profile` in a row");
            return Err(FetchError::Wrong(message));
        }
        if let Some(role) = profile.role() {
            if let Some(web) = profile.web_identity() {
                return sts::web_identity(sts, &web).await;
            }
            let first = match profile.get("source_profile") {
                Some(source) if source == name => fixed(profile.keys().ok_or_else(|| {
                    FetchError::Wrong(format!("profile `{name}` names itself and has no keys"))
                })?),
                Some(source) => {
                    let found = profile::find(&places.files, source).await?;
                    let found = found.ok_or_else(|| {
                        FetchError::Wrong(format!("profile `{name}`: no profile `{source}`"))
                    })?;
                    of_profile(sts, places, found, left - 1).await?
                }
                None => machine::of_word(sts.fetcher, places, &profile).await?,
            };
            return sts::assume(sts, &first.keys, &role).await;
        }
        if let Some(keys) = profile.keys() {
            return Ok(fixed(keys));
        }
        if let Some(command) = profile.get("credential_process") {
            return machine::process(command).await;
        }
        let message = format!(
            "profile `{name}` has neither keys, nor `role_arn`, nor `credential_process` (SSO \
             is not read)"
        );
        Err(FetchError::Wrong(message))
    })
}

/// Keys as the metadata servers and `credential_process` write them.
fn of_json(value: &Value, whose: &'static str) -> Result<Keys, FetchError> {
    let of = |name| text(value, name).map(str::to_owned);
    let id = of("AccessKeyId").zip(of("SecretAccessKey"));
    let (access_key_id, secret) = id.ok_or(FetchError::Unreadable(whose))?;
    let session = of("SessionToken").or_else(|| of("Token"));
    Ok(Keys {
        keys: AwsCredentials {
            access_key_id,
            secret_access_key: Secret::new(secret),
            session_token: session.map(Secret::new),
        },
        expires_at: of("Expiration").and_then(|end| WallMs::parse_iso(&end)),
    })
}
