//! What a newcomer sees: a master key if there was none, and a request to try.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use meridian_core::config::Config;
use meridian_core::ids::Secret;

use super::StartError;
use crate::cli::{Role, ServeArgs};
use crate::clock;
use crate::state::State;

/// Where a generated master key is kept, readable by its owner only.
const MASTER_KEY_FILE: &str = "master_key";

/// Body of the request that a newcomer is shown.
const FIRST_BODY: &str = r#"{"model": "demo", "messages": [{"role": "user", "content": "hello"}]}"#;

/// Gives the embedded defaults a master key: the one of the last start, or a new one, which is
/// returned to be shown once.
pub(super) fn take_master_key(
    config: &mut Config,
    data_dir: &Path,
) -> Result<Option<String>, StartError> {
    let failed = |error| StartError::DataDir {
        path: data_dir.display().to_string(),
        error,
    };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    if config.general.master_key.is_some() {
        return Ok(None);
    }
    let path = data_dir.join(MASTER_KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(key) => {
            config.general.master_key = Some(Secret::new(key.trim()));
            Ok(None)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = format!(
                "sk-{}",
                BASE64_URL_SAFE_NO_PAD.encode(clock::random_bytes())
            );
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            file.write_all(key.as_bytes()).map_err(failed)?;
            config.general.master_key = Some(Secret::new(key.as_str()));
            Ok(Some(key))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Prints what to try, when the embedded defaults are used.
pub(super) fn print(args: &ServeArgs, state: &Arc<State>, address: &str, new_key: Option<&str>) {
    if args.config.is_some() || args.role != Role::All {
        return;
    }
    let file = args.data_dir.join(MASTER_KEY_FILE);
    let key_source = match file.exists() {
        true => format!("$(cat {})", file.display()),
        false => "$LITELLM_MASTER_KEY".to_owned(),
    };
    if let Some(key) = new_key {
        let file = file.display();
        say(&format!(
            "\n  Your master key, shown once (kept in {file}):\n\n      {key}\n"
        ));
    }
    let port = address.rsplit(':').next().unwrap_or("4000");
    let rules = state.rules.load();
    let names: Vec<&str> = rules
        .config
        .models
        .iter()
        .map(|one| one.model_name.as_str())
        .take(8)
        .collect();
    say(&format!(
        "  Meridian listens on port {port}. Models: {}.\n\n  Try:\n\n      \
         curl http://localhost:{port}/v1/chat/completions \\\n        \
         -H \"Authorization: Bearer {key_source}\" \\\n        \
         -H 'Content-Type: application/json' \\\n        \
         -d '{FIRST_BODY}'\n",
        names.join(", "),
    ));
}

fn say(text: &str) {
    // Standard output is for people here; a closed one is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "{text}");
}
