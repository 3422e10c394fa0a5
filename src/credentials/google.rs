//! Tokens of Google Cloud.

mod aws;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::Method;
use meridian_core::identity::{AwsPlaces, Document, Google, GoogleSource};
use meridian_core::ids::Secret;
use meridian_core::time::WallMs;
use serde_json::{Map, Value, json};

use super::fetch::{self, Credential, FetchError, Fetcher, Token, form, text};
use super::jwt::{self, Algorithm};
use crate::clock;
use crate::http_get::Request;

const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Life of our own assertion, and of a token of an impersonated account.
const LIFE_S: i64 = 3_600;

/// A token, from wherever the source says.
pub(super) async fn fetch(fetcher: &Fetcher, google: &Google) -> Result<Token, FetchError> {
    match &google.source {
        GoogleSource::Document(Document(fields)) => of_document(fetcher, fields, google).await,
        GoogleSource::File(path) => of_file(fetcher, path, google).await,
        GoogleSource::Metadata { url } => of_machine(fetcher, url).await,
        GoogleSource::Default { file, url } => match file {
            Some(path) if tokio::fs::try_exists(path).await.unwrap_or(false) => {
                of_file(fetcher, path, google).await
            }
            _ => of_machine(fetcher, url).await,
        },
    }
}

async fn of_file(fetcher: &Fetcher, path: &str, google: &Google) -> Result<Token, FetchError> {
    let read = fetch::file(path).await?;
    match serde_json::from_str(&read) {
        Ok(Value::Object(fields)) => of_document(fetcher, &fields, google).await,
        _ => Err(FetchError::Wrong(format!("{path}: not a JSON object"))),
    }
}

/// Boxed: an impersonation has another document inside.
fn of_document<'a>(
    fetcher: &'a Fetcher,
    fields: &'a Map<String, Value>,
    google: &'a Google,
) -> Pin<Box<dyn Future<Output = Result<Token, FetchError>> + Send + 'a>> {
    Box::pin(async move {
        let scope = google.scope.as_str();
        let kind = fields.get("type").and_then(Value::as_str);
        let mut token = match kind {
            Some("service_account") => of_account(fetcher, fields, scope).await?,
            Some("authorized_user") => of_user(fetcher, fields).await?,
            Some("external_account") => of_workload(fetcher, fields, google).await?,
            Some("impersonated_service_account") => {
                let source = fields.get("source_credentials").and_then(Value::as_object);
                let source = source.ok_or_else(|| lacks("source_credentials"))?;
                let caller = of_document(fetcher, source, google).await?;
                impersonated(fetcher, fields, &caller, scope).await?
            }
            other => {
                let message = format!("`type` {other:?} is not one that is known here");
                return Err(FetchError::Wrong(message));
            }
        };
        let of = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        token.quota_project = of("quota_project_id");
        token.project = of("project_id").or_else(|| of("quota_project_id"));
        Ok(token)
    })
}

fn lacks(name: &str) -> FetchError {
    FetchError::Wrong(format!("the credentials document has no `{name}`"))
}

fn needed<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, FetchError> {
    let found = fields.get(name).and_then(Value::as_str);
    found.ok_or_else(|| lacks(name))
}

fn token_url(fields: &Map<String, Value>) -> &str {
    let own = fields.get("token_uri").and_then(Value::as_str);
    own.unwrap_or(TOKEN_URL)
}

async fn of_account(
    fetcher: &Fetcher,
    fields: &Map<String, Value>,
    scope: &str,
) -> Result<Token, FetchError> {
    const WHOSE: &str = "Google's token server";
    let url = token_url(fields);
    let now_s = clock::now().0 / 1_000;
    let header = match fields.get("private_key_id") {
        Some(id) => json!({"kid": id}),
        None => json!({}),
    };
    let claims = json!({
        "iss": needed(fields, "client_email")?,
        "scope": scope,
        "aud": url,
        "iat": now_s,
        "exp": now_s + LIFE_S,
    });
    let key = needed(fields, "private_key")?;
    let assertion = jwt::sign(Algorithm::Rs256, header, &claims, key)?;
    let request = form(url, &[("grant_type", GRANT), ("assertion", &assertion)]);
    let answer = fetcher.ask_json(WHOSE, &request).await?;
    Token::of_answer(&answer, WHOSE)
}

async fn of_user(fetcher: &Fetcher, fields: &Map<String, Value>) -> Result<Token, FetchError> {
    const WHOSE: &str = "Google's token server";
    let request = form(
        token_url(fields),
        &[
            ("grant_type", "refresh_token"),
            ("client_id", needed(fields, "client_id")?),
            ("client_secret", needed(fields, "client_secret")?),
            ("refresh_token", needed(fields, "refresh_token")?),
        ],
    );
    let answer = fetcher.ask_json(WHOSE, &request).await?;
    Token::of_answer(&answer, WHOSE)
}

