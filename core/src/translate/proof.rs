//! Proofs of thoughts carried through dialects that have one opaque text for them.
//!
//! Anthropic's own signature is carried as it is wherever the dialect has a place for it. What
//! belongs to another provider gets a tag in front, by which it is known when it comes back.

use std::borrow::Cow;

use crate::translate::prompt::Proof;
use crate::translate::text::Text;

/// Begins every signature that this gateway made. Anthropic's are base64 and have no dot.
const TAG: &str = "mrdn.";

/// A proof as the `signature` of a thinking block. Redacted thoughts have a block of their own.
pub(crate) fn signature<'p>(proof: &Proof<'p>) -> Text<'p> {
    match proof {
        Proof::Anthropic(text) => text.clone(),
        Proof::None => Text::plain("mrdn.none"),
        Proof::Redacted(data) => tagged("mrdn.redacted.", data),
        Proof::Gemini(text) => tagged("mrdn.gemini.", text),
        Proof::OpenAi { id, encrypted } => {
            // Ids of items are words without a dot.
            let head = format!("mrdn.openai.{}.", id.clear());
            tagged(&head, encrypted)
        }
    }
}

/// A proof as the `encrypted_content` of a reasoning item of Responses.
pub(crate) fn encrypted<'p>(proof: &Proof<'p>) -> Text<'p> {
    match proof {
        Proof::Anthropic(text) => tagged("mrdn.anthropic.", text),
        Proof::OpenAi { encrypted, .. } => encrypted.clone(),
        other => signature(other),
    }
}

/// The proof that a thinking block's signature carries.
pub(crate) fn of_signature(text: Text<'_>) -> Proof<'_> {
    match untagged(&text) {
        Some(proof) => proof,
        None if text.is_empty() => Proof::None,
        None => Proof::Anthropic(text),
    }
}

/// The proof that a reasoning item carries.
pub(crate) fn of_encrypted<'p>(id: Text<'p>, text: Text<'p>) -> Proof<'p> {
    match untagged(&text) {
        Some(proof) => proof,
        None if text.is_empty() => Proof::None,
        None => Proof::OpenAi {
            id,
            encrypted: text,
        },
    }
}

/// Whether a signature was made by this gateway: no provider accepts it.
pub fn is_own(signature: &[u8]) -> bool {
    signature.starts_with(TAG.as_bytes())
}

fn tagged<'p>(tag: &str, text: &Text<'p>) -> Text<'p> {
    match text {
        Text::Escaped(inner) => Text::Escaped(Cow::Owned([tag.as_bytes(), inner].concat())),
        Text::Plain(text) => Text::plain(format!("{tag}{text}")),
    }
}

fn untagged<'p>(text: &Text<'p>) -> Option<Proof<'p>> {
    let bytes = match text {
        Text::Escaped(inner) => &**inner,
        Text::Plain(text) => text.as_bytes(),
    };
    if !is_own(bytes) {
        return None;
    }
    let after = |tag: &str| Some(tail(text, bytes.strip_prefix(tag.as_bytes())?.len()));
    if let Some(rest) = after("mrdn.anthropic.") {
        return Some(Proof::Anthropic(rest));
    }
    if let Some(rest) = after("mrdn.redacted.") {
        return Some(Proof::Redacted(rest));
    }
    if let Some(rest) = after("mrdn.gemini.") {
        return Some(Proof::Gemini(rest));
    }
    let rest = bytes.strip_prefix(b"mrdn.openai.").unwrap_or_default();
    let Some(dot) = rest.iter().position(|byte| *byte == b'.') else {
        return Some(Proof::None);
    };
    let id = String::from_utf8_lossy(&rest[..dot]).into_owned();
    Some(Proof::OpenAi {
        id: Text::plain(id),
        encrypted: tail(text, rest.len() - dot - 1),
    })
}

/// The last `len` bytes of a text, in its own form.
fn tail<'p>(text: &Text<'p>, len: usize) -> Text<'p> {
    match text {
        Text::Escaped(Cow::Borrowed(inner)) => {
            Text::Escaped(Cow::Borrowed(&inner[inner.len() - len..]))
        }
        Text::Escaped(Cow::Owned(inner)) => {
            Text::Escaped(Cow::Owned(inner[inner.len() - len..].to_vec()))
        }
        Text::Plain(text) => {
            let start = text.len().saturating_sub(len);
            Text::plain(text.get(start..).unwrap_or_default().to_owned())
        }
    }
}

/// Between an id and Gemini's signature in an id that carries one, as LiteLLM writes it.
const THOUGHT: &[u8] = b"__thought__";

/// An id of a call without the signature of Gemini that it may carry, and that signature.
pub(crate) fn split_id(id: Text<'_>) -> (Text<'_>, Option<Text<'_>>) {
    let bytes = match &id {
        Text::Escaped(inner) => &**inner,
        Text::Plain(text) => text.as_bytes(),
    };
    let Some(at) = memchr::memmem::find(bytes, THOUGHT) else {
        return (id, None);
    };
    let len = bytes.len() - at - THOUGHT.len();
    let signature = tail(&id, len);
    let head = match &id {
        Text::Escaped(Cow::Borrowed(inner)) => Text::Escaped(Cow::Borrowed(&inner[..at])),
        Text::Escaped(Cow::Owned(inner)) => Text::Escaped(Cow::Owned(inner[..at].to_vec())),
        Text::Plain(text) => Text::plain(text.get(..at).unwrap_or_default().to_owned()),
    };
    (head, Some(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> Text<'_> {
        Text::Escaped(Cow::Borrowed(text.as_bytes()))
    }

    #[test]
    fn a_proof_comes_back_as_it_went() {
        let id = || escaped("rs_0a1");
        let proofs = [
            Proof::Anthropic(escaped("EsgD/+==")),
            Proof::Redacted(escaped("Emw=")),
            Proof::Gemini(escaped("AbC=")),
            Proof::OpenAi {
                id: id(),
                encrypted: escaped("gAAA.B-_"),
            },
        ];
        for proof in proofs {
            let there = signature(&proof);
            assert_eq!(
                format!("{:?}", signature(&of_signature(there.clone()))),
                format!("{there:?}")
            );
            let there = encrypted(&proof);
            let back = of_encrypted(id(), there.clone());
            assert_eq!(format!("{:?}", encrypted(&back)), format!("{there:?}"));
        }
        assert!(matches!(of_signature(escaped("mrdn.none")), Proof::None));
        assert!(is_own(b"mrdn.none") && !is_own(b"EsgD"));
    }

    #[test]
    fn an_id_gives_its_signature_back() {
        let (id, signature) = split_id(escaped("call_1__thought__AbC="));
        assert_eq!((id, signature), (escaped("call_1"), Some(escaped("AbC="))));
        assert_eq!(split_id(escaped("call_1")), (escaped("call_1"), None));
    }
}
