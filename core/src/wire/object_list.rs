//! Lists of files and batches: one page as the provider tells it, and the page that one tenant
//! gets of an account that others use as well.

mod paging;

pub use paging::{Paging, Place, Skip};

use super::json;
use crate::config::percent;
use crate::error::GatewayError;

/// What a list is asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Path without its query.
    path: String,
    paging: Paging,
    /// Everything in the query but the place and the size, as the client wrote it.
    filters: Vec<String>,
    /// It names its objects: there is one page of them.
    is_single: bool,
    /// Most objects of a page.
    pub limit: Option<usize>,
    /// The object that the page begins behind, where the client names one.
    pub after: Option<String>,
    /// Where the first page of the provider's begins.
    pub start: Place,
    /// What stands before the client's page there.
    pub skip: Skip,
}

impl Question {
    /// Reads path and query: `/files?purpose=batch&limit=10`.
    ///
    /// # Errors
    /// `BadField` for a page size that is none, for a page before an object, and for a cursor that
    /// is none of ours.
    pub fn read(tail: &str, paging: Paging) -> Result<Self, GatewayError> {
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let mut question = Self {
            path: path.to_owned(),
            paging,
            filters: Vec::new(),
            is_single: false,
            limit: None,
            after: None,
            start: Place::default(),
            skip: Skip::default(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("limit", "") => {}
                (name, "") if name == paging.after_name() => {}
                ("limit", limit) => question.limit = Some(size(limit)?),
                (name, after) if name == paging.after_name() => question.begin_behind(after),
                ("before_id", before) if paging != Paging::After => refuse_before(before)?,
                ("page", "") if paging == Paging::Cursor => {}
                ("page", cursor) if paging == Paging::Cursor => question.begin_at(cursor)?,
                (name, _) => {
                    let names_them = paging == Paging::Cursor && name.starts_with("ids");
                    question.is_single |= names_them;
                    question.filters.push(pair.to_owned());
                }
            }
        }
        Ok(question)
    }

    /// Path and query of a page of the provider's.
    pub fn tail(&self, place: &Place, limit: usize) -> String {
        let mut pairs = Vec::new();
        if !self.is_single {
            pairs.push(format!("limit={limit}"));
        }
        if let Some(after) = &place.after {
            pairs.push(format!("{}={after}", self.paging.after_name()));
        }
        if let Some(cursor) = &place.cursor {
            pairs.push(format!("page={}", percent::encoded(cursor, b"-._~")));
        }
        pairs.extend(self.filters.iter().cloned());
        format!("{}?{}", self.path, pairs.join("&"))
    }

    fn begin_behind(&mut self, after: &str) {
        let after = Some(after.to_owned());
        match self.paging {
            Paging::After | Paging::AfterId => self.start.after.clone_from(&after),
            // Whether the provider still has this parameter it does not say.
            Paging::Cursor => self.skip.id.clone_from(&after),
        }
        self.after = after;
    }

    fn begin_at(&mut self, cursor: &str) -> Result<(), GatewayError> {
        let (start, id) = Place::read(cursor)?;
        self.start = start;
        self.skip = Skip {
            id: Some(id),
            only_first: true,
        };
        Ok(())
    }
}

/// A key's list is gathered from the newest on: there is no way back in it.
fn refuse_before(before: &str) -> Result<(), GatewayError> {
    match before {
        "" => Ok(()),
        _ => Err(GatewayError::BadField {
            field: "before_id".to_owned(),
            message: "'before_id' is not served for a key's own list: go through it by \
                'after_id'"
                .to_owned(),
        }),
    }
}

fn size(limit: &str) -> Result<usize, GatewayError> {
    let size = limit.parse().ok().filter(|size| *size > 0);
    size.ok_or_else(|| GatewayError::BadField {
        field: "limit".to_owned(),
        message: format!("'limit' must be a whole number from 1, not {limit}"),
    })
}

/// One page of the provider's.
#[derive(Debug)]
pub struct Page {
    /// Its objects.
    pub objects: Vec<Object>,
    /// Whether there are others behind it.
    pub has_more: bool,
    /// The cursor of those, where the provider gives one.
    pub next_page: Option<String>,
}

/// One object of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The provider's id.
    pub id: String,
    /// All of it, as the provider wrote it.
    pub raw: Vec<u8>,
}

