//! Names of keys and of the channel.

use std::fmt::Write;

use crate::routing::Subject;

/// Names of one region and purpose. The braces put all of them into one slot of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Names {
    start: String,
}

impl Names {
    /// `namespace` comes first where one is configured; a node without a region has an empty name
    /// in its place.
    pub(super) fn new(slot: &str, namespace: Option<&str>, region: Option<&str>) -> Self {
        let mut start = String::new();
        if let Some(namespace) = namespace {
            start.push_str(namespace);
            start.push(':');
        }
        // Writing to a string does not fail.
        let _ = write!(start, "meridian:{{{slot}}}:");
        start.push_str(&plain(region.unwrap_or_default()));
        Self { start }
    }

    /// Where news are published.
    pub(super) fn channel(&self) -> &str {
        &self.start
    }

    /// Where a cooldown stands until it is over.
    pub(super) fn key(&self, subject: &Subject) -> String {
        match subject {
            Subject::Deployment { id, credential } => {
                format!("{}:deployment:{}:{credential}", self.start, plain(id))
            }
            Subject::Credential(credential) => format!("{}:credential::{credential}", self.start),
        }
    }
}

impl Names {
    /// A key under which something else lies; the parts are chosen by people.
    pub(super) fn under(&self, parts: &[&str]) -> String {
        let mut name = self.start.clone();
        for part in parts {
            name.push(':');
            name.push_str(&plain(part));
        }
        name
    }
}

/// Ids are chosen by people: whatever could be read as something else is percent-encoded.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                out.push(char::from(byte));
            }
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::CredentialId;

    #[test]
    fn names_are_those_of_the_documentation_and_cannot_be_mistaken() {
        let names = Names::new("cooldown", None, Some("eu-west-1"));
        let credential = CredentialId::parse("00ff00ff00ff00ff").unwrap();
        let deployment = |id: &str| Subject::Deployment {
            id: id.to_owned(),
            credential,
        };
        let key = names.key(&deployment("gpt-4o/1"));
        let expected = "meridian:{cooldown}:eu-west-1:deployment:gpt-4o/1:00ff00ff00ff00ff";
        assert_eq!(key, expected);
        let key = names.key(&Subject::Credential(credential));
        let expected = "meridian:{cooldown}:eu-west-1:credential::00ff00ff00ff00ff";
        assert_eq!(key, expected);
        let key = names.key(&deployment("a:b *é"));
        assert!(key.ends_with(":deployment:a%3Ab%20%2A%C3%A9:00ff00ff00ff00ff"));
        let nowhere = Names::new("cooldown", Some("litellm"), None);
        assert_eq!(nowhere.channel(), "litellm:meridian:{cooldown}:");
    }
}
