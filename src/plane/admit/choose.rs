//! Which deployments may serve a request: by its model, by the object it names, or by account.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use meridian_core::auth::KeyView;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::litellm::response_id;
use meridian_core::wire::field::Field;
use meridian_core::wire::json::Value;

use super::{Arrival, Ask, batched, named};
use crate::owners::{Owner, Unknown};
use crate::path_guard;
use crate::rules::{Group, Rules, Target};
use crate::state::State;

/// Group name of requests that name no model.
const NO_MODEL: &str = "";
/// Seconds after which the store may answer again.
const OWNER_RETRY_S: u64 = 1;

/// Seconds after which a batch that is over is billed, most of the time.
const BILLED_S: u64 = 2;

/// The group that serves a request; fills in the model after aliases.
pub(super) async fn group(
    state: &State,
    rules: &Rules,
    key: Option<&KeyView>,
    ask: &mut Ask,
    arrival: &Arrival,
) -> Result<Chosen, GatewayError> {
    if let (Endpoint::ResponsesItem, Some(id)) = (arrival.endpoint, ask.id.clone()) {
        let (maker, own) = maker_of(state, rules, key, &id).await?;
        if own != id {
            ask.tail = ask.tail.replacen(&id, &own, 1);
            ask.id = Some(own);
        }
        return Ok(Chosen::pinned(maker));
    }
    if arrival.endpoint == Endpoint::MessageBatches && ask.makes_batch(arrival.endpoint) {
        return batched::group(rules, key, ask, arrival).await;
    }
    let is_upload = arrival.endpoint == Endpoint::Files && ask.method == Method::POST;
    if let Some(key) = key.filter(|_| is_upload) {
        named::uploaded(state, key, ask).await?;
    }
    if let Some(maker) = keeper_of(state, rules, key, ask, arrival).await? {
        return Ok(Chosen::pinned(maker));
    }
    if ask.model.is_empty() {
        let accounts = rules.accounts(arrival.endpoint);
        return Ok(Chosen::pinned(account(accounts, key)?));
    }
    let group = by_model(rules, key, ask, arrival)?;
    let files = named::files(state, (rules, &group), key, ask, arrival).await?;
    let (group, has_files) = match files.is_empty() {
        true => (group, false),
        false => (named::keepers(&group, &files)?, true),
    };
    match previous_response(ask) {
        Some(id) => {
            let (maker, own) = maker_of(state, rules, key, &id).await?;
            if own != id {
                ask.previous_response = Some(own);
            }
            Ok(Chosen::pinned(continued(&group, maker)?))
        }
        None => Ok(Chosen {
            group,
            pinned: has_files,
        }),
    }
}

/// Who may serve a request.
pub(super) struct Chosen {
    /// The model.
    pub(super) group: Arc<Group>,
    /// No other model has what the request is about: a stored object, an account.
    pub(super) pinned: bool,
}

impl Chosen {
    fn pinned(group: Arc<Group>) -> Self {
        Self {
            group,
            pinned: true,
        }
    }
}

/// The stored response that this one continues.
fn previous_response(ask: &Ask) -> Option<String> {
    let id = ask.field(Field::PreviousResponseId)?.text()?;
    Some(id.into_owned())
}

/// Only the deployment that holds a response can continue it.
fn continued(group: &Group, maker: Arc<Group>) -> Result<Arc<Group>, GatewayError> {
    let held_by = |target: &Arc<Target>| {
        maker
            .targets()
            .iter()
            .any(|one| one.deployment.id == target.deployment.id)
    };
    let targets: Vec<_> = group
        .targets()
        .iter()
        .filter(|one| held_by(one))
        .cloned()
        .collect();
    if targets.is_empty() {
        return Err(GatewayError::BadField {
            field: "previous_response_id".to_owned(),
            message: format!("the response was made by another model than {}", group.name),
        });
    }
    let mut held = Group::of(group.name.clone(), targets);
    held.is_wildcard = group.is_wildcard;
    Ok(Arc::new(held))
}

