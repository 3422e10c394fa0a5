//! Fields taken out of a request before it is read: `additional_drop_params`.

use std::borrow::Cow;

use crate::translate::emit::Emit;
use crate::translate::loss::{Change, Loss};
use crate::translate::names;
use crate::wire::json::{Kind, Value, whole};

/// One step of a path: a member, every item, or one item.
#[derive(Clone, Debug, PartialEq)]
enum Step<'p> {
    Member(&'p str),
    Every,
    Item(usize),
}

/// The body without the fields of these paths: names, `a.b`, `a[*].b`, `a[0].b`, also with a
/// `$.` before them; and those that were there. Paths to nothing change nothing.
pub fn without<'a>(body: &'a [u8], paths: &[String]) -> (Cow<'a, [u8]>, Vec<Loss>) {
    let whole = whole(body).ok().filter(|_| !paths.is_empty());
    let Some(value) = whole else {
        return (Cow::Borrowed(body), Vec::new());
    };
    let all: Vec<_> = paths.iter().map(|path| steps(path)).collect();
    let there = paths
        .iter()
        .zip(&all)
        .filter(|(_, path)| leads(value, path));
    let losses: Vec<Loss> = there.map(|(path, _)| loss(path)).collect();
    if losses.is_empty() {
        return (Cow::Borrowed(body), losses);
    }
    let all: Vec<&[Step<'_>]> = all.iter().map(Vec::as_slice).collect();
    let mut out = Vec::with_capacity(body.len());
    write(value, &all, &mut Emit::new(&mut out));
    (Cow::Owned(out), losses)
}

fn loss(path: &str) -> Loss {
    Loss {
        field: names::owned(path.strip_prefix("$.").unwrap_or(path)),
        change: Change::Dropped,
        reason: "taken out by additional_drop_params",
    }
}

/// Whether there is something at the end of a path.
fn leads(value: Value<'_>, path: &[Step<'_>]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    match first {
        Step::Member(name) => {
            let member = value.field(name.as_bytes());
            member.is_some_and(|member| leads(member, rest))
        }
        Step::Every => value.items().any(|item| leads(item, rest)),
        Step::Item(at) => {
            let item = value.items().nth(*at);
            item.is_some_and(|item| leads(item, rest))
        }
    }
}

fn steps(path: &str) -> Vec<Step<'_>> {
    let path = path.strip_prefix("$.").unwrap_or(path);
    let mut found = Vec::new();
    for piece in path.split('.') {
        let mut parts = piece.split('[');
        if let Some(name) = parts.next().filter(|name| !name.is_empty()) {
            found.push(Step::Member(name));
        }
        for index in parts {
            let index = index.trim_end_matches(']').trim_matches(['\'', '"']);
            found.push(match index.parse() {
                Ok(number) => Step::Item(number),
                Err(_) if index == "*" => Step::Every,
                Err(_) => Step::Member(index),
            });
        }
    }
    found
}

fn write(value: Value<'_>, paths: &[&[Step<'_>]], emit: &mut Emit<'_>) {
    let is_container = matches!(value.kind, Kind::Object | Kind::Array);
    if paths.is_empty() || !is_container {
        emit.raw(value.raw);
        return;
    }
    if value.kind == Kind::Array {
        emit.open_list();
        for (at, item) in value.items().enumerate() {
            let hits = |step: &Step<'_>| match step {
                Step::Every => true,
                Step::Item(number) => *number == at,
                Step::Member(_) => false,
            };
            if let Some(rest) = below(paths, hits) {
                write(item, &rest, emit);
            }
        }
        emit.close_list();
        return;
    }
    emit.open();
    for (name, member) in value.fields() {
        let hits = |step: &Step<'_>| match step {
            Step::Member(known) => known.as_bytes() == name,
            Step::Every | Step::Item(_) => false,
        };
        if let Some(rest) = below(paths, hits) {
            emit.name(&String::from_utf8_lossy(name));
            write(member, &rest, emit);
        }
    }
    emit.close();
}

/// What is left of the paths that go through here; `None`: one of them ends here.
fn below<'s, 'p>(
    paths: &[&'s [Step<'p>]],
    hits: impl Fn(&Step<'p>) -> bool,
) -> Option<Vec<&'s [Step<'p>]>> {
    let mut rest = Vec::new();
    for path in paths {
        match path.split_first() {
            Some((first, [])) if hits(first) => return None,
            Some((first, later)) if hits(first) => rest.push(later),
            _ => {}
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(paths: &[&str]) -> String {
        let body =
            br#"{"a":1,"tools":[{"n":"x","strict":true},{"strict":false}],"b":{"c":2,"d":3}}"#;
        let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
        String::from_utf8(without(body, &paths).0.into_owned()).unwrap()
    }

    #[test]
    fn paths_name_members_and_items() {
        assert_eq!(
            cut(&["a", "tools[*].strict"]),
            r#"{"tools":[{"n":"x"},{}],"b":{"c":2,"d":3}}"#
        );
        assert_eq!(
            cut(&["$.tools[0]", "b.c", "none.of.it"]),
            r#"{"a":1,"tools":[{"strict":false}],"b":{"d":3}}"#
        );
    }
}
