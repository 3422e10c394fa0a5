//! Signed assertions: JSON web tokens with RSA.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};
use serde_json::Value;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::fetch::FetchError;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSASSA-PKCS1 with SHA-256: Google.
    Rs256,
    /// RSASSA-PSS with SHA-256: Entra.
    Ps256,
}

/// Signs claims; `header` holds what stands beside `alg` and `typ`.
pub(super) fn sign(
    algorithm: Algorithm,
    header: Value,
    claims: &Value,
    key_pem: &str,
) -> Result<String, FetchError> {
    let key = key(key_pem)?;
    let mut header = header;
    let (name, padding): (_, &dyn ring::signature::RsaEncoding) = match algorithm {
        Algorithm::Rs256 => ("RS256", &RSA_PKCS1_SHA256),
        Algorithm::Ps256 => ("PS256", &RSA_PSS_SHA256),
    };
    header["alg"] = name.into();
    header["typ"] = "JWT".into();
    let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        padding,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| FetchError::Wrong("the private key cannot sign".to_owned()))?;
    Ok(format!(
        "{signed}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(signature)
    ))
}

/// Reads a PEM key, PKCS#8 or PKCS#1.
pub(super) fn key(pem: &str) -> Result<RsaKeyPair, FetchError> {
    let wrong = |what: &str| FetchError::Wrong(format!("private key: {what}"));
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    let key = key.map_err(|_| wrong("no PEM block with a private key"))?;
    let pair = match &key {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(wrong("not an RSA key")),
    };
    pair.map_err(|error| wrong(&error.to_string()))
}

/// `x5t#S256`: digest of the first certificate in a PEM file.
pub(super) fn thumbprint(pem: &str) -> Result<String, FetchError> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
    let certificate =
        certificate.map_err(|_| FetchError::Wrong("no PEM block with a certificate".to_owned()))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &certificate);
    Ok(BASE64_URL_SAFE_NO_PAD.encode(digest))
}