/// The group of the request's model, which the caller may use.
pub(super) fn by_model(
    rules: &Rules,
    key: Option<&KeyView>,
    ask: &mut Ask,
    arrival: &Arrival,
) -> Result<Arc<Group>, GatewayError> {
    let unknown = || GatewayError::UnknownModel {
        route: arrival.canonical,
        model: ask.requested_model.clone(),
    };
    let (model, group) = rules.reach(key, &ask.model)?;
    let group = group.ok_or_else(unknown)?;
    check_fallbacks(rules, key, ask)?;
    if let Some(own) = key.and_then(|key| key.policy.overrides.as_deref()) {
        ask.overrides.inherit(own, &ask.requested_model);
    }
    ask.model = model;
    if !group.serves(arrival.endpoint) {
        if let Some(elsewhere) = batched::elsewhere(&group, arrival.endpoint) {
            return Err(elsewhere);
        }
        let (route, model) = (arrival.canonical, ask.requested_model.clone());
        return Err(GatewayError::EndpointNotServed { route, model });
    }
    Ok(group)
}

/// A model that a key may not use is no way around its list, and a mistyped one is said at once
/// and not in the hour when it is needed.
fn check_fallbacks(rules: &Rules, key: Option<&KeyView>, ask: &Ask) -> Result<(), GatewayError> {
    for (field, name) in ask.overrides.named_fallbacks() {
        if rules.reach(key, name)?.1.is_none() {
            let field = field.name();
            return Err(GatewayError::BadField {
                field: field.to_owned(),
                message: format!("'{field}' names a model that there is not: {name}"),
            });
        }
    }
    Ok(())
}

/// The deployment that keeps a file or batch; for anybody but its owner the object does not exist.
/// The master key also reaches what nobody made here. `None`: the request names no object.
async fn keeper_of(
    state: &State,
    rules: &Rules,
    key: Option<&KeyView>,
    ask: &Ask,
    arrival: &Arrival,
) -> Result<Option<Arc<Group>>, GatewayError> {
    let what = match (arrival.endpoint, &ask.id) {
        (Endpoint::Files | Endpoint::AnthropicFiles, _) | (Endpoint::Batches, None) => "File",
        (Endpoint::Batches | Endpoint::MessageBatches, Some(_)) => "Batch",
        _ => return Ok(None),
    };
    // A new batch belongs where its input is.
    let input = ask.field(Field::InputFileId).and_then(Value::text);
    let makes_batch = ask.makes_batch(arrival.endpoint);
    let Some(id) = ask.id.clone().or(input.map(Cow::into_owned)) else {
        return match makes_batch && key.is_some() {
            true => Err(without_input()),
            false => Ok(None),
        };
    };
    let owner = owner_of(state, &id).await?;
    if owner.is_none() && key.is_none() {
        return Ok(None);
    }
    let owner = owner.filter(|owner| is_own(owner, key));
    let target = owner
        .as_ref()
        .and_then(|owner| rules.deployment(&owner.deployment_id, &owner.model_group))
        // A file is asked for in the dialect of where it lies.
        .filter(|target| !arrival.endpoint.has_files() || target.serves(arrival.endpoint));
    let Some((owner, target)) = owner.zip(target) else {
        return Err(GatewayError::ObjectNotFound { what, id });
    };
    if ask.method == Method::DELETE {
        let is_batch = arrival.endpoint == Endpoint::MessageBatches;
        let batch = is_batch.then(|| id.clone()).or(owner.batch);
        check_billed(state, what, id, (batch, &owner.deployment_id)).await?;
    }
    Ok(Some(Arc::new(Group::of(NO_MODEL.to_owned(), vec![target]))))
}

