//! `meridian check`: the report on a configuration, for people and for CI.

use std::io::{self, Write};

use meridian_core::config::{Loaded, Problem, Severity};
use serde::Serialize;

use crate::credentials;

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line per problem, then a summary.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Serialize)]
struct Report<'a> {
    errors: usize,
    warnings: usize,
    notices: usize,
    problems: &'a [Problem],
}

/// Writes every problem by position and a summary; gives the exit code: 1 with errors, else 0.
pub fn report(loaded: &Loaded, format: Format, out: &mut impl Write) -> io::Result<u8> {
    let problems = &loaded.problems;
    let count = |severity| problems.iter().filter(|p| p.severity == severity).count();
    let report = Report {
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        notices: count(Severity::Notice),
        problems,
    };
    match format {
        Format::Text => write_text(&report, out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        }
    }
    Ok(u8::from(report.errors > 0 || loaded.config.is_none()))
}

/// Adds what is wrong with the files that credentials come from. Nobody is asked over the network.
pub fn credentials(loaded: &mut Loaded) {
    let models = loaded.config.iter().flat_map(|config| &config.models);
    let wrong = models.filter_map(|model| {
        let identity = model.target.as_ref()?.identity.as_ref()?;
        let message = credentials::inspect(identity)?;
        Some(Problem {
            severity: Severity::Warning,
            file: model.position.file.to_string(),
            line: model.position.line,
            column: model.position.column,
            path: format!("credentials of `{}`", model.model_name),
            message: format!("{}: {message}", identity.name),
        })
    });
    let wrong: Vec<Problem> = wrong.collect();
    loaded.problems.extend(wrong);
}

fn write_text(report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
    for problem in report.problems {
        writeln!(out, "{problem}")?;
    }
    let counted = |count: usize, word: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {word}{plural}")
    };
    let errors = counted(report.errors, "error");
    let warnings = counted(report.warnings, "warning");
    let notices = counted(report.notices, "notice");
    writeln!(out, "{errors}, {warnings}, {notices}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::*;

    fn loaded(text: &str) -> Loaded {
        let mut read = |_: &Path| Ok(text.to_owned());
        meridian_core::config::load(&mut read, Path::new("c.yaml"), &HashMap::new())
    }

    fn shown(text: &str, format: Format) -> (String, u8) {
        let mut out = Vec::new();
        let code = report(&loaded(text), format, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), code)
    }

    const GOOD: &str = "general_settings: {master_key: sk-0123456789abcdef}\n\
        model_list: [{model_name: d, litellm_params: {model: mock/d}}]\n";

    #[test]
    fn a_good_configuration_is_one_line_and_exit_code_0() {
        let (text, code) = shown(GOOD, Format::Text);
        assert_eq!(
            (text.as_str(), code),
            ("0 errors, 0 warnings, 0 notices\n", 0)
        );
    }

    #[test]
    fn every_problem_has_its_line_and_errors_give_exit_code_1() {
        let bad = format!("{GOOD}mridian: {{}}\nrouter_settings: {{num_retries: -1}}\n");
        let (text, code) = shown(&bad, Format::Text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("c.yaml:3:1: warning: mridian: unknown"));
        assert!(lines[1].starts_with("c.yaml:4:32: error: router_settings.num_retries: expected"));
        assert_eq!((lines[2], code), ("1 error, 1 warning, 0 notices", 1));
    }

    #[test]
    fn json_holds_the_same_for_programs() {
        let (text, code) = shown("model_list: []\n", Format::Json);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((json["errors"].as_u64(), code), (Some(1), 1));
        let problem = &json["problems"][0];
        assert_eq!(problem["file"], "c.yaml");
        assert_eq!(
            (problem["line"].as_u64(), problem["column"].as_u64()),
            (Some(1), Some(1))
        );
        assert_eq!(problem["severity"], "error");
        assert_eq!(problem["path"], "general_settings.master_key");
    }
}
