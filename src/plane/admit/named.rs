//! Files that a body names: the caller's own, and the deployments of the account where they lie.

use std::sync::Arc;

use meridian_core::auth::KeyView;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::wire::file_refs::{FileRef, ID_BYTES_MAX, file_refs};

use super::ask::Content;
use super::{Arrival, Ask, owner_unknown};
use crate::owners::Unknown;
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
    pub(super) kept: Vec<Named>,
    /// A tenant's others: the model's own provider knows them or does not; no other is asked.
    pub(super) has_others: bool,
}

/// The files that a request names. For anybody but its owner a file does not exist; the master key
/// also names what nobody made here, which is asked of whichever deployment comes. So does
/// everybody with a model none of whose deployments take files through the gateway: nobody can
/// have made one there.
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
    if !group.serves(Endpoint::Files) {
        return Ok(Files {
            kept: Vec::new(),
            has_others: key.is_some(),
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
        if owner.is_none() && key.is_none() {
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

/// Those of a model's deployments that have the files.
pub(super) fn keepers(group: &Group, named: &[Named]) -> Result<Arc<Group>, GatewayError> {
    let mut targets = group.targets().to_vec();
    for Named { file, keeper } in named {
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
