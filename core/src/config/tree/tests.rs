//! Trees: positions, aliases, merges, limits.

use super::*;

fn tree(text: &str) -> (Option<Node>, Vec<String>) {
    let mut problems = Problems::default();
    let node = parse(&"f.yaml".into(), text, &mut problems);
    let shown = problems
        .sorted(&[])
        .iter()
        .map(ToString::to_string)
        .collect();
    (node, shown)
}

fn good(text: &str) -> Node {
    let (node, problems) = tree(text);
    assert_eq!(problems, Vec::<String>::new());
    node.unwrap()
}

fn refused(text: &str) -> String {
    let (node, problems) = tree(text);
    assert!(node.is_none(), "{text}");
    assert_eq!(problems.len(), 1);
    problems[0].clone()
}

fn at(node: &Node) -> (u32, u32) {
    (node.at.line, node.at.column)
}

fn text<'a>(node: &'a Node, key: &str) -> &'a str {
    node.get(key)
        .and_then(Node::scalar)
        .map_or("", Scalar::text)
}

#[test]
fn every_node_knows_its_line_and_column() {
    let root = good("a: 1\nb:\n  - x\n  - {c: \"y\"}\n\u{e9}e: |\n  block\n");
    assert_eq!(at(root.get("a").unwrap()), (1, 4));
    let list = root.get("b").unwrap();
    assert_eq!(at(&list.items()[0]), (3, 5));
    assert_eq!(at(&list.items()[1]), (4, 5));
    assert_eq!(at(list.items()[1].get("c").unwrap()), (4, 9));
    let entry = root.entry("\u{e9}e").unwrap();
    assert_eq!((entry.key_at.line, entry.key_at.column), (5, 1));
    assert_eq!(text(&root, "\u{e9}e"), "block\n");
}

#[test]
fn an_empty_text_is_null_and_a_byte_order_mark_is_nothing() {
    assert!(good("").is_null());
    assert!(good("# only a comment\n").is_null());
    assert_eq!(text(&good("\u{feff}a: b"), "a"), "b");
}

#[test]
fn aliases_repeat_and_merges_add_what_is_absent() {
    let root = good(
        "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\n\
         one: {<<: *base, b: own}\ntwo: {<<: [*base, *more]}\nthree: *base\n",
    );
    let one = root.get("one").unwrap();
    assert_eq!((text(one, "a"), text(one, "b")), ("1", "own"));
    let two = root.get("two").unwrap();
    assert_eq!((text(two, "b"), text(two, "c")), ("2", "4"));
    let three = root.get("three").unwrap();
    assert_eq!((text(three, "a"), at(three)), ("1", (5, 8)));
    assert_eq!(text(&good("'<<': text"), "<<"), "text");
    assert!(refused("a: {<<: text}").contains("f.yaml:1:9: error: `<<` merges"));
}

#[test]
fn a_key_written_twice_is_reported_and_the_later_one_counts() {
    let (root, problems) = tree("a: 1\nb: 2\na: 3\n");
    assert_eq!(text(&root.unwrap(), "a"), "3");
    let expected = "f.yaml:3:1: warning: a: written before in line 1; this later one counts";
    assert_eq!(problems, [expected]);
}

#[test]
fn what_is_not_one_small_document_is_refused_at_its_place() {
    assert!(refused("a: b\n---\nc: d\n").starts_with("f.yaml:2:1: error: a second document"));
    assert!(refused("a: [1, 2\nb: c\n").starts_with("f.yaml:2:"));
    assert!(refused("a: !secret x").contains("1:4: error: tag !secret is not supported"));
    assert!(refused("? [a]\n: b").contains("cannot be a key"));
    assert!(refused("a: &a [*a]").contains("an alias inside the value that it names"));
    assert!(refused(&"[".repeat(100)).contains("nested deeper"));
    let deep: String = (0..80)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    assert!(refused(&deep).contains("nested deeper"));
    let large = format!("# {}\n", "x".repeat(FILE_BYTES_MAX));
    assert!(refused(&large).contains("larger than"));
}

#[test]
fn aliases_of_aliases_do_not_fill_the_memory() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    assert!(refused(&bomb).contains("aliases make more than"));
    let mut tower = String::from("a0: &a0 [x]\n");
    for level in 1..100 {
        tower.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(refused(&tower).contains("nested deeper"));
}

#[test]
fn a_tag_of_the_core_schema_decides_the_type() {
    let root = good("a: !!str 12\nb: !!int 12\n");
    let json = |key| root.get(key).and_then(Node::scalar).map(Scalar::to_json);
    assert_eq!(json("a"), Some(serde_json::json!("12")));
    assert_eq!(json("b"), Some(serde_json::json!(12)));
}
