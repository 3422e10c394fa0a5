//! Which files bodies of each dialect name, whatever tricks they are written with.

use super::*;

fn refs(body: &str) -> Result<Vec<(String, String)>, String> {
    let spans = BodySpans::scan(body.as_bytes()).unwrap();
    let found = file_refs(body.as_bytes(), &spans).map_err(|error| error.to_string())?;
    let pair = |one: FileRef| (one.field, one.id);
    Ok(found.into_iter().map(pair).collect())
}

#[test]
fn each_dialect_names_its_files() {
    let table = [
        (
            r#"{"messages":[{"content":"hi"},{"content":[{"type":"text"},{"type":"file","file":{"file_id":"f"}}]}]}"#,
            "messages[1].content[1].file.file_id",
        ),
        (
            r#"{"messages":[{"content":[{"type":"file","file_id":"f"}]}]}"#,
            "messages[0].content[0].file_id",
        ),
        (
            r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}"#,
            "input[0].content[0].file_id",
        ),
        (
            r#"{"input":[{"type":"function_call_output","output":[{"type":"input_image","file_id":"f"}]}]}"#,
            "input[0].output[0].file_id",
        ),
        (
            r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}]}"#,
            "messages[0].content[0].source.file_id",
        ),
        (
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]}]}"#,
            "messages[0].content[0].content[0].source.file_id",
        ),
        (
            r#"{"messages":[{"content":[{"type":"container_upload","file_id":"f"}]}]}"#,
            "messages[0].content[0].file_id",
        ),
        (
            r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["f"]}}]}"#,
            "tools[0].container.file_ids[0]",
        ),
        (
            r#"{"prompt":{"id":"p","variables":{"input":{"type":"input_file","file_id":"f"}}}}"#,
            "prompt.variables.input.file_id",
        ),
    ];
    for (body, field) in table {
        let expected = vec![(field.to_owned(), "f".to_owned())];
        assert_eq!(refs(body), Ok(expected), "{body}");
    }
}

#[test]
fn every_spelling_of_a_name_counts() {
    let part = |inner: &str| format!(r#"{{"input":[{{"content":[{{{inner}}}]}}]}}"#);
    for inner in [
        r#""type":"input_file","file_id":"mine","file_id":"f""#,
        r#""type":"input_file","file_id":"f","file_id":"mine""#,
        r#""type":"input_file","file\u005fid":"f""#,
        r#""\u0074ype":"input_file","file_id":"f""#,
        r#""type":"x","type":"input_f\u0069le","file_id":"\u0066""#,
        r#""file":{"file_id":"x"},"f\u0069le":{"file_id":"f"}"#,
    ] {
        let found = refs(&part(inner)).unwrap();
        assert!(found.iter().any(|(_, id)| id == "f"), "{inner}: {found:?}");
    }
    let bom = format!("\u{feff}{}", part(r#""type":"input_image","file_id":"f""#));
    assert_eq!(refs(&bom).unwrap().len(), 1);
    let twice = r#"{"messages":[],"input":[],"messages":[{"content":[{"file":{"file_id":"f"}}]}]}"#;
    let spans = BodySpans::scan(twice.as_bytes());
    let read = spans.map(|spans| file_refs(twice.as_bytes(), &spans).unwrap().len());
    assert!(!matches!(read, Ok(0)), "refused or found");
}

#[test]
fn what_cannot_be_read_is_refused_and_not_skipped() {
    for inner in [
        r#"{"x":NaN,"type":"input_file","file_id":"f"}"#,
        r#"{"type":"input_file","file_id":["f"]}"#,
        r#"{"type":"input_file","file_id":7}"#,
        r#"{"type" "input_file","file_id":"f"}"#,
    ] {
        let read = refs(&format!(r#"{{"input":[{inner}]}}"#));
        assert!(read.is_err(), "{inner}: {read:?}");
    }
    let many = |count| {
        let each = |index| format!(r#"{{"type":"input_file","file_id":"f{index}"}}"#);
        let each: Vec<String> = (0..count).map(each).collect();
        refs(&format!(r#"{{"input":[{}]}}"#, each.join(",")))
    };
    assert!(many(FILES_MAX + 1).is_err());
    assert_eq!(many(FILES_MAX).unwrap().len(), FILES_MAX);
}

#[test]
fn data_of_tools_and_what_a_provider_said_itself_are_no_references() {
    for body in [
        r#"{"messages":[{"content":[{"type":"tool_use","input":{"file":{"file_id":"f"}}}]}]}"#,
        r#"{"messages":[{"content":[{"type":"code_execution_output","file_id":"f"}]}]}"#,
        r#"{"input":[{"content":[{"type":"output_text","annotations":[{"type":"file_citation","file_id":"f"}]}]}]}"#,
        r#"{"tools":[{"parameters":{"properties":{"file":{"file_id":"f"}}}}]}"#,
        r#"{"metadata":{"file":{"file_id":"f"}},"messages":"file_id"}"#,
        r#"{"input":[{"type":"input_file","file_id":null}]}"#,
        r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"https://a.test/b"}}]}]}"#,
        r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"GS://bucket/b"}}]}]}"#,
        r#"{"input":[{"type":"input_text","text":"caf\u00e9"}]}"#,
    ] {
        assert_eq!(refs(body), Ok(vec![]), "{body}");
    }
}

