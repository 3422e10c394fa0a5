//! AWS: keys, profile, web identity or the chain of AWS's own tools, then the role to take.

use super::super::problem::Problems;
use super::Reading;
use crate::identity::{
    AssumeRole, Aws, AwsChain, AwsFiles, AwsPlaces, AwsSource, Container, Identity, IdentityKind,
    Told, WebIdentity, dns_suffix,
};
use crate::ids::Secret;
use crate::sigv4::AwsCredentials;

/// Name of a session that nobody named.
const SESSION: &str = "meridian";
/// Variables that move the token service.
const STS_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT"];
/// Where an ECS task's credentials are.
const ECS: &str = "http://169.254.170.2";
/// An instance's metadata.
const IMDS: &str = "http://169.254.169.254";

/// Of a deployment in a region. `None` after an error.
pub(in crate::config) fn of_params(
    reading: Reading<'_>,
    region: &str,
    problems: &mut Problems,
) -> Option<Identity> {
    let session = reading.param("aws_session_name").unwrap_or(SESSION);
    let role = reading.param("aws_role_name");
    let web_token = reading.param("aws_web_identity_token");
    let keys = keys_of_params(&reading, problems)?;
    let profile = reading.param("aws_profile_name");
    let external_id = reading.param("aws_external_id").map(Secret::new);
    let mut assume = role.map(|arn| AssumeRole {
        arn: arn.to_owned(),
        session: session.to_owned(),
        external_id,
    });
    let (source, name) = match (web_token, keys, profile) {
        (Some(token), _, _) => {
            let Some(role) = assume.take() else {
                let message = "needs `aws_role_name`, the role that the token is exchanged for";
                reading.error("aws_web_identity_token", message, problems);
                return None;
            };
            let token = reading.told("aws_web_identity_token", token, problems)?;
            let name = format!("AWS web identity for {}", role.arn);
            let web = WebIdentity {
                token,
                role_arn: role.arn,
                session: role.session,
            };
            (AwsSource::WebIdentity(web), name)
        }
        (None, Some(keys), _) => {
            let name = format!("AWS key {}", keys.access_key_id);
            (AwsSource::Keys(keys), name)
        }
        (None, None, Some(profile)) => {
            let mut places = chain(&reading);
            profile.clone_into(&mut places.profile);
            let source = AwsSource::Profile(Box::new(places));
            (source, format!("AWS profile {profile}"))
        }
        (None, None, None) => (
            AwsSource::Chain(Box::new(chain(&reading))),
            "AWS's environment".to_owned(),
        ),
    };
    let sts = sts(&reading, region);
    Some(finish(reading, (source, name), assume, sts, region))
}

/// What AWS's own tools would use on this machine.
pub(in crate::config) fn chain_of_environment(reading: Reading<'_>, region: &str) -> Identity {
    let source = AwsSource::Chain(Box::new(chain(&reading)));
    let sts = sts(&reading, region);
    let name = "AWS's environment".to_owned();
    finish(reading, (source, name), None, sts, region)
}

fn finish(
    reading: Reading<'_>,
    (source, mut name): (AwsSource, String),
    assume: Option<AssumeRole>,
    sts: String,
    region: &str,
) -> Identity {
    reading.note("region", region);
    if let Some(role) = &assume {
        name = format!("{name}, then the role {}", role.arn);
    }
    let aws = Aws {
        source,
        assume,
        sts,
        region: region.to_owned(),
    };
    reading.identity(name, IdentityKind::Aws(Box::new(aws)))
}

/// Two of three are a mistake, never an invitation to use somebody else's.
fn keys_of_params(
    reading: &Reading<'_>,
    problems: &mut Problems,
) -> Option<Option<AwsCredentials>> {
    let id = reading.param("aws_access_key_id");
    let secret = reading.param("aws_secret_access_key");
    let session = reading.param("aws_session_token");
    match (id, secret) {
        (Some(id), Some(secret)) => Some(Some(AwsCredentials {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::new(secret),
            session_token: session.map(Secret::new),
        })),
        (None, None) => Some(None),
        (Some(_), None) => {
            let message = "needs `aws_secret_access_key` beside it";
            reading.error("aws_access_key_id", message, problems);
            None
        }
        (None, Some(_)) => {
            let message = "needs `aws_access_key_id` beside it";
            reading.error("aws_secret_access_key", message, problems);
            None
        }
    }
}