impl Page {
    /// Reads a page; `None` where it is not clear what is in it.
    pub fn read(body: &[u8]) -> Option<Self> {
        let body = json::whole(body).ok()?;
        let list = body.field(b"data")?;
        if list.kind != json::Kind::Array {
            return None;
        }
        let object = |one: json::Value<'_>| {
            let id = one.field(b"id")?.text().filter(|id| is_id(id))?;
            Some(Object {
                id: id.into_owned(),
                raw: one.raw.to_vec(),
            })
        };
        let has_more = body
            .field(b"has_more")
            .is_some_and(|more| more.raw == b"true");
        let next_page = body.field(b"next_page").and_then(json::Value::text);
        let next_page = next_page.filter(|cursor| !cursor.is_empty());
        Some(Self {
            next_page: next_page.map(|cursor| cursor.into_owned()),
            objects: list.items().map(object).collect::<Option<_>>()?,
            has_more,
        })
    }

    /// The page as a client reads it.
    pub fn write(&self, paging: Paging) -> Vec<u8> {
        // What `is_id` takes needs no escape.
        let name = |object: Option<&Object>| match object {
            Some(object) => format!("\"{}\"", object.id),
            None => "null".to_owned(),
        };
        let raw: Vec<&[u8]> = self.objects.iter().map(|one| one.raw.as_slice()).collect();
        let mut ends = format!(
            "],\"first_id\":{},\"last_id\":{},\"has_more\":{}",
            name(self.objects.first()),
            name(self.objects.last()),
            self.has_more
        );
        if paging == Paging::Cursor {
            let cursor = self.next_page.as_deref().map(json_text);
            ends.push_str(",\"next_page\":");
            ends.push_str(cursor.as_deref().unwrap_or("null"));
        }
        ends.push('}');
        let mut body = match paging {
            Paging::After => b"{\"object\":\"list\",\"data\":[".to_vec(),
            Paging::AfterId | Paging::Cursor => b"{\"data\":[".to_vec(),
        };
        body.extend(raw.join(&b","[..]));
        body.extend_from_slice(ends.as_bytes());
        body
    }
}

/// Pages that are looked at behind a full answer for whether there are more.
const PAGES_BEHIND: usize = 3;

/// How far an account is searched for one caller's objects.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    wanted: usize,
    behind: usize,
}

/// What follows a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next one.
    Page,
    /// The answer.
    Answer {
        /// There are more of the caller's, or there may be.
        has_more: bool,
    },
    /// No answer: nothing was found, and no end is in sight.
    GiveUp,
}

impl Search {
    /// For so many objects.
    pub fn new(wanted: usize) -> Self {
        let behind = 0;
        Self { wanted, behind }
    }

