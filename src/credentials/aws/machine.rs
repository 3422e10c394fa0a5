//! Keys that a machine is given: container, instance, a command of its owner.

use std::process::Stdio;
use std::time::Duration;

use http::Method;
use meridian_core::identity::{AwsChain, Container};

use super::profile::Profile;
use super::{Keys, fixed, of_json};
use crate::credentials::fetch::{self, FetchError, Fetcher};
use crate::http_get::Request;

/// Longest run of a `credential_process`.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Life of a session with the instance's metadata.
const SESSION_S: &str = "21600";

/// An ECS task's or EKS pod's.
pub(super) async fn container(
    fetcher: &Fetcher,
    container: &Container,
) -> Result<Keys, FetchError> {
    const WHOSE: &str = "the container's credentials";
    let mut request = Request {
        url: container.url.clone(),
        ..Request::default()
    };
    if let Some(token) = &container.token {
        let token = fetch::told(token).await?;
        request.headers.push(("authorization", token));
    }
    of_json(&fetcher.ask_json(WHOSE, &request).await?, WHOSE)
}

/// Where an instance's metadata is.
#[derive(Clone, Copy)]
pub(in crate::credentials) struct Metadata<'a> {
    /// Where a session begins (version 2); without one none is begun.
    pub(in crate::credentials) session_url: Option<&'a str>,
    /// Where the instance's roles are, and below it their keys.
    pub(in crate::credentials) keys_url: Option<&'a str>,
    /// Where its availability zone is.
    pub(in crate::credentials) zone_url: Option<&'a str>,
}

const METADATA: &str = "the instance's metadata (IMDSv2)";

impl Metadata<'_> {
    /// A question, within a session where there are sessions.
    async fn ask(self, fetcher: &Fetcher, url: &str) -> Result<Request, FetchError> {
        let mut request = Request {
            url: url.to_owned(),
            ..Request::default()
        };
        if let Some(url) = self.session_url {
            let session = Request {
                method: Method::PUT,
                url: url.to_owned(),
                headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", SESSION_S.to_owned())],
                ..Request::default()
            };
            let session = fetcher.ask_good(METADATA, &session).await?;
            let session = String::from_utf8_lossy(&session).trim().to_owned();
            request.headers.push(("x-aws-ec2-metadata-token", session));
        }
        Ok(request)
    }

    /// The region of the instance; `None` where its zone is not to be asked for.
    pub(super) async fn region(self, fetcher: &Fetcher) -> Result<Option<String>, FetchError> {
        let Some(url) = self.zone_url else {
            return Ok(None);
        };
        let request = self.ask(fetcher, url).await?;
        let zone = fetcher.ask_good(METADATA, &request).await?;
        let zone = String::from_utf8_lossy(&zone);
        // `eu-west-1b` is in `eu-west-1`.
        let region = zone
            .trim()
            .trim_end_matches(|c: char| c.is_ascii_alphabetic());
        Ok((!region.is_empty()).then(|| region.to_owned()))
    }

    /// The keys of the instance's role.
    pub(super) async fn keys(self, fetcher: &Fetcher) -> Result<Keys, FetchError> {
        let nowhere = || FetchError::Nowhere("the instance has no role".to_owned());
        let url = self.keys_url.ok_or_else(nowhere)?.trim_end_matches('/');
        let mut request = self.ask(fetcher, &format!("{url}/")).await?;
        let roles = fetcher.ask_good(METADATA, &request).await?;
        let roles = String::from_utf8_lossy(&roles).into_owned();
        let role = roles.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err(nowhere());
        }
        request.url = format!("{url}/{role}");
        of_json(&fetcher.ask_json(METADATA, &request).await?, METADATA)
    }
}

/// An instance's, with version 2 of its metadata service.
pub(super) async fn instance(fetcher: &Fetcher, url: &str) -> Result<Keys, FetchError> {
    let session_url = format!("{url}/latest/api/token");
    let keys_url = format!("{url}/latest/meta-data/iam/security-credentials");
    let metadata = Metadata {
        session_url: Some(&session_url),
        keys_url: Some(&keys_url),
        zone_url: None,
    };
    metadata.keys(fetcher).await
}

/// `credential_source` of a profile.
pub(super) async fn of_word(
    fetcher: &Fetcher,
    chain: &AwsChain,
    profile: &Profile,
) -> Result<Keys, FetchError> {
    let name = &profile.name;
    let missing = || FetchError::Wrong(format!("profile `{name}`: its source has no keys"));
    match profile.get("credential_source") {
        Some("Environment") => Ok(fixed(chain.keys.clone().ok_or_else(missing)?)),
        Some("EcsContainer") => {
            container(fetcher, chain.container.as_ref().ok_or_else(missing)?).await
        }
        Some("Ec2InstanceMetadata") => {
            instance(fetcher, chain.imds.as_deref().ok_or_else(missing)?).await
        }
        _ => {
            let message = format!(
                "profile `{name}`: `role_arn` needs `source_profile` or `credential_source`"
            );
            Err(FetchError::Wrong(message))
        }
    }
}

/// A command that prints keys, as AWS's tools run it.
pub(super) async fn process(command: &str) -> Result<Keys, FetchError> {
    const WHOSE: &str = "credential_process";
    let wrong = |what: String| FetchError::Wrong(format!("{WHOSE}: {what}"));
    let run = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PROCESS_TIMEOUT, run).await;
    let output = output.map_err(|_| wrong("no end in time".to_owned()))?;
    let output = output.map_err(|error| wrong(error.to_string()))?;
    if !output.status.success() {
        return Err(wrong(output.status.to_string()));
    }
    let parsed = serde_json::from_slice(&output.stdout);
    of_json(&parsed.map_err(|_| FetchError::Unreadable(WHOSE))?, WHOSE)
}
