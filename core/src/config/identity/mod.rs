//! Which credentials a deployment uses, where they are not one key: its own keys in
//! `litellm_params` first, then the provider's usual environment variables.

mod aws;
mod entra;
mod google;

use std::cell::RefCell;
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::environ;
use super::problem::Problems;
use super::section::{Area, to_json};
use crate::identity::{Fingerprint, Identity, IdentityKind, Told};
use crate::ids::Secret;

pub(super) use aws::{chain_of_environment, of_params as aws_of_params};
pub(super) use entra::of_params as entra_of_params;
pub(super) use google::of_params as google_of_params;

/// Reads settings, and remembers what it read: that tells one source from another.
pub(super) struct Reading<'a> {
    params: Option<&'a Area<'a>>,
    env: &'a HashMap<String, String>,
    read: RefCell<Sha256>,
}

impl<'a> Reading<'a> {
    /// `params` are a deployment's; without them only variables count.
    pub(super) fn new(params: Option<&'a Area<'a>>, env: &'a HashMap<String, String>) -> Self {
        Self {
            params,
            env,
            read: RefCell::default(),
        }
    }

    /// A text in `litellm_params`.
    pub(super) fn param(&self, key: &str) -> Option<&'a str> {
        let text = self.params.and_then(|params| params.text(key));
        self.note(key, text.unwrap_or_default());
        text
    }

    /// The first of several variables that is set.
    pub(super) fn variable(&self, names: &[&str]) -> Option<&'a str> {
        let text = environ::first(self.env, names);
        self.note(names.first().unwrap_or(&""), text.unwrap_or_default());
        text
    }

    /// A text of either place.
    pub(super) fn either(&self, key: &str, names: &[&str]) -> Option<&'a str> {
        self.param(key).or_else(|| self.variable(names))
    }

    /// A mapping, or a text that is JSON.
    pub(super) fn json(&self, key: &str) -> Option<serde_json::Value> {
        let node = self.params?.get(key)?;
        let value = to_json(node);
        self.note(key, &value.to_string());
        Some(value)
    }

    /// A problem with a key of `litellm_params`.
    pub(super) fn error(&self, key: &str, message: impl Into<String>, problems: &mut Problems) {
        if let Some(params) = self.params {
            problems.error(params.at(key), &params.path_of(key), message.into());
        }
    }

    /// A home directory's file.
    pub(super) fn at_home(&self, path: &str) -> Option<String> {
        let home = self.variable(&["HOME", "USERPROFILE"])?;
        Some(format!("{}/{path}", home.trim_end_matches('/')))
    }

    /// Counts something that follows from elsewhere among what was read.
    pub(super) fn note(&self, key: &str, text: &str) {
        let mut read = self.read.borrow_mut();
        for part in [key, text] {
            read.update(part.len().to_le_bytes());
            read.update(part.as_bytes());
        }
    }

    /// What was made of it.
    pub(super) fn identity(self, name: String, kind: IdentityKind) -> Identity {
        Identity {
            fingerprint: Fingerprint(self.read.into_inner().finalize().into()),
            name,
            kind,
        }
    }

    /// A token by LiteLLM's names for places: `oidc/file/PATH`, `oidc/env/NAME`,
    /// `oidc/env_path/NAME`; a path, or the token itself.
    fn told(&self, key: &str, text: &str, problems: &mut Problems) -> Option<Told> {
        if let Some(path) = text.strip_prefix("oidc/file/") {
            return Some(Told::File(path.to_owned()));
        }
        for (prefix, is_path) in [("oidc/env/", false), ("oidc/env_path/", true)] {
            let Some(name) = text.strip_prefix(prefix) else {
                continue;
            };
            let Some(value) = self.variable(&[name]) else {
                self.error(key, format!("`{name}` is not set"), problems);
                return None;
            };
            return Some(match is_path {
                true => Told::File(value.to_owned()),
                false => Told::Text(Secret::new(value)),
            });
        }
        if text.starts_with("oidc/") {
            let message = "only `oidc/file/`, `oidc/env/` and `oidc/env_path/` are read here";
            self.error(key, message, problems);
            return None;
        }
        Some(match text.starts_with('/') {
            true => Told::File(text.to_owned()),
            false => Told::Text(Secret::new(text)),
        })
    }
}

#[cfg(test)]
mod tests;
