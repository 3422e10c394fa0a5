//! Who can be left out, by name: how nodes speak of it to each other.

use meridian_core::routing::failure::Blame;
use meridian_core::routing::health::Gate;

use super::{CredentialId, News, Routing};

/// Who is left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A deployment with its credential.
    Deployment {
        /// Its id.
        id: String,
        /// Its credential.
        credential: CredentialId,
    },
    /// A credential, and so every deployment that uses it.
    Credential(CredentialId),
}

impl Subject {
    /// Of news; `None` when nobody is left out.
    pub fn of(news: &News) -> Option<Self> {
        match news.cooled.whose {
            Blame::Nobody => None,
            Blame::Credential => Some(Self::Credential(news.credential)),
            Blame::Deployment => Some(Self::Deployment {
                id: news.deployment_id.clone(),
                credential: news.credential,
            }),
        }
    }
}

impl CredentialId {
    /// Reads what `Display` writes: sixteen hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        let whole = text.len() == 16 && text.bytes().all(is_digit);
        let word = whole.then(|| u64::from_str_radix(text, 16).ok());
        word.flatten().map(Self)
    }
}

impl Routing {
    /// Everybody who can be left out on this node.
    pub fn subjects(&self) -> Vec<Subject> {
        let deployments = self.deployments.iter().map(|entry| {
            let (id, credential) = entry.key();
            Subject::Deployment {
                id: id.clone(),
                credential: *credential,
            }
        });
        let credentials = self.credentials.iter();
        deployments
            .chain(credentials.map(|entry| Subject::Credential(*entry.key())))
            .collect()
    }

    /// Whether this node leaves somebody out now. `None` when it does not know who that is.
    pub fn leaves_out(&self, subject: &Subject) -> Option<bool> {
        let gate = match subject {
            Subject::Credential(id) => self.credentials.get(id)?.gate(self.now()),
            Subject::Deployment { id, credential } => {
                let key = (id.clone(), *credential);
                self.deployments.get(&key)?.circuit().gate(self.now())
            }
        };
        Some(matches!(gate, Gate::Open { .. }))
    }
}
