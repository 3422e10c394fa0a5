//! What fetched bytes are: by their beginning where that tells, else by what the server says.

use std::borrow::Cow;

use super::{Taker, Use};

/// Bytes of a known type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched<B> {
    /// `image/png`, `application/pdf`, `text/csv`.
    pub media: &'static str,
    /// They.
    pub bytes: B,
}

/// Types whose first bytes tell them.
const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const PDF: &str = "application/pdf";
/// Types of documents that Converse takes besides; a server's word is all there is.
const CONVERSE: [&str; 8] = [
    "text/csv",
    "text/html",
    "text/markdown",
    "text/plain",
    "application/msword",
    "application/vnd.ms-excel",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
];

/// The type of what came, if the provider takes it in this place. `said` is the answer's
/// `content-type`: it decides where the bytes do not tell, and never against them.
///
/// # Errors
/// What came instead, for people.
pub fn read<B: AsRef<[u8]>>(
    bytes: B,
    said: &str,
    wanted: Use,
    taker: Taker,
) -> Result<Fetched<B>, String> {
    let told = sniffed(bytes.as_ref());
    let essence = said.split(';').next().unwrap_or_default().trim();
    let media = match (wanted, told) {
        (Use::Image, Some(media)) if IMAGES.contains(&media) => Some(media),
        (Use::Document, Some(PDF)) => Some(PDF),
        (_, Some(_)) | (Use::Image, None) => None,
        (Use::Document, None) => document(bytes.as_ref(), essence, taker),
    };
    match media {
        Some(media) => Ok(Fetched { media, bytes }),
        None => {
            let what: Cow<'_, str> = match told {
                Some(told) => told.into(),
                None if essence.is_empty() => "of no known type".into(),
                None => format!("called '{}'", shown(essence)).into(),
            };
            Err(match wanted {
                Use::Image => {
                    format!("is no PNG, JPEG, GIF or WebP, which the provider takes, but {what}")
                }
                Use::Document => format!("is no document that the provider takes, but {what}"),
            })
        }
    }
}

/// Claude reads PDF and text.
fn document(bytes: &[u8], essence: &str, taker: Taker) -> Option<&'static str> {
    let is_text = essence
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("text/"));
    if is_text && std::str::from_utf8(bytes).is_err() {
        return None;
    }
    let known = CONVERSE
        .iter()
        .find(|one| one.eq_ignore_ascii_case(essence));
    match taker {
        Taker::Claude if is_text => Some("text/plain"),
        Taker::Claude => None,
        Taker::Converse => known.copied(),
    }
}

fn sniffed(bytes: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"\x89PNG\r\n\x1a\n") {
        return Some("image/png");
    }
    if starts(b"\xff\xd8\xff") {
        return Some("image/jpeg");
    }
    if starts(b"GIF87a") || starts(b"GIF89a") {
        return Some("image/gif");
    }
    if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    starts(b"%PDF-").then_some(PDF)
}

/// A server's word in an error: short and plain.
fn shown(essence: &str) -> String {
    let plain = |letter: &char| letter.is_ascii_graphic() && *letter != '\'';
    essence.chars().filter(plain).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(bytes: &[u8], said: &str, wanted: Use, taker: Taker) -> Result<&'static str, String> {
        read(bytes, said, wanted, taker).map(|read| read.media)
    }

    #[test]
    fn bytes_tell_what_they_are_whatever_the_server_says() {
        let (image, claude) = (Use::Image, Taker::Claude);
        let table: [(&[u8], &str); 5] = [
            (b"\x89PNG\r\n\x1a\n..", "image/png"),
            (b"\xff\xd8\xff\xe0..", "image/jpeg"),
            (b"GIF89a..", "image/gif"),
            (b"GIF87a..", "image/gif"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        ];
        for (bytes, expected) in table {
            for said in ["", "text/html", "image/x"] {
                assert_eq!(media(bytes, said, image, claude), Ok(expected));
            }
            let as_document = media(bytes, "application/pdf", Use::Document, claude);
            assert!(as_document.unwrap_err().contains(expected));
        }
        for said in ["image/png", "image/svg+xml", ""] {
            let refused = media(b"<svg>", said, image, claude);
            assert!(refused.is_err(), "{said}: {refused:?}");
        }
        assert!(media(b"%PDF-1.7", "image/png", image, claude).is_err());
        let cut = media(b"RIFF\0\0\0\0WAVE", "image/webp", image, claude);
        assert!(cut.is_err(), "{cut:?}");
    }

    #[test]
    fn documents_are_what_each_provider_reads() {
        let (document, csv) = (Use::Document, "text/csv; charset=utf-8");
        for taker in [Taker::Claude, Taker::Converse] {
            assert_eq!(media(b"%PDF-1.7", "x/y", document, taker), Ok(PDF));
            assert!(media(b"a,\xff", csv, document, taker).is_err());
            assert!(media(b"a,b", "", document, taker).is_err());
        }
        assert_eq!(
            media(b"a,b", csv, document, Taker::Converse),
            Ok("text/csv")
        );
        assert_eq!(
            media(b"a,b", csv, document, Taker::Claude),
            Ok("text/plain")
        );
        let word = CONVERSE[7];
        assert_eq!(media(b"PK..", word, document, Taker::Converse), Ok(word));
        let refused = media(b"PK..", word, document, Taker::Claude).unwrap_err();
        assert!(refused.contains(word), "{refused}");
    }
}