fn sts(reading: &Reading<'_>, region: &str) -> String {
    let own = reading.either("aws_sts_endpoint", &STS_VARIABLES);
    let suffix = dns_suffix(region);
    // A name that counts for the fingerprint too.
    let usual = || format!("https://sts.{region}.{suffix}");
    own.map_or_else(usual, |url| url.trim_end_matches('/').to_owned())
}

/// Who this machine is at AWS, for another cloud.
pub(super) fn places(reading: &Reading<'_>) -> AwsPlaces {
    let region = reading.variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]);
    let sts = reading.variable(&STS_VARIABLES);
    AwsPlaces {
        chain: chain(reading),
        region: region.map(str::to_owned),
        sts: sts.map(|url| url.trim_end_matches('/').to_owned()),
    }
}

fn files(reading: &Reading<'_>) -> AwsFiles {
    let file = |name: &str, usual: &str| {
        let set = reading.variable(&[name]).map(str::to_owned);
        set.or_else(|| reading.at_home(usual))
    };
    AwsFiles {
        config: file("AWS_CONFIG_FILE", ".aws/config"),
        credentials: file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
    }
}

fn chain(reading: &Reading<'_>) -> AwsChain {
    let profile = reading.variable(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
    AwsChain {
        keys: keys_of_environment(reading).filter(|_| profile.is_none()),
        web: web_of_environment(reading),
        profile: profile.unwrap_or("default").to_owned(),
        files: files(reading),
        container: container(reading),
        imds: imds(reading),
    }
}

fn keys_of_environment(reading: &Reading<'_>) -> Option<AwsCredentials> {
    let id = reading.variable(&["AWS_ACCESS_KEY_ID"]);
    let secret = reading.variable(&["AWS_SECRET_ACCESS_KEY"]);
    let session = reading.variable(&["AWS_SESSION_TOKEN"]);
    Some(AwsCredentials {
        access_key_id: id?.to_owned(),
        secret_access_key: Secret::new(secret?),
        session_token: session.map(Secret::new),
    })
}

fn web_of_environment(reading: &Reading<'_>) -> Option<WebIdentity> {
    let file = reading.variable(&["AWS_WEB_IDENTITY_TOKEN_FILE"]);
    let role = reading.variable(&["AWS_ROLE_ARN"]);
    let session = reading.variable(&["AWS_ROLE_SESSION_NAME"]);
    Some(WebIdentity {
        token: Told::File(file?.to_owned()),
        role_arn: role?.to_owned(),
        session: session.unwrap_or(SESSION).to_owned(),
    })
}

fn container(reading: &Reading<'_>) -> Option<Container> {
    let relative = reading.variable(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]);
    let full = reading.variable(&["AWS_CONTAINER_CREDENTIALS_FULL_URI"]);
    let file = reading.variable(&["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]);
    let token = reading.variable(&["AWS_CONTAINER_AUTHORIZATION_TOKEN"]);
    let url = match relative {
        Some(path) => format!("{ECS}{path}"),
        None => full?.to_owned(),
    };
    let file = file.map(|path| Told::File(path.to_owned()));
    let token = file.or_else(|| token.map(|token| Told::Text(Secret::new(token))));
    Some(Container { url, token })
}

fn imds(reading: &Reading<'_>) -> Option<String> {
    let off = reading.variable(&["AWS_EC2_METADATA_DISABLED"]);
    let own = reading.variable(&["AWS_EC2_METADATA_SERVICE_ENDPOINT"]);
    if off.is_some_and(|word| word.eq_ignore_ascii_case("true")) {
        return None;
    }
    Some(own.unwrap_or(IMDS).trim_end_matches('/').to_owned())
}
