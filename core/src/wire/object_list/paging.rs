//! How the pages of a list follow each other: behind an object, or by a cursor that the provider
//! gave out.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{Object, Page};
use crate::endpoint::Endpoint;
use crate::error::GatewayError;

/// How cursors begin, as Anthropic's do.
const CURSOR: &str = "page_";

/// How a client goes through a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// OpenAI's `after`.
    After,
    /// `after_id` of Message Batches.
    AfterId,
    /// `page` of Anthropic's files, and the `after_id` that they had before.
    Cursor,
}

impl Paging {
    /// That of an endpoint's list.
    pub fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::AnthropicFiles => Self::Cursor,
            Endpoint::MessageBatches => Self::AfterId,
            _ => Self::After,
        }
    }

    /// The parameter that names the object which a page begins behind.
    pub(super) fn after_name(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::AfterId | Self::Cursor => "after_id",
        }
    }
}

/// Where a page of the provider's begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Behind this object.
    pub(super) after: Option<String>,
    /// At this cursor of the provider's.
    pub(super) cursor: Option<String>,
}

impl Place {
    /// The page behind one that began here; `None` at the end.
    pub fn next(&self, page: &Page) -> Option<Self> {
        if let Some(cursor) = &page.next_page {
            let is_new = self.cursor.as_ref() != Some(cursor);
            return is_new.then(|| Self {
                after: None,
                cursor: Some(cursor.clone()),
            });
        }
        let last = page.objects.last().map(|object| &object.id);
        let is_new = page.has_more && last.is_some() && last != self.after.as_ref();
        is_new.then(|| Self {
            after: last.cloned(),
            cursor: None,
        })
    }

    /// The cursor of a page of a tenant's that begins behind an object of the page which begins
    /// here.
    pub fn cursor_behind(&self, id: &str) -> String {
        let place = serde_json::json!([self.cursor, self.after, id]).to_string();
        format!("{CURSOR}{}", BASE64_URL_SAFE_NO_PAD.encode(place))
    }

    /// Reads such a cursor.
    pub(super) fn read(cursor: &str) -> Result<(Self, String), GatewayError> {
        let text = cursor.strip_prefix(CURSOR).unwrap_or_default();
        let place = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let place = place.and_then(|place| serde_json::from_slice(&place).ok());
        let read = |(cursor, after, id)| (Self { after, cursor }, id);
        place.map(read).ok_or_else(|| GatewayError::BadField {
            field: "page".to_owned(),
            message: "'page' must be the `next_page` of a list of the same key".to_owned(),
        })
    }
}

/// What stands before the object that a tenant's page begins behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skip {
    pub(super) id: Option<String>,
    /// It is in the first page, unless it was deleted.
    pub(super) only_first: bool,
}

impl Skip {
    /// The objects of a page that come behind it.
    pub fn rest(&mut self, mut objects: Vec<Object>) -> Vec<Object> {
        let Some(id) = &self.id else {
            return objects;
        };
        let at = objects.iter().position(|object| object.id == *id);
        if at.is_some() || self.only_first {
            self.id = None;
        }
        match (at, self.only_first) {
            (Some(at), _) => objects.split_off(at + 1),
            (None, true) => objects,
            (None, false) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &str) -> Page {
        Page::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn pages_follow_by_cursor_or_behind_an_object_and_end() {
        let start = Place::default();
        let more = page(r#"{"data":[{"id":"a"}],"next_page":"page_1"}"#);
        let second = start.next(&more).unwrap();
        assert_eq!(second.cursor.as_deref(), Some("page_1"));
        assert_eq!(second.next(&more), None, "a provider that goes in circles");
        let old = page(r#"{"data":[{"id":"a"}],"has_more":true}"#);
        let second = start.next(&old).unwrap();
        assert_eq!(second.after.as_deref(), Some("a"));
        assert_eq!(second.next(&old), None);
        for end in [
            r#"{"data":[{"id":"a"}],"next_page":null}"#,
            r#"{"data":[],"has_more":true}"#,
        ] {
            assert_eq!(start.next(&page(end)), None, "{end}");
        }
    }

    #[test]
    fn a_cursor_of_ours_leads_behind_its_object_also_when_that_is_gone() {
        let place = Place {
            after: None,
            cursor: Some("page_=\"1".to_owned()),
        };
        let cursor = place.cursor_behind("b");
        assert_eq!(Place::read(&cursor).unwrap(), (place, "b".to_owned()));
        for wrong in ["", "page_", "page_1", "b"] {
            assert!(Place::read(wrong).is_err(), "{wrong}");
        }
        let objects = || page(r#"{"data":[{"id":"a"},{"id":"b"},{"id":"c"}]}"#).objects;
        let ids = |objects: Vec<Object>| -> Vec<String> {
            objects.into_iter().map(|object| object.id).collect()
        };
        let skip = |id: &str, only_first| Skip {
            id: Some(id.to_owned()),
            only_first,
        };
        let mut behind = skip("b", true);
        assert_eq!(ids(behind.rest(objects())), ["c"]);
        assert_eq!(ids(behind.rest(objects())), ["a", "b", "c"]);
        assert_eq!(ids(skip("gone", true).rest(objects())), ["a", "b", "c"]);
        let mut later = skip("x", false);
        assert!(ids(later.rest(objects())).is_empty());
        assert!(ids(later.rest(objects())).is_empty(), "until it comes");
    }
}
