//! A Message Batch of Anthropic's: each of its requests names a model that the caller may use, and
//! all of them are at one account.

use std::sync::Arc;

use bytes::Bytes;
use meridian_core::auth::KeyView;
use meridian_core::batch::Requests;
use meridian_core::config::Provider;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;

use super::choose::{self, Chosen};
use super::{Arrival, Ask, Content};
use crate::byte_budget::ByteLease;
use crate::rules::{Group, Rules, Target};

/// Bytes of a body from which its requests are read beside the threads that serve.
const LARGE: usize = 256 * 1_024;
/// Seconds after which there may be room for a copy of a body.
const ROOM_RETRY_S: u64 = 1;

/// The requests of a batch, and what their models lead to.
pub(crate) struct Batched {
    requests: Arc<Requests>,
    /// Of each model, in their order.
    groups: Vec<Arc<Group>>,
}

impl Batched {
    /// What further models than the first lead to.
    pub(super) fn others(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.iter().skip(1)
    }

    /// The models' names at a deployment's account; `None` where the caller's own are those.
    fn names(&self, target: &Target) -> Option<Vec<String>> {
        let names: Option<Vec<String>> = self
            .groups
            .iter()
            .enumerate()
            .map(|(index, group)| match index {
                0 => Some(target.model.clone()),
                _ => Some(beside(group, target)?.model.clone()),
            })
            .collect();
        names.filter(|names| *names != self.requests.models())
    }

    /// The list of requests with the models' names at a deployment's account: a copy of nearly all
    /// of the body, which `lease` has to hold. `None` where the caller's own are those.
    pub(crate) async fn renamed(
        &self,
        body: &Bytes,
        target: &Target,
        lease: &mut ByteLease,
    ) -> Result<Option<Bytes>, GatewayError> {
        let Some(names) = self.names(target) else {
            return Ok(None);
        };
        if !lease.grow(self.requests.renamed_bytes(&names)) {
            return Err(GatewayError::Overloaded {
                what: "The gateway is holding as many bytes of requests as it may",
                retry_after_s: ROOM_RETRY_S,
            });
        }
        let (requests, body) = (Arc::clone(&self.requests), body.clone());
        let is_large = body.len() >= LARGE;
        let rename = move || Bytes::from(requests.renamed(&body, &names));
        if !is_large {
            return Ok(Some(rename()));
        }
        let renaming = tokio::task::spawn_blocking(rename).await;
        renaming.map(Some).map_err(|_| GatewayError::Internal)
    }
}

/// A group's deployment at the account of another.
fn beside<'g>(group: &'g Group, target: &Target) -> Option<&'g Arc<Target>> {
    let mut targets = group.targets().iter();
    targets.find(|one| one.serves(Endpoint::MessageBatches) && one.same_account(target))
}

/// Who may run a batch: deployments of its first model whose account has all the others.
pub(super) async fn group(
    rules: &Rules,
    key: Option<&KeyView>,
    ask: &mut Ask,
    arrival: &Arrival,
) -> Result<Chosen, GatewayError> {
    let requests = read(ask).await?;
    let mut groups = Vec::with_capacity(requests.models().len());
    for model in requests.models().iter().rev() {
        // The first one last: it is the one that the request goes by.
        ask.requested_model.clone_from(model);
        ask.model.clone_from(model);
        groups.push(choose::by_model(rules, key, ask, arrival)?);
    }
    groups.reverse();
    let has_all = |target: &&Arc<Target>| {
        let mut others = groups.iter().skip(1);
        target.serves(arrival.endpoint) && others.all(|group| beside(group, target).is_some())
    };
    let first = groups.first().ok_or(GatewayError::Internal)?;
    let targets: Vec<_> = first.targets().iter().filter(has_all).cloned().collect();
    if targets.is_empty() {
        return Err(GatewayError::BadField {
            field: "requests".to_owned(),
            message: "the models of a batch must be at one account: make one batch for each"
                .to_owned(),
        });
    }
    let mut group = Group::of(first.name.clone(), targets);
    group.is_wildcard = first.is_wildcard;
    let requests = Arc::new(requests);
    ask.batched = Some(Batched { requests, groups });
    Ok(Chosen {
        group: Arc::new(group),
        pinned: true,
    })
}

async fn read(ask: &Ask) -> Result<Requests, GatewayError> {
    let Content::Json(spans) = &ask.content else {
        return Err(GatewayError::InvalidJson {
            detail: "expected a JSON object".to_owned(),
        });
    };
    let body = ask.body.bytes.clone();
    if body.len() < LARGE {
        return Requests::read(&body, spans);
    }
    let spans = spans.clone();
    let reading = tokio::task::spawn_blocking(move || Requests::read(&body, &spans));
    reading.await.map_err(|_| GatewayError::Internal)?
}

/// Why no batch, or file for one, is made with a model, where it can be made elsewhere.
pub(super) fn elsewhere(group: &Group, endpoint: Endpoint) -> Option<GatewayError> {
    if !(endpoint.has_batches() || endpoint.has_files()) {
        return None;
    }
    let provider = group.targets().first()?.deployment.provider;
    let is_messages = endpoint == Endpoint::MessageBatches;
    let words = match provider {
        Provider::Anthropic if endpoint == Endpoint::Files => {
            "keeps files by Anthropic's API: send the header anthropic-version with what is \
             uploaded, name the id in requests, and post batches to /v1/messages/batches"
        }
        Provider::OpenAi | Provider::Azure if endpoint == Endpoint::AnthropicFiles => {
            "keeps files by OpenAI's API: upload without the header anthropic-version"
        }
        Provider::Bedrock => {
            "runs batches as model invocation jobs, whose requests and answers lie in S3: make \
             one with AWS's CreateModelInvocationJob"
        }
        Provider::VertexAi => {
            "runs batches as jobs (batchPredictionJobs), whose requests and answers lie in Cloud \
             Storage or BigQuery: make one with Google's API"
        }
        Provider::Gemini => "runs batches by batchGenerateContent: make one with Google's API",
        Provider::Anthropic if !is_messages => {
            "runs Message Batches: post the requests to /v1/messages/batches"
        }
        Provider::OpenAi | Provider::Azure if is_messages => {
            "runs batches of a file's lines: upload them to /v1/files and post to /v1/batches"
        }
        _ => return None,
    };
    Some(GatewayError::BadField {
        field: "model".to_owned(),
        message: format!(
            "the provider of model {} {words}; the gateway passes batches on to Anthropic's own \
             API, OpenAI, Azure OpenAI and servers of OpenAI's API",
            group.name
        ),
    })
}
