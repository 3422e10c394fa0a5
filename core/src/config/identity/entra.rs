//! Microsoft Entra: a client of `litellm_params` or Azure's variables, else the machine's identity.

use super::super::problem::Problems;
use super::Reading;
use crate::identity::{Entra, EntraClient, EntraProof, Identity, IdentityKind, Managed, Told};
use crate::ids::Secret;

const AUTHORITY: &str = "https://login.microsoftonline.com";
const IMDS: &str = "http://169.254.169.254";
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// An identity, if one is configured; `is_asked` asks for the machine's own where nothing else is.
/// The outer `None` comes after an error.
pub(in crate::config) fn of_params(
    reading: Reading<'_>,
    is_asked: bool,
    problems: &mut Problems,
) -> Option<Option<Identity>> {
    let tenant = reading.either("tenant_id", &["AZURE_TENANT_ID"]);
    let client = reading.either("client_id", &["AZURE_CLIENT_ID"]);
    let scope = reading.either("azure_scope", &["AZURE_SCOPE"]);
    let scope = scope.unwrap_or(SCOPE).to_owned();
    let proof = match (tenant, client) {
        (Some(tenant), Some(client)) => of_client(&reading, tenant, client, problems)?,
        _ => None,
    };
    let is_partial = reading.param("client_secret").is_some() && proof.is_none();
    if is_partial {
        let message = "needs `tenant_id` and `client_id` beside it";
        reading.error("client_secret", message, problems);
        return None;
    }
    let managed = || managed(&reading, client, is_asked).map(EntraProof::Managed);
    let Some(proof) = proof.or_else(managed) else {
        return Some(None);
    };
    let name = match &proof {
        EntraProof::Secret(client, _) => format!("Entra client {}", client.client),
        EntraProof::Certificate(client, _) => format!("Entra certificate of {}", client.client),
        EntraProof::Federated(client, _) => format!("Entra federated {}", client.client),
        EntraProof::Managed(_) => "Azure's managed identity".to_owned(),
    };
    let entra = Entra { proof, scope };
    Some(Some(
        reading.identity(name, IdentityKind::Entra(Box::new(entra))),
    ))
}

fn of_client(
    reading: &Reading<'_>,
    tenant: &str,
    client: &str,
    problems: &mut Problems,
) -> Option<Option<EntraProof>> {
    let authority = reading.variable(&["AZURE_AUTHORITY_HOST"]);
    let client = EntraClient {
        authority: authority
            .unwrap_or(AUTHORITY)
            .trim_end_matches('/')
            .to_owned(),
        tenant: tenant.to_owned(),
        client: client.to_owned(),
    };
    let own_token = reading.param("azure_ad_token");
    if let Some(token) = own_token.filter(|token| token.starts_with("oidc/")) {
        let token = reading.told("azure_ad_token", token, problems)?;
        return Some(Some(EntraProof::Federated(client, token)));
    }
    if let Some(secret) = reading.either("client_secret", &["AZURE_CLIENT_SECRET"]) {
        return Some(Some(EntraProof::Secret(client, Secret::new(secret))));
    }
    let certificate = reading.either(
        "azure_client_certificate_path",
        &["AZURE_CLIENT_CERTIFICATE_PATH"],
    );
    if let Some(path) = certificate {
        return Some(Some(EntraProof::Certificate(client, path.to_owned())));
    }
    let file = reading.variable(&["AZURE_FEDERATED_TOKEN_FILE"]);
    Some(file.map(|path| EntraProof::Federated(client, Told::File(path.to_owned()))))
}

/// App Service and Container Apps say that they have one; virtual machines do not, there it has
/// to be asked for.
fn managed(reading: &Reading<'_>, client: Option<&str>, is_asked: bool) -> Option<Managed> {
    let endpoint = reading.variable(&["IDENTITY_ENDPOINT"]);
    let header = reading.variable(&["IDENTITY_HEADER"]);
    let client = client.map(str::to_owned);
    if let Some((url, header)) = endpoint.zip(header) {
        return Some(Managed {
            url: url.to_owned(),
            api_version: "2019-08-01",
            header: Some(Secret::new(header)),
            client,
        });
    }
    let host = reading.variable(&["AZURE_POD_IDENTITY_AUTHORITY_HOST"]);
    let host = host.unwrap_or(IMDS).trim_end_matches('/').to_owned();
    is_asked.then(|| Managed {
        url: format!("{host}/metadata/identity/oauth2/token"),
        api_version: "2018-02-01",
        header: None,
        client,
    })
}
