//! The reference in `docs/CONFIGURATION.md` is the table of keys; `UPDATE_DOCS=1` writes it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use meridian_core::config::keys::{Effect, Key, MISTAKEN, Section};

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn row(key: &Key) -> String {
    let (word, text) = match key.effect {
        Effect::Effective(text) => ("effective", text),
        Effect::NotYet(text) => ("not yet", text),
        Effect::Ignored(text) => ("ignored", text),
    };
    let expected = cell(&key.kind.expected());
    format!(
        "| `{}` | {expected} | {word} | {} |\n",
        key.name,
        cell(text)
    )
}

fn keys() -> String {
    let mut text = String::new();
    for section in Section::ALL {
        let _ = writeln!(text, "\n### `{}`\n", section.path());
        text.push_str("| Key | Holds | Effect | |\n|---|---|---|---|\n");
        section
            .keys()
            .iter()
            .for_each(|key| text.push_str(&row(key)));
    }
    text
}

fn mistaken() -> String {
    let mut text = String::from("\n| Written | What happens, and what to write |\n|---|---|\n");
    for row in MISTAKEN {
        let path = row.section.path();
        let _ = writeln!(text, "| `{path}.{}` | {} |", row.name, cell(row.instead));
    }
    text
}

/// The document with a generated part between its two marks.
fn with_part(document: &str, name: &str, part: &str) -> String {
    let begin = format!("<!-- {name}: begin");
    let end = format!("<!-- {name}: end");
    let start = document.find(&begin).expect("begin mark");
    let start = start + document[start..].find('\n').expect("line end") + 1;
    let stop = document.find(&end).expect("end mark");
    format!("{}{part}\n{}", &document[..start], &document[stop..])
}

#[test]
fn the_reference_says_what_the_table_says() {
    let written = std::fs::read_to_string(document()).unwrap();
    let wanted = with_part(&written, "keys", &keys());
    let wanted = with_part(&wanted, "mistaken", &mistaken());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(document(), &wanted).unwrap();
        return;
    }
    assert!(
        written == wanted,
        "run UPDATE_DOCS=1 cargo test -p meridian-core --test config"
    );
}
