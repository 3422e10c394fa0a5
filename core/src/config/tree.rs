//! YAML text as a tree in which every node knows its file, line and column.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::problem::{Position, Problems};
use super::scalar::{Scalar, Style};

/// Most bytes of one file.
const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most nodes of one file, aliases expanded.
const NODES_MAX: usize = 200_000;
/// Deepest nesting, aliases expanded.
const DEPTH_MAX: usize = 64;

/// A value and where it begins. No `Debug`: scalars may be secrets.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Position,
}

/// What a node holds.
#[derive(Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) value: Node,
}

impl Node {
    /// The value under `key`, when this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of `key`, when this is a map that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Items of a list; none for anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The scalar, when this is one and not null.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) if !scalar.is_null() => Some(scalar),
            _ => None,
        }
    }

    /// Whether nothing was written here: null or an unset variable.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    fn size_and_height(&self) -> (usize, usize) {
        let fold = |(size, height): (usize, usize), child: &Node| {
            let below = child.size_and_height();
            (size + below.0, height.max(below.1 + 1))
        };
        let values = self.entries().iter().map(|entry| &entry.value);
        self.items().iter().chain(values).fold((1, 1), fold)
    }
}

/// Reads one document. `None` (with a problem) when the text is not YAML, is several documents or
/// is over a limit; an empty text is a null node.
pub(super) fn parse(file: &Arc<str>, text: &str, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder::new(file);
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes; split it");
        problems.error(&builder.start(), "", message);
        return None;
    }
    let mut parser = Parser::new_from_str(text.trim_start_matches('\u{feff}'));
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.accept(event, span, problems),
            Err(error) => Err((*error.marker(), format!("not YAML: {}", error.info()))),
        };
        if let Err((marker, message)) = step {
            problems.error(&builder.position(marker), "", message);
            return None;
        }
    }
    let empty = Node {
        value: Value::Scalar(Scalar::null()),
        at: builder.start(),
    };
    Some(builder.root.unwrap_or(empty))
}

type Refused = (Marker, String);

struct Builder {
    file: Arc<str>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or map whose end has not come yet.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        index: HashMap<String, usize>,
        merged: Vec<Node>,
        key: Option<(String, Position, bool)>,
    },
}

impl Builder {
    fn new(file: &Arc<str>) -> Self {
        Self {
            file: Arc::clone(file),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            root: None,
        }
    }

    fn start(&self) -> Position {
        self.position(Marker::new(0, 1, 0))
    }

    fn position(&self, marker: Marker) -> Position {
        Position {
            file: Arc::clone(&self.file),
            line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
            column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
        }
    }

    fn accept(
        &mut self,
        event: Event<'_>,
        span: Span,
        problems: &mut Problems,
    ) -> Result<(), Refused> {
        let at = span.start;
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err((at, "a second document; a configuration is one".into()))
            }
            Event::Alias(anchor) => self.expand(anchor, at, problems),
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = Scalar::new(&text, scalar_style(style, tag.as_deref(), at)?);
                let node = Node {
                    value: Value::Scalar(scalar),
                    at: self.position(at),
                };
                self.place(node, anchor, at, problems)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(anchor, tag.as_deref(), at, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    index: HashMap::new(),
                    merged: Vec::new(),
                    key: None,
                };
                self.open(anchor, tag.as_deref(), at, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at, problems),
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        at: Marker,
        content: Content,
    ) -> Result<(), Refused> {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            return Err((at, format!("tag {tag} is not supported; remove it")));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err((at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let at = self.position(at);
        self.open.push(Open {
            at,
            anchor,
            content,
        });
        Ok(())
    }

    fn close(&mut self, marker: Marker, problems: &mut Problems) -> Result<(), Refused> {
        let Some(Open {
            at,
            anchor,
            content,
        }) = self.open.pop()
        else {
            return Err((marker, "not YAML: an end without a start".into()));
        };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map {
                entries, merged, ..
            } => Value::Map(merge(entries, merged)),
        };
        self.place(Node { value, at }, anchor, marker, problems)
    }

    fn expand(
        &mut self,
        anchor: usize,
        at: Marker,
        problems: &mut Problems,
    ) -> Result<(), Refused> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err((at, "an alias inside the value that it names".into()));
        };
        let (size, height) = node.size_and_height();
        if self.open.len() + height > DEPTH_MAX {
            return Err((at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if self.nodes + size > NODES_MAX {
            return Err((at, format!("aliases make more than {NODES_MAX} values")));
        }
        self.nodes += size;
        let copy = Node {
            value: node.value.clone(),
            at: self.position(at),
        };
        self.place(copy, 0, at, problems)
    }

    /// Puts a finished node into the innermost open list or map, or makes it the root.
    fn place(
        &mut self,
        node: Node,
        anchor: usize,
        at: Marker,
        problems: &mut Problems,
    ) -> Result<(), Refused> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err((at, format!("more than {NODES_MAX} values in one file")));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map {
                entries,
                index,
                merged,
                key,
            }) => match key.take() {
                None => *key = Some(read_key(node, at)?),
                Some((_, _, true)) => merged.push(checked_merge(node, at)?),
                Some((name, key_at, false)) => {
                    insert(entries, index, (name, key_at, node), problems);
                }
            },
        }
        Ok(())
    }
}

