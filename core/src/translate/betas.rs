//! `anthropic-beta` values and the platforms that take them: a table, because it ages.
//!
//! Anthropic itself is never filtered. A value that the table does not name passes to Anthropic
//! alone; a deployment's own list can add to it.

use crate::translate::dialect::Platform;

/// Columns: Foundry, Bedrock `invoke`, Bedrock Converse, mantle, Vertex. `Y` takes it, `-` does
/// not, `R` takes it under the name of [`RENAMED`].
const TABLE: &[(&str, &str)] = &[
    ("advanced-tool-use-2025-11-20", "YR-RR"),
    ("advisor-tool-2026-03-01", "-----"),
    ("bash_20241022", "-----"),
    ("bash_20250124", "-----"),
    ("claude-code-20250219", "---Y-"),
    ("code-execution-2025-08-25", "Y----"),
    ("compact-2026-01-12", "-Y-YY"),
    ("compact-2026-09-04", "Y----"),
    ("computer-use-2025-01-24", "YYYYY"),
    ("computer-use-2025-11-24", "YYYYY"),
    ("context-1m-2025-08-07", "YYYYY"),
    ("context-management-2025-06-27", "YY-YY"),
    ("dangerous-tool-use-2026-09-03", "YY-YY"),
    ("effort-2025-11-24", "YYYY-"),
    ("fast-mode-2026-02-01", "-----"),
    ("files-api-2025-04-14", "Y----"),
    ("fine-grained-tool-streaming-2025-05-14", "-YYY-"),
    ("inline-tools-2026-09-15", "----Y"),
    ("interleaved-thinking-2025-05-14", "Y--YY"),
    ("mcp-client-2025-04-04", "Y----"),
    ("mcp-client-2025-11-20", "Y----"),
    ("mcp-servers-2025-12-04", "-----"),
    ("mid-conversation-output-config-2026-07-01", "-Y---"),
    ("mid-conversation-tool-changes-2026-07-01", "YY--Y"),
    ("output-128k-2025-02-19", "---Y-"),
    ("per-turn-control-2026-07-01", "Y--YY"),
    ("prompt-caching-scope-2026-01-05", "Y----"),
    ("skills-2025-10-02", "Y----"),
    ("structured-output-2024-03-01", "-----"),
    ("structured-outputs-2025-11-13", "Y-YY-"),
    ("text_editor_20241022", "-----"),
    ("text_editor_20250124", "-----"),
    ("thinking-binding-controls-2026-08-01", "YYYYY"),
    ("thinking-display-updates-2026-08-18", "YYYYY"),
    ("token-efficient-tools-2025-02-19", "---Y-"),
    ("tool-examples-2025-10-29", "---Y-"),
    ("tool-search-tool-2025-10-19", "-Y-YY"),
    ("web-fetch-2025-09-10", "Y----"),
    ("web-search-2025-03-05", "Y--YY"),
];

/// Values that some platforms know under another name.
const RENAMED: &[(&str, &str)] = &[(
    "advanced-tool-use-2025-11-20",
    "tool-search-tool-2025-10-19",
)];

/// Fields of a request that are refused where their beta is not taken.
const FIELDS: &[(&str, &str)] = &[
    ("context_management", "context-management-2025-06-27"),
    ("mcp_servers", "mcp-client-2025-11-20"),
    ("container", "skills-2025-10-02"),
    ("speed", "fast-mode-2026-02-01"),
];

/// The value to send to a platform; `None`: it does not take this one.
pub fn beta(platform: Platform, value: &str) -> Option<&str> {
    let column = match platform {
        Platform::Anthropic => return Some(value),
        Platform::Foundry => 0,
        Platform::BedrockInvoke => 1,
        Platform::BedrockConverse => 2,
        Platform::Mantle => 3,
        Platform::Vertex => 4,
        Platform::OpenAi
        | Platform::Azure
        | Platform::Compatible
        | Platform::AiStudio
        | Platform::Cohere => return None,
    };
    let (_, cells) = TABLE.iter().find(|(name, _)| *name == value)?;
    match cells.as_bytes().get(column)? {
        b'Y' => Some(value),
        b'R' => {
            let renamed = RENAMED.iter().find(|(name, _)| *name == value);
            renamed.map(|(_, other)| *other)
        }
        _ => None,
    }
}

/// The values of a comma list that a platform takes, each once, and those that it does not.
pub fn split(platform: Platform, list: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    let values = list.split(',').map(str::trim);
    for value in values.filter(|value| !value.is_empty()) {
        match beta(platform, value) {
            Some(value) if !taken.contains(&value) => taken.push(value),
            Some(_) => {}
            None => refused.push(value),
        }
    }
    (taken, refused)
}

/// The beta that a field of a request needs, if it needs one.
pub fn needed_by(field: &str) -> Option<&'static str> {
    let row = FIELDS.iter().find(|(name, _)| *name == field);
    row.map(|(_, beta)| *beta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_gets_what_it_takes() {
        let client = "claude-code-20250219, context-management-2025-06-27,brand-new-2027-01-01,\
            advanced-tool-use-2025-11-20";
        let (taken, refused) = split(Platform::Anthropic, client);
        assert_eq!((taken.len(), refused.len()), (4, 0));
        let (taken, refused) = split(Platform::BedrockInvoke, client);
        let expected = [
            "context-management-2025-06-27",
            "tool-search-tool-2025-10-19",
        ];
        assert_eq!(taken, expected);
        assert_eq!(refused, ["claude-code-20250219", "brand-new-2027-01-01"]);
        let (taken, _) = split(Platform::BedrockConverse, client);
        assert!(taken.is_empty());
        assert!(split(Platform::OpenAi, client).0.is_empty());
    }

    #[test]
    fn the_table_has_five_cells_in_every_row() {
        for (name, cells) in TABLE {
            assert_eq!(cells.len(), 5, "{name}");
            let renamed = RENAMED.iter().any(|(from, _)| from == name);
            assert_eq!(cells.contains('R'), renamed, "{name}");
        }
    }
}
