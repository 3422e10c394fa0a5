//! One cooldown on the wire: JSON, small, nothing secret.

use std::time::Duration;

use meridian_core::routing::policy::FailureClass;
use serde::{Deserialize, Serialize};

use crate::routing::{CredentialId, Subject};

/// Longest message that is written or read.
pub(super) const BYTES_MAX: usize = 1_024;
/// Longest cooldown that is written or believed.
pub(super) const LEFT_MAX: Duration = Duration::from_secs(86_400);
/// Form of the messages; one of another form is not read.
const VERSION: u8 = 1;

/// Identity of one start of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(pub(super) u64);

/// A cooldown, told by the node that found it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Who is left out.
    pub(super) subject: Subject,
    /// Why.
    pub(super) cause: FailureClass,
    /// For how long from now.
    pub(super) left: Duration,
    /// Who says so.
    pub(super) node: NodeId,
    /// Its how many'th message this is: the same one is taken in once.
    pub(super) number: u64,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    v: u8,
    node: &'a str,
    n: u64,
    /// Absent for a credential as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployment: Option<std::borrow::Cow<'a, str>>,
    credential: &'a str,
    cause: &'a str,
    left_ms: u64,
}

impl Message {
    /// `None` when an id is too long for it.
    pub(super) fn to_json(&self) -> Option<String> {
        let node = format!("{:016x}", self.node.0);
        let (deployment, credential) = match &self.subject {
            Subject::Deployment { id, credential } => (Some(id.as_str().into()), credential),
            Subject::Credential(credential) => (None, credential),
        };
        let wire = Wire {
            v: VERSION,
            node: &node,
            n: self.number,
            deployment,
            credential: &credential.to_string(),
            cause: self.cause.as_str(),
            left_ms: millis(self.left),
        };
        let json = serde_json::to_string(&wire).ok();
        json.filter(|json| json.len() <= BYTES_MAX)
    }

    /// Reads what another node wrote.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > BYTES_MAX {
            return Err(Malformed);
        }
        let wire: Wire<'_> = serde_json::from_slice(bytes).map_err(|_| Malformed)?;
        let left = Duration::from_millis(wire.left_ms);
        if wire.v != VERSION || wire.node.len() != 16 || left.is_zero() || left > LEFT_MAX {
            return Err(Malformed);
        }
        let node = u64::from_str_radix(wire.node, 16).map_err(|_| Malformed)?;
        let credential = CredentialId::parse(wire.credential).ok_or(Malformed)?;
        let cause = FailureClass::ALL
            .into_iter()
            .find(|class| class.as_str() == wire.cause);
        let subject = match wire.deployment {
            Some(id) => Subject::Deployment {
                id: id.into_owned(),
                credential,
            },
            None => Subject::Credential(credential),
        };
        Ok(Self {
            subject,
            cause: cause.ok_or(Malformed)?,
            left,
            node: NodeId(node),
            number: wire.n,
        })
    }
}

/// Whole milliseconds, at least one: what Redis takes as an expiry.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Message {
        Message {
            subject: Subject::Deployment {
                id: id.to_owned(),
                credential: CredentialId::parse("00ff00ff00ff00ff").unwrap(),
            },
            cause: FailureClass::RateLimit,
            left: Duration::from_millis(30_500),
            node: NodeId(7),
            number: 3,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for id in ["gpt", "with \"quotes\" and \u{e9}"] {
            let told = message(id);
            let json = told.to_json().unwrap();
            assert_eq!(Message::parse(json.as_bytes()), Ok(told), "{json}");
        }
        let whole = Message {
            subject: Subject::Credential(CredentialId::parse("00ff00ff00ff00ff").unwrap()),
            ..message("gpt")
        };
        let json = whole.to_json().unwrap();
        let expected = "{\"v\":1,\"node\":\"0000000000000007\",\"n\":3,\
                        \"credential\":\"00ff00ff00ff00ff\",\"cause\":\"rate_limit\",\
                        \"left_ms\":30500}";
        assert_eq!(json, expected);
        assert_eq!(Message::parse(json.as_bytes()), Ok(whole));
    }

    #[test]
    fn anything_else_is_malformed() {
        let good = message("gpt").to_json().unwrap();
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("rate_limit", "bad mood"),
            ("00ff00ff00ff00ff", "00FF00FF00FF00FF"),
            ("00ff00ff00ff00ff", "sk-secret"),
            ("\"left_ms\":30500", "\"left_ms\":0"),
            ("\"left_ms\":30500", "\"left_ms\":86400001"),
            ("\"left_ms\":30500", "\"left_ms\":-1"),
            ("0000000000000007", "+000000000000007x"),
            ("}", ""),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert_eq!(Message::parse(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        let long = good.replace("gpt", &"g".repeat(BYTES_MAX));
        assert_eq!(Message::parse(long.as_bytes()), Err(Malformed));
        assert_eq!(message(&"g".repeat(BYTES_MAX)).to_json(), None);
        assert_eq!(Message::parse(b"\xff\xfe"), Err(Malformed));
    }
}