/// What tells what a batch used stays until that is written down. One that is over is billed now.
async fn check_billed(
    state: &State,
    what: &'static str,
    id: String,
    (batch, deployment_id): (Option<String>, &str),
) -> Result<(), GatewayError> {
    let Some(batch) = batch else {
        return Ok(());
    };
    let is_unbilled = state.owners.is_unbilled(&batch, deployment_id);
    let is_unbilled = path_guard::beside(is_unbilled).await;
    if !is_unbilled.map_err(|Unknown| owner_unknown())? {
        return Ok(());
    }
    // One that finds no place is found by the look at what nobody reads.
    let _ = state.batches_over.try_send(batch.clone());
    Err(GatewayError::NotBilledYet {
        what,
        id,
        batch,
        retry_after_s: BILLED_S,
    })
}

/// Of a batch without a file nobody can say whether it reads the caller's own.
fn without_input() -> GatewayError {
    GatewayError::BadField {
        field: "input_file_id".to_owned(),
        message: "'input_file_id' must be the id of a file".to_owned(),
    }
}

/// Who made an object here. An error where nobody can tell: then it is not the caller's to see.
async fn owner_of(state: &State, id: &str) -> Result<Option<Owner>, GatewayError> {
    let found = path_guard::beside(state.owners.find(id)).await;
    found.map_err(|Unknown| owner_unknown())
}

/// The store did not say whose an object is.
pub(crate) fn owner_unknown() -> GatewayError {
    GatewayError::Overloaded {
        what: "Whose this object is cannot be looked up",
        retry_after_s: OWNER_RETRY_S,
    }
}

fn is_own(owner: &Owner, key: Option<&KeyView>) -> bool {
    key.is_none_or(|key| owner.is(&key.policy))
}

/// A stored response goes back to the deployment that made it; for anybody else it does not exist.
/// With it comes the provider's own id: LiteLLM wrapped those that it gave out.
async fn maker_of(
    state: &State,
    rules: &Rules,
    key: Option<&KeyView>,
    id: &str,
) -> Result<(Arc<Group>, String), GatewayError> {
    let missing = || GatewayError::ObjectNotFound {
        what: "Response",
        id: id.to_owned(),
    };
    let wrapped = response_id::read(id);
    let own = wrapped
        .as_ref()
        .map_or(id, |wrapped| wrapped.response_id.as_str());
    let owner = match (owner_of(state, own).await?, &wrapped) {
        (Some(owner), _) => owner,
        (None, None) => return Err(missing()),
        // Made by LiteLLM: whoever may use the model and knows the id.
        (None, Some(wrapped)) => {
            let target = rules.deployment(&wrapped.deployment_id, "");
            let target = target.ok_or_else(missing)?;
            let name = target.deployment.model_name.clone();
            let group = Group::of(name, vec![target]);
            if key.is_some_and(|key| key.check_model(&group.name, group.facts()).is_err()) {
                return Err(missing());
            }
            return Ok((Arc::new(group), own.to_owned()));
        }
    };
    let target = rules
        .deployment(&owner.deployment_id, &owner.model_group)
        .filter(|_| is_own(&owner, key));
    let target = target.ok_or_else(missing)?;
    let name = target.deployment.model_name.clone();
    Ok((Arc::new(Group::of(name, vec![target])), own.to_owned()))
}

/// Files and batches name no model: they go to the one account there is, of those whose models
/// the key may use.
fn account(
    mut accounts: Vec<Arc<Target>>,
    key: Option<&KeyView>,
) -> Result<Arc<Group>, GatewayError> {
    let allowed = |target: &Arc<Target>| {
        let group = Group::of(
            target.deployment.model_name.clone(),
            vec![Arc::clone(target)],
        );
        key.is_none_or(|key| key.check_model(&group.name, group.facts()).is_ok())
    };
    accounts.retain(allowed);
    if accounts.len() == 1 {
        return Ok(Arc::new(Group::of(NO_MODEL.to_owned(), accounts)));
    }
    let message = match accounts.len() {
        0 => "no deployment that this key may use stores such objects",
        _ => "name the account by a model of it: form field or query parameter `model`",
    };
    Err(GatewayError::BadField {
        field: "model".to_owned(),
        message: message.to_owned(),
    })
}
