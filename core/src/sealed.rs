//! Values at rest under the salt key, in the forms that LiteLLM writes and reads.
//!
//! The key is SHA-256 of `LITELLM_SALT_KEY`, or of the master key where there is none. A sealed
//! value is base64url of nonce (24) and XSalsa20-Poly1305 box, as NaCl's `SecretBox` makes it; old
//! rows have standard base64. `v2:gcm:` begins the other form: nonce (12), AES-256-GCM, tag.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use crypto_secretbox::{Nonce as BoxNonce, XSalsa20Poly1305};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Bytes of randomness that one sealed value takes.
pub const NONCE_BYTES: usize = 24;

const TAG_BYTES: usize = 16;
const GCM_NONCE_BYTES: usize = 12;
const GCM_PREFIX: &str = "v2:gcm:";

/// Writes padding, reads with and without it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What values are sealed with. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(***)")
    }
}

/// Why a value was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It has not the form of a sealed value: a value in clear.
    #[error("is not a sealed value")]
    NotSealed,
    /// It has the form, but was sealed with another key or was changed since.
    #[error(
        "cannot be opened: it was sealed with another salt key (LITELLM_SALT_KEY, or the master \
         key where that is not set), or it is damaged"
    )]
    WrongKey,
    /// It holds something that is no text.
    #[error("does not hold text")]
    NotText,
}

/// A value inside an object that was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {error}")]
pub struct Unopened {
    /// Path of the value (`api_key`, `extra_headers.Authorization`).
    pub field: String,
    /// Why.
    pub error: SealError,
}

impl SealKey {
    /// The key of a salt.
    pub fn of_salt(salt: &str) -> Self {
        Self(Sha256::digest(salt.as_bytes()).into())
    }

    /// Seals a value in LiteLLM's default form. A nonce must never be used twice.
    pub fn seal(&self, clear: &str, nonce: [u8; NONCE_BYTES]) -> String {
        let cipher = XSalsa20Poly1305::new(&self.0.into());
        // The cipher refuses only what does not fit into memory.
        let sealed = cipher.encrypt(BoxNonce::from_slice(&nonce), clear.as_bytes());
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed.unwrap_or_default());
        BASE64URL.encode(bytes)
    }

    /// Opens a value that this key sealed, in any of the forms.
    ///
    /// # Errors
    /// When it is no sealed value, or not of this key.
    pub fn open(&self, sealed: &str) -> Result<String, SealError> {
        let clear = match sealed.strip_prefix(GCM_PREFIX) {
            Some(coded) => self.open_gcm(coded)?,
            None => self.open_box(sealed)?,
        };
        String::from_utf8(clear).map_err(|_| SealError::NotText)
    }

    /// Seals every string of an object, at any depth. `nonce` gives a new one at each call.
    #[must_use]
    pub fn seal_strings(
        &self,
        object: &Map<String, Value>,
        nonce: &mut dyn FnMut() -> [u8; NONCE_BYTES],
    ) -> Map<String, Value> {
        let sealed = |(name, value): (&String, &Value)| (name.clone(), self.sealed(value, nonce));
        object.iter().map(sealed).collect()
    }

    /// Opens every sealed string of an object, at any depth; what is in clear stays.
    ///
    /// # Errors
    /// The first value that this key does not open.
    pub fn open_strings(
        &self,
        object: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Unopened> {
        let opened = |(name, value): (&String, &Value)| {
            let value = self.opened(value, name)?;
            Ok((name.clone(), value))
        };
        object.iter().map(opened).collect()
    }

    fn sealed(&self, value: &Value, nonce: &mut dyn FnMut() -> [u8; NONCE_BYTES]) -> Value {
        match value {
            Value::String(clear) => Value::String(self.seal(clear, nonce())),
            Value::Array(items) => items.iter().map(|item| self.sealed(item, nonce)).collect(),
            Value::Object(object) => Value::Object(self.seal_strings(object, nonce)),
            scalar => scalar.clone(),
        }
    }

    fn opened(&self, value: &Value, field: &str) -> Result<Value, Unopened> {
        match value {
            Value::String(text) => match self.open(text) {
                Ok(clear) => Ok(Value::String(clear)),
                Err(SealError::NotSealed) => Ok(value.clone()),
                Err(error) => Err(Unopened {
                    field: field.to_owned(),
                    error,
                }),
            },
            Value::Array(items) => items.iter().map(|item| self.opened(item, field)).collect(),
            Value::Object(object) => {
                let opened = |(name, value): (&String, &Value)| {
                    let value = self.opened(value, &format!("{field}.{name}"))?;
                    Ok((name.clone(), value))
                };
                let object: Result<Map<String, Value>, Unopened> =
                    object.iter().map(opened).collect();
                object.map(Value::Object)
            }
            scalar => Ok(scalar.clone()),
        }
    }

    fn open_box(&self, coded: &str) -> Result<Vec<u8>, SealError> {
        let bytes = decode(coded)?;
        let Some((nonce, sealed)) = bytes.split_at_checked(NONCE_BYTES) else {
            return Err(SealError::NotSealed);
        };
        if sealed.len() < TAG_BYTES {
            return Err(SealError::NotSealed);
        }
        let cipher = XSalsa20Poly1305::new(&self.0.into());
        let clear = cipher.decrypt(BoxNonce::from_slice(nonce), sealed);
        clear.map_err(|_| SealError::WrongKey)
    }

    /// The prefix says what it is: what cannot be read behind it is damaged, not in clear.
    fn open_gcm(&self, coded: &str) -> Result<Vec<u8>, SealError> {
        let bytes = decode(coded).map_err(|_| SealError::WrongKey)?;
        let Some((nonce, sealed)) = bytes.split_at_checked(GCM_NONCE_BYTES) else {
            return Err(SealError::WrongKey);
        };
        let cipher = Aes256Gcm::new(&self.0.into());
        let clear = cipher.decrypt(GcmNonce::from_slice(nonce), sealed);
        clear.map_err(|_| SealError::WrongKey)
    }
}

/// Reads base64url and standard base64.
fn decode(coded: &str) -> Result<Vec<u8>, SealError> {
    let url_safe = coded.replace('+', "-").replace('/', "_");
    let bytes = BASE64URL.decode(url_safe);
    bytes.map_err(|_| SealError::NotSealed)
}

#[cfg(test)]
mod tests;
