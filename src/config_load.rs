//! Reads configuration files; without one, the embedded defaults.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use meridian_core::config::{self, Loaded, MasterKey};

/// Most bytes of one file, so that a wrong path (a device, a log) does not fill the memory.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The embedded defaults, by name.
const EMBEDDED: [(&str, &str); 3] = [
    ("default.yaml", include_str!("../conf/default.yaml")),
    (
        "default-openai.yaml",
        include_str!("../conf/default-openai.yaml"),
    ),
    (
        "default-anthropic.yaml",
        include_str!("../conf/default-anthropic.yaml"),
    ),
];

/// Loads a file with what it includes, or the embedded defaults when `path` is `None`.
///
/// Only the defaults may come without a master key: the caller makes one. `files` of the defaults
/// is empty: there is nothing to watch.
pub fn load_from(path: Option<&Path>, env: &HashMap<String, String>) -> Loaded {
    match path {
        Some(path) => config::load(&mut read, path, env),
        None => defaults(env),
    }
}

fn defaults(env: &HashMap<String, String>) -> Loaded {
    const ROOT: &str = "built-in defaults";
    let set = |name: &str| env.get(name).is_some_and(|value| !value.trim().is_empty());
    let mut root = String::from("include:\n  - default.yaml\n");
    if set("OPENAI_API_KEY") {
        root.push_str("  - default-openai.yaml\n");
    }
    if set("ANTHROPIC_API_KEY") {
        root.push_str("  - default-anthropic.yaml\n");
    }
    let mut read = |path: &Path| {
        let embedded = EMBEDDED.iter().find(|(name, _)| path == Path::new(name));
        match embedded {
            Some((_, text)) => Ok((*text).to_owned()),
            None if path == Path::new(ROOT) => Ok(root.clone()),
            None => Err("not among the defaults".to_owned()),
        }
    };
    let loaded = config::load_with(&mut read, Path::new(ROOT), env, MasterKey::Generated);
    Loaded {
        files: Vec::new(),
        ..loaded
    }
}

/// Text of a file, or why there is none.
fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn the_defaults_need_nothing_and_say_nothing() {
        let loaded = load_from(None, &HashMap::new());
        assert_eq!(loaded.problems, []);
        let config = loaded.config.unwrap();
        let names: Vec<_> = config
            .models
            .iter()
            .map(|model| &model.model_name)
            .collect();
        assert_eq!(names, ["demo"]);
        assert!(config.models[0].mock_response.is_some());
        assert!(config.general.master_key.is_none());
        assert!(loaded.files.is_empty());
    }

    #[test]
    fn a_provider_key_in_the_environment_brings_its_models() {
        let keys = [("OPENAI_API_KEY", "sk-o"), ("ANTHROPIC_API_KEY", "sk-ant")];
        let loaded = load_from(None, &env(&keys));
        assert_eq!(loaded.problems, []);
        let models = loaded.config.unwrap().models;
        let model = |name: &str| {
            let found = models.iter().find(|model| model.matches(name)).unwrap();
            let key = found.target.as_ref().unwrap().api_key.as_ref().unwrap();
            (key.reveal().to_owned(), found.upstream_model(name))
        };
        assert_eq!(model("gpt-4o"), ("sk-o".into(), "gpt-4o".into()));
        assert_eq!(model("openai/gpt-4.1"), ("sk-o".into(), "gpt-4.1".into()));
        assert_eq!(
            model("anthropic/claude-x"),
            ("sk-ant".into(), "claude-x".into())
        );
        assert_eq!(
            model("claude-opus-9"),
            ("sk-ant".into(), "claude-opus-9".into())
        );
        let alone = load_from(None, &env(&keys[1..])).config.unwrap().models;
        assert!(!alone.iter().any(|model| model.matches("gpt-4o")));
    }

    #[test]
    fn a_file_includes_its_neighbours_and_each_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("config.yaml");
        let text =
            "include: [parts/models.yaml]\ngeneral_settings: {master_key: sk-0123456789abcdef}\n";
        std::fs::write(&root, text).unwrap();
        std::fs::create_dir(folder.path().join("parts")).unwrap();
        let part = folder.path().join("parts/models.yaml");
        std::fs::write(
            &part,
            "model_list: [{model_name: d, litellm_params: {model: mock/d}}]",
        )
        .unwrap();
        let loaded = load_from(Some(&root), &HashMap::new());
        assert_eq!(loaded.problems, []);
        assert_eq!(loaded.config.unwrap().models.len(), 1);
        assert_eq!(loaded.files, [root, part]);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_at_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let missing = load_from(Some(&folder.path().join("none.yaml")), &HashMap::new());
        assert!(missing.config.is_none());
        assert!(missing.problems[0].message.starts_with("cannot read "));
        let binary = folder.path().join("binary.yaml");
        std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
        let loaded = load_from(Some(&binary), &HashMap::new());
        assert!(loaded.problems[0].message.contains("not UTF-8"));
        let directory = load_from(Some(folder.path()), &HashMap::new());
        assert!(directory.config.is_none() && directory.problems.len() == 1);
    }
}
