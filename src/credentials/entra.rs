//! Tokens of Microsoft Entra.

use meridian_core::identity::{Entra, EntraClient, EntraProof, Managed};
use serde_json::json;

use super::fetch::{self, FetchError, Fetcher, Token, escaped, form};
use super::jwt::{self, Algorithm};
use crate::clock;
use crate::http_get::Request;

const WHOSE: &str = "Entra";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Life of our own assertion.
const ASSERTION_S: i64 = 600;

/// A token for the scope.
pub(super) async fn fetch(fetcher: &Fetcher, entra: &Entra) -> Result<Token, FetchError> {
    let answer = match &entra.proof {
        EntraProof::Managed(managed) => return of_machine(fetcher, managed, &entra.scope).await,
        EntraProof::Secret(client, secret) => {
            let proof = [("client_secret", secret.reveal())];
            of_client(fetcher, client, &entra.scope, &proof).await?
        }
        EntraProof::Certificate(client, path) => {
            let assertion = assertion(client, &fetch::file(path).await?)?;
            asserted(fetcher, client, &entra.scope, &assertion).await?
        }
        EntraProof::Federated(client, token) => {
            let token = fetch::told(token).await?;
            asserted(fetcher, client, &entra.scope, &token).await?
        }
    };
    Token::of_answer(&answer, WHOSE)
}

async fn asserted(
    fetcher: &Fetcher,
    client: &EntraClient,
    scope: &str,
    assertion: &str,
) -> Result<serde_json::Value, FetchError> {
    let proof = [
        ("client_assertion_type", ASSERTION),
        ("client_assertion", assertion),
    ];
    of_client(fetcher, client, scope, &proof).await
}

async fn of_client(
    fetcher: &Fetcher,
    client: &EntraClient,
    scope: &str,
    proof: &[(&str, &str)],
) -> Result<serde_json::Value, FetchError> {
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("client_id", client.client.as_str()),
        ("scope", scope),
    ];
    fields.extend_from_slice(proof);
    fetcher
        .ask_json(WHOSE, &form(&token_url(client), &fields))
        .await
}

fn token_url(client: &EntraClient) -> String {
    let EntraClient {
        authority, tenant, ..
    } = client;
    format!("{authority}/{tenant}/oauth2/v2.0/token")
}

fn assertion(client: &EntraClient, pem: &str) -> Result<String, FetchError> {
    let header = json!({"x5t#S256": jwt::thumbprint(pem)?});
    let now_s = clock::now().0 / 1_000;
    let random = clock::random_bytes();
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let claims = json!({
        "aud": token_url(client),
        "iss": client.client,
        "sub": client.client,
        "jti": id,
        "nbf": now_s - 60,
        "iat": now_s,
        "exp": now_s + ASSERTION_S,
    });
    jwt::sign(Algorithm::Ps256, header, &claims, pem)
}

async fn of_machine(
    fetcher: &Fetcher,
    managed: &Managed,
    scope: &str,
) -> Result<Token, FetchError> {
    const WHOSE: &str = "Azure's managed identity";
    let resource = scope.trim_end_matches("/.default");
    let mut url = format!(
        "{}?api-version={}&resource={}",
        managed.url,
        managed.api_version,
        escaped(resource)
    );
    if let Some(client) = &managed.client {
        url.push_str(&format!("&client_id={}", escaped(client)));
    }
    let header = match &managed.header {
        Some(secret) => ("x-identity-header", secret.reveal().to_owned()),
        None => ("metadata", "true".to_owned()),
    };
    let request = Request {
        url,
        headers: vec![header],
        ..Request::default()
    };
    let answer = fetcher.ask_json(WHOSE, &request).await?;
    Token::of_answer(&answer, WHOSE)
}
