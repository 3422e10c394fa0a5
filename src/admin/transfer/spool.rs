//! A body on disk, so that its size needs no memory.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use meridian_core::error::GatewayError;
use tokio::io::AsyncWriteExt;

use super::super::reply::AdminError;
use crate::clock;

/// Largest document.
const BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Longest silence of whoever sends it.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A body that was put aside. Nobody else can open the file, and it goes with the handle.
pub(super) struct Spooled(File);

impl Spooled {
    /// Reads it from its beginning. One at a time: the place in the file is shared.
    pub(super) fn open(&self) -> Result<File, AdminError> {
        let mut file = self.0.try_clone().map_err(|error| unusable(&error))?;
        file.seek(SeekFrom::Start(0))
            .map_err(|error| unusable(&error))?;
        Ok(file)
    }
}

/// Takes a whole body in.
pub(super) async fn of_body(body: Body) -> Result<Spooled, AdminError> {
    let name = format!("meridian-import-{}", clock::new_call_id());
    let path = std::env::temp_dir().join(name);
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let file = made.map_err(|error| unusable(&error))?;
    std::fs::remove_file(&path).map_err(|error| unusable(&error))?;
    let kept = file.try_clone().map_err(|error| unusable(&error))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut body = body.into_data_stream();
    let mut bytes = 0;
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, body.next()).await;
        let part = match next {
            Err(_silent) => return Err(AdminError::Gateway(GatewayError::BodyTimeout)),
            Ok(None) => break,
            Ok(Some(Err(_gone))) => return Err(AdminError::Gateway(GatewayError::BodyTimeout)),
            Ok(Some(Ok(part))) => part,
        };
        bytes += part.len() as u64;
        if bytes > BYTES_MAX {
            let limit_bytes = BYTES_MAX;
            return Err(AdminError::Gateway(GatewayError::BodyTooLarge {
                limit_bytes,
            }));
        }
        file.write_all(&part)
            .await
            .map_err(|error| unusable(&error))?;
    }
    file.flush().await.map_err(|error| unusable(&error))?;
    Ok(Spooled(kept))
}

fn unusable(error: &std::io::Error) -> AdminError {
    tracing::error!(%error, "a document of records cannot be put aside");
    AdminError::unavailable()
}
