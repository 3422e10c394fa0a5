//! Lists of files and batches: one page as the provider tells it, and the page that one tenant
//! gets of an account that others use as well.

use super::json;
use crate::endpoint::Dialect;
use crate::error::GatewayError;

/// What a list is asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Path without its query.
    path: String,
    dialect: Dialect,
    /// Everything in the query but the two below, as the client wrote it.
    filters: Vec<String>,
    /// Most objects of a page.
    pub limit: Option<usize>,
    /// The object that the page begins behind.
    pub after: Option<String>,
}

impl Question {
    /// Reads path and query: `/files?purpose=batch&limit=10`.
    ///
    /// # Errors
    /// `BadField` for a page size that is none, and for a page before an object.
    pub fn read(tail: &str, dialect: Dialect) -> Result<Self, GatewayError> {
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let mut question = Self {
            path: path.to_owned(),
            dialect,
            filters: Vec::new(),
            limit: None,
            after: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("limit", "") => {}
                (name, "") if name == question.after_name() => {}
                ("limit", limit) => question.limit = Some(size(limit)?),
                (name, after) if name == question.after_name() => {
                    question.after = Some(after.to_owned());
                }
                ("before_id", before) if dialect == Dialect::Anthropic => {
                    question.refuse_before(before)?;
                }
                _ => question.filters.push(pair.to_owned()),
            }
        }
        Ok(question)
    }

    /// Path and query of a page of the provider's.
    pub fn tail(&self, after: Option<&str>, limit: usize) -> String {
        let mut tail = format!("{}?limit={limit}", self.path);
        if let Some(after) = after {
            tail.push_str(&format!("&{}={after}", self.after_name()));
        }
        for filter in &self.filters {
            tail.push('&');
            tail.push_str(filter);
        }
        tail
    }
}

impl Question {
    /// The parameter that names the object which the page begins behind.
    fn after_name(&self) -> &'static str {
        match self.dialect {
            Dialect::OpenAi => "after",
            Dialect::Anthropic => "after_id",
        }
    }

    /// A key's list is gathered from the newest on: there is no way back in it.
    fn refuse_before(&self, before: &str) -> Result<(), GatewayError> {
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
        Some(Self {
            objects: list.items().map(object).collect::<Option<_>>()?,
            has_more,
        })
    }

    /// The page as a client reads it.
    pub fn write(&self, dialect: Dialect) -> Vec<u8> {
        // What `is_id` takes needs no escape.
        let name = |object: Option<&Object>| match object {
            Some(object) => format!("\"{}\"", object.id),
            None => "null".to_owned(),
        };
        let raw: Vec<&[u8]> = self.objects.iter().map(|one| one.raw.as_slice()).collect();
        let ends = format!(
            "],\"first_id\":{},\"last_id\":{},\"has_more\":{}}}",
            name(self.objects.first()),
            name(self.objects.last()),
            self.has_more
        );
        let mut body = match dialect {
            Dialect::OpenAi => b"{\"object\":\"list\",\"data\":[".to_vec(),
            Dialect::Anthropic => b"{\"data\":[".to_vec(),
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
            Dialect::OpenAi,
        )
        .unwrap();
        assert_eq!(
            (asked.limit, asked.after.as_deref()),
            (Some(2), Some("file-1"))
        );
        let tail = asked.tail(Some("file-9"), 100);
        assert_eq!(
            tail,
            "/files?limit=100&after=file-9&purpose=batch&order=asc"
        );
        let plain = Question::read("/batches", Dialect::OpenAi).unwrap();
        assert_eq!(
            (plain.limit, plain.tail(None, 5)),
            (None, "/batches?limit=5".to_owned())
        );
        for limit in ["0", "-1", "x", "1.5"] {
            let refused =
                Question::read(&format!("/files?limit={limit}"), Dialect::OpenAi).unwrap_err();
            assert!(refused.to_string().contains("'limit'"), "{refused}");
        }
    }

    #[test]
    fn anthropics_pages_are_named_otherwise_and_go_one_way() {
        let read = |tail: &str| Question::read(tail, Dialect::Anthropic);
        let asked = read("/messages/batches?after_id=msgbatch_1&limit=3&before_id=").unwrap();
        assert_eq!(asked.after.as_deref(), Some("msgbatch_1"));
        assert_eq!(
            asked.tail(Some("b"), 9),
            "/messages/batches?limit=9&after_id=b"
        );
        let refused = read("/messages/batches?before_id=msgbatch_1").unwrap_err();
        assert!(refused.to_string().contains("before_id"), "{refused}");
        let mut page = Page::read(br#"{"data":[{"id":"b"}],"has_more":false}"#).unwrap();
        page.has_more = true;
        let written = String::from_utf8(page.write(Dialect::Anthropic)).unwrap();
        let expected = r#"{"data":[{"id":"b"}],"first_id":"b","last_id":"b","has_more":true}"#;
        assert_eq!(written, expected);
    }

    #[test]
    fn a_page_is_read_and_written_with_its_objects_untouched() {
        let body =
            br#" {"total":7,"data":[{"id":"file-1","x":1e400}, {"id":"file-2"}],"has_more":true}"#;
        let mut page = Page::read(body).unwrap();
        assert!(page.has_more);
        let written = String::from_utf8(page.write(Dialect::OpenAi)).unwrap();
        let expected = concat!(
            r#"{"object":"list","data":[{"id":"file-1","x":1e400},{"id":"file-2"}],"#,
            r#""first_id":"file-1","last_id":"file-2","has_more":true}"#
        );
        assert_eq!(written, expected);
        page.objects.clear();
        page.has_more = false;
        let none = r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#;
        assert_eq!(
            String::from_utf8(page.write(Dialect::OpenAi)).unwrap(),
            none
        );
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