    /// Says what follows a page with which `found` objects were found in all. `is_last`: the
    /// account has no more; `is_late`: there is no time for more.
    pub fn after_page(&mut self, found: usize, is_last: bool, is_late: bool) -> Next {
        if found > self.wanted || is_last {
            let has_more = found > self.wanted;
            return Next::Answer { has_more };
        }
        let is_full = found == self.wanted;
        self.behind += usize::from(is_full);
        match is_late || self.behind > PAGES_BEHIND {
            true if found == 0 => Next::GiveUp,
            true => Next::Answer { has_more: true },
            false => Next::Page,
        }
    }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether a text is an id that can stand in a query.
fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

/// Ids of what a file or batch answer says was made: itself, and what a batch has written.
pub fn made(body: &[u8]) -> Vec<String> {
    const NAMES: [&[u8]; 3] = [b"id", b"output_file_id", b"error_file_id"];
    let Ok(body) = json::whole(body) else {
        return Vec::new();
    };
    let id = |name: &&[u8]| Some(body.field(name)?.text()?.into_owned());
    let ids = NAMES.iter().filter_map(id);
    ids.filter(|id| is_id(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_keeps_what_it_does_not_know() {
        let asked = Question::read(
            "/files?purpose=batch&limit=2&order=asc&after=file-1",
            Paging::After,
        )
        .unwrap();
        assert_eq!(
            (asked.limit, asked.after.as_deref()),
            (Some(2), Some("file-1"))
        );
        let behind = |id: &str| Place {
            after: Some(id.to_owned()),
            cursor: None,
        };
        assert_eq!(asked.start, behind("file-1"));
        let tail = asked.tail(&behind("file-9"), 100);
        assert_eq!(
            tail,
            "/files?limit=100&after=file-9&purpose=batch&order=asc"
        );
        let plain = Question::read("/batches", Paging::After).unwrap();
        assert_eq!(
            (plain.limit, plain.tail(&plain.start, 5)),
            (None, "/batches?limit=5".to_owned())
        );
        for limit in ["0", "-1", "x", "1.5"] {
            let refused =
                Question::read(&format!("/files?limit={limit}"), Paging::After).unwrap_err();
            assert!(refused.to_string().contains("'limit'"), "{refused}");
        }
    }

    #[test]
    fn anthropics_pages_are_named_otherwise_and_go_one_way() {
        let read = |tail: &str| Question::read(tail, Paging::AfterId);
        let asked = read("/messages/batches?after_id=msgbatch_1&limit=3&before_id=").unwrap();
        assert_eq!(asked.after.as_deref(), Some("msgbatch_1"));
        assert_eq!(
            asked.tail(
                &Place {
                    after: Some("b".to_owned()),
                    cursor: None
                },
                9
            ),
            "/messages/batches?limit=9&after_id=b"
        );
        let refused = read("/messages/batches?before_id=msgbatch_1").unwrap_err();
        assert!(refused.to_string().contains("before_id"), "{refused}");
        let mut page = Page::read(br#"{"data":[{"id":"b"}],"has_more":false}"#).unwrap();
        page.has_more = true;
        let written = String::from_utf8(page.write(Paging::AfterId)).unwrap();
        let expected = r#"{"data":[{"id":"b"}],"first_id":"b","last_id":"b","has_more":true}"#;
        assert_eq!(written, expected);
    }

    #[test]
    fn anthropics_files_go_by_cursor_and_may_be_named() {
        let read = |tail: &str| Question::read(tail, Paging::Cursor);
        let place = Place {
            after: None,
            cursor: Some("page_x=".to_owned()),
        };
        let cursor = place.cursor_behind("file_1");
        let asked = read(&format!("/files?beta=true&page={cursor}&limit=2")).unwrap();
        assert_eq!((&asked.start, &asked.after), (&place, &None));
        let tail = asked.tail(&asked.start, 9);
        assert_eq!(tail, "/files?limit=9&page=page_x%3D&beta=true");
        let named = read("/files?ids=file_1&ids=file_2").unwrap();
        let tail = named.tail(&named.start, 9);
        assert_eq!(tail, "/files?ids=file_1&ids=file_2", "and no limit with it");
        let old = read("/files?after_id=file_1").unwrap();
        assert_eq!(old.tail(&old.start, 9), "/files?limit=9");
        assert_eq!(old.after.as_deref(), Some("file_1"));
        assert!(read("/files?page=page_x").is_err());
        let mut page = Page::read(br#"{"data":[{"id":"b"}]}"#).unwrap();
        page.next_page = Some("page_y".to_owned());
        let written = String::from_utf8(page.write(Paging::Cursor)).unwrap();
        let expected = concat!(
            r#"{"data":[{"id":"b"}],"first_id":"b","last_id":"b","has_more":false,"#,
            r#""next_page":"page_y"}"#
        );
        assert_eq!(written, expected);
    }

    #[test]
    fn a_page_is_read_and_written_with_its_objects_untouched() {
        let body =
            br#" {"total":7,"data":[{"id":"file-1","x":1e400}, {"id":"file-2"}],"has_more":true}"#;
        let mut page = Page::read(body).unwrap();
        assert!(page.has_more);
        let written = String::from_utf8(page.write(Paging::After)).unwrap();
        let expected = concat!(
            r#"{"object":"list","data":[{"id":"file-1","x":1e400},{"id":"file-2"}],"#,
            r#""first_id":"file-1","last_id":"file-2","has_more":true}"#
        );
        assert_eq!(written, expected);
        page.objects.clear();
        page.has_more = false;
        let none = r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#;
        assert_eq!(String::from_utf8(page.write(Paging::After)).unwrap(), none);
    }

    #[test]
    fn a_page_of_unknown_shape_is_none() {
        for body in [
            "[]",
            "{\"files\":[]}",
            "{\"data\":{}}",
            "{\"data\":[{\"name\":\"a\"}]}",
            "{\"data\":[{\"id\":\"a\"},\"b\"]}",
            "{\"data\":[{\"id\":\"a&after=b\"}]}",
            "{\"data\":[{\"id\":\"a\"}]",
        ] {
            assert!(Page::read(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn an_account_is_searched_until_the_page_is_full_and_a_little_further() {
        let mut search = Search::new(2);
        assert_eq!(search.after_page(1, false, false), Next::Page);
        for _ in 0..PAGES_BEHIND {
            assert_eq!(search.after_page(2, false, false), Next::Page);
        }
        let full = Next::Answer { has_more: true };
        assert_eq!(search.after_page(2, false, false), full, "nobody knows");
        let mut search = Search::new(2);
        assert_eq!(search.after_page(3, true, false), full);
        assert_eq!(Search::new(2).after_page(3, false, false), full);
        let whole = Next::Answer { has_more: false };
        assert_eq!(Search::new(2).after_page(2, true, true), whole);
        assert_eq!(Search::new(2).after_page(0, true, true), whole);
        assert_eq!(Search::new(2).after_page(1, false, true), full);
        assert_eq!(Search::new(2).after_page(0, false, true), Next::GiveUp);
    }

    #[test]
    fn a_batch_names_what_it_wrote() {
        let batch = br#"{"id":"batch_1","output_file_id":"file-o","error_file_id":null}"#;
        assert_eq!(made(batch), ["batch_1", "file-o"]);
        assert!(made(b"no").is_empty());
    }
}
