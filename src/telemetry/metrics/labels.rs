//! Label sets: borrowed as a request brings them, stored once as a series keeps them.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use meridian_core::ids::KeyHash;

use super::catalogue::{KEYLESS_LABELS, Label};

/// Text of a label that has no value: LiteLLM writes Python's `None`.
pub(super) const MISSING: &str = "None";

/// Text that stands for every value that is not a configured object or is over the limit.
pub const OTHER: &str = "_other";

/// Status of label sets that do not tell statuses apart; no HTTP status.
const NO_STATUS: u16 = 1;

/// Longest label text in bytes; what is longer is cut.
const LABEL_BYTES_MAX: usize = 256;

/// A label set as a request brings it: borrowed, on the stack.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) key: Option<KeyHash>,
    pub(super) status: u16,
    texts: [&'a str; Label::PROBED],
}

impl<'a> Probe<'a> {
    pub(super) fn new(key: Option<KeyHash>, status: u16) -> Self {
        Self {
            key,
            status,
            texts: [MISSING; Label::PROBED],
        }
    }

    /// The label set of everything that may not have its own.
    pub(super) fn rest(failed: bool) -> Self {
        let mut texts = [OTHER; Label::PROBED];
        texts[Label::ExceptionClass as usize] = if failed { OTHER } else { MISSING };
        Self {
            key: None,
            status: 0,
            texts,
        }
    }

    /// What families that do not name keys tell apart of a series' labels.
    pub(super) fn keyless(labels: &'a LabelSet) -> Self {
        let mut probe = Self::new(None, NO_STATUS);
        for label in KEYLESS_LABELS {
            probe.texts[label as usize] = labels.text(label);
        }
        probe
    }

    /// What latencies tell apart of a series' labels: not its status, class and route, and its
    /// caller only where asked for.
    pub(super) fn for_latencies(labels: &'a LabelSet, with_caller: bool) -> Self {
        let mut probe = Self::new(labels.key.filter(|_| with_caller), NO_STATUS);
        for (text, stored) in probe.texts.iter_mut().zip(&labels.texts) {
            *text = stored;
        }
        let caller = [Label::EndUser, Label::ApiKeyAlias, Label::User];
        let caller: &[Label] = if with_caller { &[] } else { &caller };
        let others = [Label::UserEmail, Label::ExceptionClass, Label::Route];
        for label in others.iter().chain(caller) {
            probe.texts[*label as usize] = MISSING;
        }
        probe
    }

    pub(super) fn set(&mut self, label: Label, text: &'a str) {
        if !text.is_empty() {
            self.texts[label as usize] = clip(text);
        }
    }

    pub(super) fn set_opt(&mut self, label: Label, text: Option<&'a str>) {
        self.set(label, text.unwrap_or_default());
    }

    /// Removes what tells one caller from another.
    pub(super) fn without_caller(mut self) -> Self {
        self.key = None;
        for label in CALLER_LABELS {
            self.texts[label as usize] = OTHER;
        }
        self
    }

    /// Whether a request of this label set counts as failed.
    pub(super) fn is_failed(&self) -> bool {
        self.status >= 400 || self.texts[Label::ExceptionClass as usize] != MISSING
    }

    pub(super) fn fingerprint(&self, state: &RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        if let Some(key) = self.key {
            hasher.write(&key.as_bytes()[..16]);
        }
        hasher.write_u16(self.status);
        for text in self.texts {
            hasher.write(text.as_bytes());
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }
}

/// Labels that are replaced by `_other` when there are too many series.
const CALLER_LABELS: [Label; 8] = [
    Label::EndUser,
    Label::ApiKeyAlias,
    Label::Team,
    Label::TeamAlias,
    Label::User,
    Label::UserEmail,
    Label::OrgId,
    Label::OrgAlias,
];

pub(super) fn clip(text: &str) -> &str {
    if text.len() <= LABEL_BYTES_MAX {
        return text;
    }
    let end = (0..=LABEL_BYTES_MAX)
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// A stored label set.
#[derive(Debug)]
pub(super) struct LabelSet {
    key: Option<KeyHash>,
    status: u16,
    texts: [Box<str>; Label::STORED],
}

impl LabelSet {
    pub(super) fn of(probe: &Probe<'_>, hashed_api_key: &str) -> Self {
        let status = match probe.status {
            0 => OTHER.to_owned(),
            status => status.to_string(),
        };
        let texts = std::array::from_fn(|at| match probe.texts.get(at) {
            Some(text) => Box::from(*text),
            None if at == Label::HashedApiKey as usize => Box::from(hashed_api_key),
            None => Box::from(status.as_str()),
        });
        Self {
            key: probe.key,
            status: probe.status,
            texts,
        }
    }

    pub(super) fn is(&self, probe: &Probe<'_>) -> bool {
        self.key == probe.key
            && self.status == probe.status
            && self
                .texts
                .iter()
                .zip(probe.texts)
                .all(|(mine, theirs)| **mine == *theirs)
    }

    pub(super) fn key(&self) -> Option<KeyHash> {
        self.key
    }

    pub(super) fn hashed_api_key(&self) -> &str {
        self.text(Label::HashedApiKey)
    }

    pub(super) fn text(&self, label: Label) -> &str {
        let stored = label.stored().and_then(|to| self.texts.get(to as usize));
        stored.map_or(MISSING, |text| text)
    }
}
