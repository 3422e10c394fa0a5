//! Names in a mailbox.

use crate::shared::names::Names;

/// Names of what one region sends to another.
#[derive(Clone, Debug)]
pub(super) struct Box {
    /// Where it is published that something came.
    pub(super) bell: String,
    /// The stream of batches.
    pub(super) batches: String,
    /// What the receiver has stored.
    pub(super) stored: String,
    /// Up to when everything is told.
    pub(super) mark: String,
    /// Sums of what is told.
    pub(super) sums: String,
    /// What the receiver wants once more.
    pub(super) wanted: String,
}

impl Box {
    /// In the mailbox of `to`, in a Redis where names begin with `namespace`.
    pub(super) fn new(namespace: Option<&str>, to: &str, from: &str) -> Self {
        let names = Names::new("mailbox", namespace, Some(to));
        let of = |what: &str| names.under(&[from, what]);
        Self {
            bell: names.channel().to_owned(),
            batches: of("batches"),
            stored: of("stored"),
            mark: of("mark"),
            sums: of("sums"),
            wanted: of("wanted"),
        }
    }

    /// Who stores what comes, and sends what leaves, for a region.
    pub(super) fn leader(namespace: Option<&str>, region: &str) -> String {
        Names::new("mailbox", namespace, Some(region)).under(&["leader"])
    }
}