/// The text of a key, where it is, and whether it is the merge key.
fn read_key(node: Node, at: Marker) -> Result<(String, Position, bool), Refused> {
    match node.value {
        Value::Scalar(scalar) => {
            let is_merge = scalar.is_plain() && scalar.text() == "<<";
            Ok((scalar.text().to_owned(), node.at, is_merge))
        }
        _ => Err((at, "a list or a mapping cannot be a key".into())),
    }
}

fn checked_merge(node: Node, at: Marker) -> Result<Node, Refused> {
    let is_map = |node: &Node| matches!(node.value, Value::Map(_));
    let all_maps = !node.items().is_empty() && node.items().iter().all(is_map);
    if is_map(&node) || all_maps {
        return Ok(node);
    }
    Err((at, "`<<` merges a mapping or a list of mappings".into()))
}

fn insert(
    entries: &mut Vec<Entry>,
    index: &mut HashMap<String, usize>,
    (key, key_at, value): (String, Position, Node),
    problems: &mut Problems,
) {
    let entry = Entry { key, key_at, value };
    match index.get(&entry.key).and_then(|&at| entries.get_mut(at)) {
        Some(first) => {
            let (key, line) = (&entry.key, first.key_at.line);
            let message = format!("written before in line {line}; this later one counts");
            problems.warning(&entry.key_at, key, message);
            *first = entry;
        }
        None => {
            index.insert(entry.key.clone(), entries.len());
            entries.push(entry);
        }
    }
}

/// Adds what the merged maps have and the map itself has not; earlier ones win.
fn merge(mut entries: Vec<Entry>, merged: Vec<Node>) -> Vec<Entry> {
    if merged.is_empty() {
        return entries;
    }
    let mut known: HashSet<String> = entries.iter().map(|own| own.key.clone()).collect();
    for node in merged {
        let maps = match node.value {
            Value::List(items) => items,
            value => vec![Node { value, at: node.at }],
        };
        for map in maps {
            let Value::Map(added) = map.value else {
                continue;
            };
            for entry in added {
                if known.insert(entry.key.clone()) {
                    entries.push(entry);
                }
            }
        }
    }
    entries
}

fn scalar_style(style: ScalarStyle, tag: Option<&Tag>, at: Marker) -> Result<Style, Refused> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            Err((at, format!("tag {tag} is not supported; remove it")))
        }
        Some(tag) if tag.suffix == "str" => Ok(Style::Quoted),
        Some(_) => Ok(Style::Plain),
        None if style == ScalarStyle::Plain => Ok(Style::Plain),
        None => Ok(Style::Quoted),
    }
}

#[cfg(test)]
mod tests;
