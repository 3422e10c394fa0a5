//! Keys of AWS: the first credential from one of many places, then the role that is taken with it.

mod machine;
mod profile;
mod sts;

use std::future::Future;
use std::pin::Pin;

use meridian_core::identity::{Aws, AwsChain, AwsPlaces, AwsSource};
use meridian_core::ids::Secret;
use meridian_core::sigv4::AwsCredentials;
use meridian_core::time::WallMs;
use serde_json::Value;

use super::fetch::{Credential, FetchError, Fetcher, Token, text};
use profile::Profile;

pub(super) use machine::Metadata;
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
    if let Some(keys) = given(sts, chain).await? {
        return Ok(keys);
    }
    if let Some(url) = &chain.imds {
        return machine::instance(sts.fetcher, url).await;
    }
    Err(nowhere())
}

/// What a process is given: everything but the instance's own.
async fn given(sts: Sts<'_>, chain: &AwsChain) -> Result<Option<Keys>, FetchError> {
    if let Some(keys) = &chain.keys {
        return Ok(Some(fixed(keys.clone())));
    }
    if let Some(web) = &chain.web {
        return sts::web_identity(sts, web).await.map(Some);
    }
    if let Some(profile) = profile::find(&chain.files, &chain.profile).await? {
        return of_profile(sts, chain, profile, PROFILES_MAX)
            .await
            .map(Some);
    }
    match &chain.container {
        Some(container) => machine::container(sts.fetcher, container).await.map(Some),
        None => Ok(None),
    }
}

/// The region of this machine: of a variable, of the profile, of the instance.
pub(super) async fn region(
    fetcher: &Fetcher,
    places: &AwsPlaces,
    metadata: Metadata<'_>,
) -> Result<String, FetchError> {
    if let Some(region) = &places.region {
        return Ok(region.clone());
    }
    let chain = &places.chain;
    let profile = profile::find(&chain.files, &chain.profile).await?;
    if let Some(region) = profile.as_ref().and_then(|profile| profile.get("region")) {
        return Ok(region.to_owned());
    }
    let places = "AWS_REGION, AWS_DEFAULT_REGION, the profile's `region`, \
        `credential_source.region_url`";
    let found = metadata.region(fetcher).await?;
    found.ok_or_else(|| FetchError::Nowhere(places.to_owned()))
}

/// The keys of this machine, for another cloud whose document says where an instance's are.
pub(super) async fn here(
    fetcher: &Fetcher,
    places: &AwsPlaces,
    region: &str,
    metadata: Metadata<'_>,
) -> Result<AwsCredentials, FetchError> {
    let sts = Sts {
        fetcher,
        url: &places.sts(region),
        region,
    };
    let keys = match given(sts, &places.chain).await? {
        Some(keys) => keys,
        None if metadata.keys_url.is_some() => metadata.keys(fetcher).await?,
        None => return Err(nowhere()),
    };
    Ok(keys.keys)
}

fn nowhere() -> FetchError {
    let places = "AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, profiles, \
        AWS_CONTAINER_CREDENTIALS_*, the instance's metadata (turned off)";
    FetchError::Nowhere(places.to_owned())
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
