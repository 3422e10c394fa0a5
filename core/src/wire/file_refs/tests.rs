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
    let many = vec![r#"{"type":"input_file","file_id":"f"}"#; FILES_MAX + 1].join(",");
    assert!(refs(&format!(r#"{{"input":[{many}]}}"#)).is_err());
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
        r#"{"input":[{"type":"input_text","text":"caf\u00e9"}]}"#,
    ] {
        assert_eq!(refs(body), Ok(vec![]), "{body}");
    }
}
