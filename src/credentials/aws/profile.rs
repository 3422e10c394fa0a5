//! AWS's two files of profiles.

use std::collections::HashMap;

use meridian_core::identity::{AssumeRole, AwsFiles, Told, WebIdentity};
use meridian_core::ids::Secret;
use meridian_core::sigv4::AwsCredentials;

use crate::credentials::fetch::FetchError;

/// Name of a session that nobody named.
const SESSION: &str = "meridian";

/// One profile.
pub(in crate::credentials) struct Profile {
    /// Its name.
    pub(super) name: String,
    settings: HashMap<String, String>,
}

/// The profile of this name, of both files; those of the file for credentials win. `None`: there
/// is none, or no file.
pub(in crate::credentials) async fn find(
    files: &AwsFiles,
    name: &str,
) -> Result<Option<Profile>, FetchError> {
    let in_config = match name {
        "default" => vec!["default".to_owned(), "profile default".to_owned()],
        _ => vec![format!("profile {name}")],
    };
    let mut settings = HashMap::new();
    let mut is_there = false;
    for (file, sections) in [
        (&files.config, in_config),
        (&files.credentials, vec![name.to_owned()]),
    ] {
        let Some(text) = read(file.as_deref()).await? else {
            continue;
        };
        for section in sections {
            if let Some(found) = section_of(&text, &section) {
                is_there = true;
                settings.extend(found);
            }
        }
    }
    let name = name.to_owned();
    Ok(is_there.then_some(Profile { name, settings }))
}

/// A file that is not there is no error: most machines have none.
async fn read(path: Option<&str>) -> Result<Option<String>, FetchError> {
    let Some(path) = path else {
        return Ok(None);
    };
    match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FetchError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn section_of(text: &str, name: &str) -> Option<HashMap<String, String>> {
    let mut found: Option<HashMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) || trimmed.is_empty() {
            continue;
        }
        if let Some(header) = trimmed.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            let words: Vec<&str> = header.split_whitespace().collect();
            inside = words.join(" ").replace('"', "") == name;
            if inside {
                found.get_or_insert_default();
            }
            continue;
        }
        // Indented lines belong to a setting of their own (`s3 =`).
        let is_nested = line.starts_with([' ', '\t']);
        if let Some((key, value)) = trimmed.split_once('=').filter(|_| inside && !is_nested) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            let key = key.trim().to_ascii_lowercase();
            found.get_or_insert_default().insert(key, value.to_owned());
        }
    }
    found
}

impl Profile {
    /// A setting that is there and not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let value = self.settings.get(key)?.as_str();
        (!value.is_empty()).then_some(value)
    }

    /// Its own keys.
    pub(super) fn keys(&self) -> Option<AwsCredentials> {
        Some(AwsCredentials {
            access_key_id: self.get("aws_access_key_id")?.to_owned(),
            secret_access_key: Secret::new(self.get("aws_secret_access_key")?),
            session_token: self.get("aws_session_token").map(Secret::new),
        })
    }

    /// The role that it stands for.
    pub(super) fn role(&self) -> Option<AssumeRole> {
        Some(AssumeRole {
            arn: self.get("role_arn")?.to_owned(),
            session: self.session(),
            external_id: self.get("external_id").map(Secret::new),
        })
    }

    /// A role that a token of another issuer is exchanged for.
    pub(super) fn web_identity(&self) -> Option<WebIdentity> {
        let file = self.get("web_identity_token_file")?;
        Some(WebIdentity {
            token: Told::File(file.to_owned()),
            role_arn: self.get("role_arn")?.to_owned(),
            session: self.session(),
        })
    }

    fn session(&self) -> String {
        self.get("role_session_name").unwrap_or(SESSION).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_as_awss_tools_read_it() {
        let text = "[default]\naws_access_key_id = A # mine\ns3 =\n  region = x\n\n\
            [ profile  dev ]\n; no\nROLE_ARN=arn:1\nsource_profile = default\n\
            [profile \"a b\"]\nx=1";
        let default = section_of(text, "default").unwrap();
        assert_eq!(default.get("aws_access_key_id").unwrap(), "A");
        assert!(!default.contains_key("region"));
        assert_eq!(
            section_of(text, "profile dev").unwrap()["role_arn"],
            "arn:1"
        );
        assert_eq!(section_of(text, "profile a b").unwrap()["x"], "1");
        assert!(section_of(text, "dev").is_none());
    }
}