#[test]
fn neither_long_names_nor_long_ids_are_kept_whole() {
    let (name, id) = ("n".repeat(100_000), "i".repeat(100_000));
    let file = |id: &str| format!(r#"{{"file":{{"file_id":"{id}"}}}}"#);
    let parts: Vec<String> = (0..FILES_MAX).map(|at| file(&format!("f{at}"))).collect();
    let body = format!(r#"{{"messages":[{{"{name}":[{}]}}]}}"#, parts.join(","));
    let found = refs(&body).unwrap();
    assert_eq!(found.len(), FILES_MAX);
    assert!(found.iter().all(|(field, _)| field.len() < 200));
    let found = refs(&format!(r#"{{"messages":[{},{}]}}"#, file(&id), file("f"))).unwrap();
    assert!((ID_BYTES_MAX + 1..ID_BYTES_MAX + 9).contains(&found[0].1.len()));
    let twice = [file("f"), file("f"), file("g")].join(",");
    assert_eq!(
        refs(&format!(r#"{{"messages":[{twice}]}}"#)).unwrap().len(),
        2
    );
}

fn of_batch(file: &str, is_batch: bool) -> Result<Vec<(String, String)>, GatewayError> {
    let found = batch_file_refs(file.as_bytes(), is_batch)?;
    Ok(found.into_iter().map(|one| (one.field, one.id)).collect())
}

#[test]
fn the_requests_of_a_batch_are_read_line_by_line() {
    let line = |id: &str| {
        format!(
            r#"{{"custom_id":"1","body":{{"input":[{{"type":"input_file","file_id":"{id}"}}]}}}}"#
        )
    };
    let file = format!("\u{feff}{}\r\n\n{}\n{}", line("a"), line("a"), line("b"));
    let found = of_batch(&file, true).unwrap();
    let field = |number| format!("line {number}: body.input[0].file_id");
    assert_eq!(
        found,
        [(field(1), "a".to_owned()), (field(4), "b".to_owned())]
    );
    // Another member is no request, a second `body` is one.
    let second = line("c").replacen(
        "\"custom_id\":\"1\"",
        "\"body\":{},\"meta\":{\"input\":[]}",
        1,
    );
    assert_eq!(of_batch(&second, true).unwrap().len(), 1);
    for broken in ["file_id", "[\"file_id\"]", "{\"body\":{\"file_id\":"] {
        assert!(of_batch(broken, true).is_err(), "{broken}");
        let document = format!("{broken}\n{}", line("d"));
        assert_eq!(of_batch(&document, false).unwrap().len(), 1, "{broken}");
    }
    let bad = line("x").replace("\"x\"", "7");
    assert!(of_batch(&bad, true).is_err());
    assert_eq!(of_batch(&bad, false).unwrap(), []);
}

#[test]
fn a_batch_names_a_bounded_number_of_files() {
    let part = |id: usize| format!(r#"{{"type":"input_file","file_id":"f{id}"}}"#);
    let line = |from: usize| {
        let parts: Vec<String> = (from..from + 100).map(part).collect();
        format!(r#"{{"body":{{"input":[{}]}}}}"#, parts.join(","))
    };
    let lines: Vec<String> = (0..FILES_OF_BATCH_MAX / 100)
        .map(|line_of| line(line_of * 100))
        .collect();
    let mut file = lines.join("\n");
    assert_eq!(of_batch(&file, true).unwrap().len(), FILES_OF_BATCH_MAX);
    file.push('\n');
    file.push_str(&line(FILES_OF_BATCH_MAX));
    let refused = of_batch(&file, true).unwrap_err().to_string();
    assert!(refused.contains("more than 10000 files"), "{refused}");
}
