//! Files that a body names: the caller's own, and the deployments of the account where they lie.

use std::sync::Arc;

use meridian_core::auth::KeyView;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::wire::file_refs::{FileRef, ID_BYTES_MAX, batch_file_refs, file_refs};

use super::ask::Content;
use super::{Arrival, Ask, owner_unknown};
use crate::owners::Unknown;
use crate::path_guard;
use crate::rules::{Group, Rules, Target};
use crate::state::State;

/// A file, and the deployment that it was made with.
pub(super) struct Named {
    file: FileRef,
    keeper: Arc<Target>,
}

/// What a request names.
#[derive(Default)]
pub(super) struct Files {
    /// Those that were made here, with where.
    kept: Vec<Named>,
    /// A tenant's others: a provider that takes none through the gateway knows them or does not; no
    /// other is asked.
    others: Vec<FileRef>,
}

impl Files {
    /// Whether it names none.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.others.is_empty()
    }
}

/// The files that a request names. For anybody but its owner a file does not exist; the master key
/// also names what nobody made here, which is asked of whichever deployment comes. So does
/// everybody of deployments that take no files through the gateway: nobody can have made one there.
pub(super) async fn files(
    state: &State,
    (rules, group): (&Rules, &Group),
    key: Option<&KeyView>,
    ask: &Ask,
    arrival: &Arrival,
) -> Result<Files, GatewayError> {
    let may_name = matches!(
        arrival.endpoint,
        Endpoint::ChatCompletions
            | Endpoint::Responses
            | Endpoint::ResponsesTool
            | Endpoint::Messages
            | Endpoint::CountTokens
            | Endpoint::InputTokens
            | Endpoint::TokenCounter
    );
    let Content::Json(spans) = &ask.content else {
        return Ok(Files::default());
    };
    if !may_name {
        return Ok(Files::default());
    }
    let files = file_refs(&ask.body.bytes, spans)?;
    if files.is_empty() {
        return Ok(Files::default());
    }
    if !group.targets().iter().any(|target| target.keeps_files()) {
        return Ok(Files {
            kept: Vec::new(),
            others: key.map_or(Vec::new(), |_| files),
        });
    }
    // A longer one is nobody's, as if the store had been asked.
    let asked = files.iter().filter(|file| file.id.len() <= ID_BYTES_MAX);
    let ids = asked.map(|file| file.id.clone()).collect();
    let owners = state.owners.find_all(ids).await;
    let owners = owners.map_err(|Unknown| owner_unknown())?;
    let mut named = Files::default();
    for file in files {
        let owner = owners.get(&file.id);
        if owner.is_none() {
            named.others.extend(key.map(|_| file));
            continue;
        }
        let keeper = owner
            .filter(|owner| key.is_none_or(|key| owner.is(&key.policy)))
            .and_then(|owner| rules.deployment(&owner.deployment_id, &owner.model_group));
        let Some(keeper) = keeper else {
            let FileRef { field, id } = file;
            return Err(GatewayError::FileNotFound { field, id });
        };
        named.kept.push(Named { file, keeper });
    }
    Ok(named)
}

/// Bytes of a file from which it is looked at beside the threads that serve requests.
const LARGE: usize = 256 * 1_024;
/// Files that the store is asked for at once.
const ASKED_AT_ONCE: usize = 200;

/// Whether a tenant's upload may be a batch's input: what its requests name is to be the tenant's
/// own, for the provider reads it with the account's rights. Looked at here and not when the batch
/// is made: a file never changes, nor does whose one is.
pub(super) async fn uploaded(state: &State, key: &KeyView, ask: &Ask) -> Result<(), GatewayError> {
    let Content::Form(form) = &ask.content else {
        return Ok(());
    };
    let body = &ask.body.bytes;
    let is_batch = form.text(body, "purpose").ok().flatten() == Some("batch");
    for part in form.parts().iter().filter(|part| part.is_file) {
        let file = body.slice(part.value.clone());
        let size = file.len();
        let look = move || batch_file_refs(&file, is_batch);
        let named = match size < LARGE {
            true => look(),
            false => {
                let looked = tokio::task::spawn_blocking(look);
                looked.await.map_err(|_| GatewayError::Internal)?
            }
        };
        check_own(state, key, &named?).await?;
    }
    Ok(())
}

/// One after the other, some at a time: an upload that names others ends with the first of them.
async fn check_own(state: &State, key: &KeyView, files: &[FileRef]) -> Result<(), GatewayError> {
    for some in files.chunks(ASKED_AT_ONCE) {
        let asked = some.iter().filter(|file| file.id.len() <= ID_BYTES_MAX);
        let ids = asked.map(|file| file.id.clone()).collect();
        let owners = path_guard::beside(state.owners.find_all(ids)).await;
        let owners = owners.map_err(|Unknown| owner_unknown())?;
        let is_own = |file: &&FileRef| owners.get(&file.id).is_some_and(|one| one.is(&key.policy));
        if let Some(FileRef { field, id }) = some.iter().find(|file| !is_own(file)) {
            let (field, id) = (format!("file: {field}"), id.clone());
            return Err(GatewayError::FileNotFound { field, id });
        }
    }
    Ok(())
}

/// Those of a model's deployments that have the files.
pub(super) fn keepers(group: &Group, files: &Files) -> Result<Arc<Group>, GatewayError> {
    let mut targets = group.targets().to_vec();
    if let Some(FileRef { field, id }) = files.others.first() {
        targets.retain(|target| !target.keeps_files());
        if targets.is_empty() {
            let (field, id) = (field.clone(), id.clone());
            return Err(GatewayError::FileNotFound { field, id });
        }
    }
    for Named { file, keeper } in &files.kept {
        targets.retain(|target| {
            target.deployment.id == keeper.deployment.id || target.same_account(keeper)
        });
        if targets.is_empty() {
            let message = format!(
                "'{}' was stored with another account than those of {}",
                file.field, group.name
            );
            return Err(GatewayError::BadField {
                field: file.field.clone(),
                message,
            });
        }
    }
    let mut held = Group::of(group.name.clone(), targets);
    held.is_wildcard = group.is_wildcard;
    Ok(Arc::new(held))
}