/// Workload identity federation: a token of another issuer is exchanged, and with it, where the
/// document asks for it, a service account is impersonated.
async fn of_workload(
    fetcher: &Fetcher,
    fields: &Map<String, Value>,
    google: &Google,
) -> Result<Token, FetchError> {
    const WHOSE: &str = "Google's security token service";
    let scope = google.scope.as_str();
    let audience = needed(fields, "audience")?;
    let source = fields.get("credential_source").unwrap_or(&Value::Null);
    let subject = subject(fetcher, source, audience, &google.aws).await?;
    let request = form(
        needed(fields, "token_url")?,
        &[
            ("grant_type", EXCHANGE),
            ("audience", audience),
            ("scope", scope),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token_type", needed(fields, "subject_token_type")?),
            ("subject_token", &subject),
        ],
    );
    let answer = fetcher.ask_json(WHOSE, &request).await?;
    let caller = Token::of_answer(&answer, WHOSE)?;
    match fields.contains_key("service_account_impersonation_url") {
        true => impersonated(fetcher, fields, &caller, scope).await,
        false => Ok(caller),
    }
}

/// The other issuer's token: in a file or behind a URL, as text or as a member of JSON; for AWS a
/// signed question.
async fn subject(
    fetcher: &Fetcher,
    source: &Value,
    audience: &str,
    places: &AwsPlaces,
) -> Result<String, FetchError> {
    const WHOSE: &str = "the credential source's URL";
    let raw = if let Some(path) = text(source, "file") {
        fetch::file(path).await?
    } else if source.get("environment_id").is_some() {
        return aws::subject(fetcher, source, audience, places).await;
    } else if let Some(url) = text(source, "url") {
        let given = source.get("headers").and_then(Value::as_object);
        let mut request = Request {
            url: url.to_owned(),
            ..Request::default()
        };
        for (name, value) in given.into_iter().flatten() {
            // The few headers that the metadata servers of clouds ask for.
            let known = ["metadata", "metadata-flavor", "authorization", "accept"];
            let name = name.to_ascii_lowercase();
            let known = known.into_iter().find(|known| *known == name);
            if let Some((name, value)) = known.zip(value.as_str()) {
                request.headers.push((name, value.to_owned()));
            }
        }
        let body = fetcher.ask_good(WHOSE, &request).await?;
        String::from_utf8_lossy(&body).into_owned()
    } else {
        return Err(lacks("credential_source.file"));
    };
    let format = source.get("format").unwrap_or(&Value::Null);
    if text(format, "type") != Some("json") {
        return Ok(raw.trim().to_owned());
    }
    let field = text(format, "subject_token_field_name").unwrap_or("access_token");
    let parsed: Option<Value> = serde_json::from_str(&raw).ok();
    let found = parsed.as_ref().and_then(|parsed| text(parsed, field));
    found
        .map(str::to_owned)
        .ok_or_else(|| FetchError::Wrong(format!("the credential source has no `{field}`")))
}

async fn impersonated(
    fetcher: &Fetcher,
    fields: &Map<String, Value>,
    caller: &Token,
    scope: &str,
) -> Result<Token, FetchError> {
    const WHOSE: &str = "Google's impersonation";
    let Credential::Bearer(bearer) = &caller.credential else {
        return Err(FetchError::Unreadable(WHOSE));
    };
    let delegates = fields.get("delegates").cloned().unwrap_or(json!([]));
    let body = json!({
        "scope": scope.split(' ').collect::<Vec<_>>(),
        "lifetime": format!("{LIFE_S}s"),
        "delegates": delegates,
    });
    let request = Request {
        method: Method::POST,
        url: needed(fields, "service_account_impersonation_url")?.to_owned(),
        headers: vec![
            ("authorization", format!("Bearer {}", bearer.reveal())),
            ("content-type", "application/json".to_owned()),
        ],
        body: Bytes::from(body.to_string()),
    };
    let answer = fetcher.ask_json(WHOSE, &request).await?;
    let token = text(&answer, "accessToken").ok_or(FetchError::Unreadable(WHOSE))?;
    let end = text(&answer, "expireTime").and_then(WallMs::parse_iso);
    let usual = clock::now().plus_ms(LIFE_S * 1_000);
    let credential = Credential::Bearer(Secret::new(token));
    Ok(Token::until(credential, Some(end.unwrap_or(usual))))
}

async fn of_machine(fetcher: &Fetcher, url: &str) -> Result<Token, FetchError> {
    const WHOSE: &str = "Google's metadata server";
    let ask = |path: &str| Request {
        url: format!("{url}/computeMetadata/v1/{path}"),
        headers: vec![("metadata-flavor", "Google".to_owned())],
        ..Request::default()
    };
    let request = ask("instance/service-accounts/default/token");
    let answer = fetcher.ask_json(WHOSE, &request).await?;
    let mut token = Token::of_answer(&answer, WHOSE)?;
    // The project may be written in the configuration: it is no failure not to learn it here.
    if let Ok(project) = fetcher.ask_good(WHOSE, &ask("project/project-id")).await {
        token.project = Some(String::from_utf8_lossy(&project).trim().to_owned());
    }
    Ok(token)
}
