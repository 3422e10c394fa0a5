//! The root file and what it includes, as one tree.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::problem::{Position, Problems};
use super::tree::{self, Entry, Node, Value};

/// Most files of one configuration.
const FILES_MAX: usize = 64;

/// Reads files and joins them. `read` gives the text of a path or says why it cannot.
pub(super) struct Files<'a, R> {
    pub(super) read: &'a mut R,
    /// Every file that was asked for, in order; the root is first.
    pub(super) seen: Vec<PathBuf>,
    open: Vec<PathBuf>,
}

impl<'a, R: FnMut(&Path) -> Result<String, String>> Files<'a, R> {
    pub(super) fn new(read: &'a mut R) -> Self {
        let (seen, open) = (Vec::new(), Vec::new());
        Self { read, seen, open }
    }

    /// The tree of a file with its includes; `asked` is where an include names it.
    pub(super) fn tree(
        &mut self,
        path: &Path,
        asked: Option<&Position>,
        problems: &mut Problems,
    ) -> Option<Node> {
        let path = plain(path);
        let file: Arc<str> = path.to_string_lossy().into();
        let start = Position {
            file: Arc::clone(&file),
            line: 1,
            column: 1,
        };
        let at = asked.unwrap_or(&start);
        if let Some(why) = self.refusal(&path) {
            problems.error(at, "include", why);
            return None;
        }
        self.seen.push(path.clone());
        let text = match (self.read)(&path) {
            Ok(text) => text,
            Err(why) => {
                let place = if asked.is_some() { "include" } else { "" };
                problems.error(at, place, format!("cannot read {file}: {why}"));
                return None;
            }
        };
        let mut root = tree::parse(&file, &text, problems)?;
        if !matches!(root.value, Value::Map(_)) {
            let message = "expected a mapping with `model_list` and settings";
            problems.error(&root.at, "", message);
            return None;
        }
        self.open.push(path.clone());
        self.include(&mut root, &path, problems);
        self.open.pop();
        Some(root)
    }

    fn refusal(&self, path: &Path) -> Option<String> {
        if self.open.iter().any(|open| open == path) {
            return Some(format!(
                "{} includes itself; remove one link",
                path.display()
            ));
        }
        (self.seen.len() >= FILES_MAX).then(|| format!("more than {FILES_MAX} files"))
    }

    fn include(&mut self, root: &mut Node, path: &Path, problems: &mut Problems) {
        let Some(list) = take(root, "include").filter(|list| !list.is_null()) else {
            return;
        };
        let names = match &list.value {
            Value::Scalar(_) => std::slice::from_ref(&list),
            _ => list.items(),
        };
        if names.is_empty() && !list.entries().is_empty() {
            problems.error(
                &list.at,
                "include",
                "expected a list of file names, got a mapping",
            );
        }
        for name in names {
            let Some(text) = name.scalar().map(|scalar| scalar.text()) else {
                problems.error(&name.at, "include", "expected a file name");
                continue;
            };
            let included = path.parent().unwrap_or(Path::new("")).join(text);
            if let Some(included) = self.tree(&included, Some(&name.at), problems) {
                join(root, included, problems);
            }
        }
    }
}

/// The section that LiteLLM does not have. Its parts are joined key by key, and the including file
/// wins: an overlay says what differs.
const OWN_SECTION: &str = "meridian";

/// Lists are extended, everything else is overwritten, as in LiteLLM.
fn join(root: &mut Node, included: Node, problems: &mut Problems) {
    let (Value::Map(own), Value::Map(added)) = (&mut root.value, included.value) else {
        return;
    };
    for entry in added {
        let Some(known) = own.iter_mut().find(|known| known.key == entry.key) else {
            own.push(entry);
            continue;
        };
        if entry.key == OWN_SECTION {
            fill(&mut known.value, entry.value);
            continue;
        }
        match (&mut known.value.value, entry.value.value) {
            (Value::List(items), Value::List(more)) => items.extend(more),
            (_, value) => {
                let at = entry.value.at;
                replaced(known, &entry.key_at, problems);
                known.key_at = entry.key_at;
                known.value = Node { value, at };
            }
        }
    }
}

/// Adds what is not written yet.
fn fill(own: &mut Node, added: Node) {
    if own.is_null() {
        *own = added;
        return;
    }
    let (Value::Map(own), Value::Map(added)) = (&mut own.value, added.value) else {
        return;
    };
    for entry in added {
        match own.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => fill(&mut known.value, entry.value),
            None => own.push(entry),
        }
    }
}

fn replaced(known: &Entry, by: &Position, problems: &mut Problems) {
    if !known.value.is_null() {
        let Position { file, line, .. } = &known.key_at;
        let message = format!("replaces the whole of the one at {file}:{line}, as in LiteLLM");
        problems.notice(by, &known.key, message);
    }
}

fn take(node: &mut Node, key: &str) -> Option<Node> {
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    let index = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(index).value)
}

/// The path without `.` and, where it can be seen in the text, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        let after_name = matches!(plain.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if after_name => {
                plain.pop();
            }
            _ => plain.push(part),
        }
    }
    plain
}
