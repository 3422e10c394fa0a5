//! Files and batches of an account that several tenants use: who made them is kept, and a list
//! shows its caller those of its own.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use meridian_core::batch;
use meridian_core::endpoint::Endpoint;
use meridian_core::error::GatewayError;
use meridian_core::journal::Progress;
use meridian_core::wire::object_list::{self, Next, Object, Page, Paging, Place, Question, Search};

use super::{Answer, Attempt, Failure};
use crate::byte_budget::ByteLease;
use crate::clock;
use crate::credentials::Token;
use crate::owners::{Owner, Unknown};
use crate::plane::admit::{Admitted, owner_unknown};
use crate::plane::relay::Prelude;
use crate::plane::source::Source;
use crate::rules::Door;

/// Most objects of one page that a provider is asked for.
const FILES_OF_PAGE: usize = 1_000;
const BATCHES_OF_PAGE: usize = 100;
const ANTHROPICS_OF_PAGE: usize = 1_000;
/// Objects of a page where the caller does not say: the providers' own numbers.
const FILES_ASKED: usize = 10_000;
const BATCHES_ASKED: usize = 20;
/// Pages of the account that are searched for one of the caller's.
const PAGES_MAX: usize = 100;
/// How long is searched: what was found by then is the answer.
const SEARCH_MAX: Duration = Duration::from_secs(20);

/// Whether the request is a list that its caller may see only a part of.
pub(super) fn is_shared_list(admitted: &Admitted) -> bool {
    admitted.key.is_some()
        && stores(admitted.arrival.endpoint)
        && admitted.ask.method == Method::GET
        && admitted.ask.id.is_none()
}

/// Whether its objects lie at the provider under an id.
pub(super) fn stores(endpoint: Endpoint) -> bool {
    endpoint.has_files() || endpoint.has_batches()
}

impl Attempt<'_> {
    /// A page of the caller's own objects, gathered from as many pages of the account as it takes.
    pub(super) async fn own_list(
        &self,
        door: &Door,
        client: &HeaderMap,
        token: Option<&Token>,
    ) -> Result<Box<Answer>, Failure> {
        let ask = &self.admitted.ask;
        let endpoint = self.admitted.arrival.endpoint;
        let paging = Paging::of(endpoint);
        let question = Question::read(&ask.tail, paging).map_err(Failure::terminal)?;
        let (of_page, asked) = match endpoint {
            Endpoint::Files => (FILES_OF_PAGE, FILES_ASKED),
            Endpoint::MessageBatches | Endpoint::AnthropicFiles => {
                (ANTHROPICS_OF_PAGE, BATCHES_ASKED)
            }
            _ => (BATCHES_OF_PAGE, BATCHES_ASKED),
        };
        let wanted = question
            .limit
            .map_or(asked, |limit| limit.min(asked.max(of_page)));
        if let Some(id) = &question.after {
            self.check_own(id).await?;
        }
        let (mut place, mut skip) = (question.start.clone(), question.skip.clone());
        let mut lease = ByteLease::new(&self.state.bytes);
        let mut own: Vec<(Object, Owner)> = Vec::new();
        // Where each of them was found.
        let mut places: Vec<Place> = Vec::new();
        let mut search = Search::new(wanted);
        for page in 1..=PAGES_MAX {
            let tail = question.tail(&place, of_page);
            let outgoing = self.outgoing(door, client, token, (&tail, (None, None)))?;
            let answer = self.answer(door, outgoing, token).await?;
            let (answer, read) = self.page(answer).await?;
            let next = place.next(&read);
            let more = self.own_of(skip.rest(read.objects)).await?;
            let bytes: usize = more.iter().map(|(object, _)| object.raw.len()).sum();
            own.extend(more);
            places.resize(own.len(), place);
            if !lease.grow(bytes as u64) {
                return Err(Failure::terminal(GatewayError::Overloaded {
                    what: "The gateway is holding as many bytes of lists as it may",
                    retry_after_s: 1,
                }));
            }
            let is_late = page == PAGES_MAX || self.sent_at.elapsed() > SEARCH_MAX;
            match search.after_page(own.len(), next.is_none(), is_late) {
                Next::Page => {}
                Next::Answer { has_more } => {
                    own.truncate(wanted);
                    self.wake(own.iter().map(|(object, _)| object));
                    self.keep_written(&own).await;
                    let last = own.last().zip(places.get(own.len().saturating_sub(1)));
                    let last = last.filter(|_| has_more && paging == Paging::Cursor);
                    let page = Page {
                        next_page: last.map(|((object, _), place)| place.cursor_behind(&object.id)),
                        objects: own.into_iter().map(|(object, _)| object).collect(),
                        has_more,
                    };
                    return Ok(self.listed(answer, page, lease));
                }
                Next::GiveUp => return Err(Failure::terminal(too_long(of_page * page))),
            }
            place = next.unwrap_or_default();
        }
        Err(Failure::terminal(too_long(of_page * PAGES_MAX)))
    }

    async fn check_own(&self, id: &str) -> Result<(), Failure> {
        let what = match self.admitted.arrival.endpoint {
            Endpoint::Files | Endpoint::AnthropicFiles => "File",
            _ => "Batch",
        };
        let found = self.state.owners.find(id).await;
        let found = found.map_err(|Unknown| Failure::terminal(owner_unknown()))?;
        if found.is_some_and(|owner| self.is_own(&owner)) {
            return Ok(());
        }
        let id = id.to_owned();
        Err(Failure::terminal(GatewayError::ObjectNotFound { what, id }))
    }

    /// What an answer has of the account's list; its connection can be used again.
    async fn page(&self, mut answer: Box<Answer>) -> Result<(Box<Answer>, Page), Failure> {
        let page = match &answer.prelude {
            Prelude::Whole(body, _) => Page::read(body),
            Prelude::Stream(_) | Prelude::Opaque(_) => None,
        };
        let source = std::mem::replace(&mut answer.source, Source::Done);
        match page {
            Some(page) => {
                source.finish(&self.state.upstreams).await;
                Ok((answer, page))
            }
            None => {
                source.cancel().await;
                Err(Failure::terminal(unreadable()))
            }
        }
    }

    async fn own_of(&self, objects: Vec<Object>) -> Result<Vec<(Object, Owner)>, Failure> {
        let ids = objects.iter().map(|object| object.id.clone()).collect();
        let owners = self.state.owners.find_all(ids).await;
        let mut owners = owners.map_err(|Unknown| Failure::terminal(owner_unknown()))?;
        let own = objects.into_iter().filter_map(|object| {
            let owner = owners.remove(&object.id)?;
            self.is_own(&owner).then_some((object, owner))
        });
        Ok(own.collect())
    }

    /// Batches that are over are billed. One that finds no place is found by the look at what
    /// nobody reads.
    fn wake<'o>(&self, page: impl Iterator<Item = &'o Object>) {
        if !self.admitted.arrival.endpoint.has_batches() {
            return;
        }
        for one in page.filter(|one| batch::is_over(one.raw.as_ref())) {
            let _ = self.state.batches_over.try_send(one.id.clone());
        }
    }

    /// What the batches of a page have written belongs to who owns them from here on.
    async fn keep_written(&self, page: &[(Object, Owner)]) {
        if self.admitted.arrival.endpoint != Endpoint::Batches {
            return;
        }
        let of_batch = |(batch, owner)| {
            let (batch, owner): (&Object, &Owner) = (batch, owner);
            let written = object_list::made(&batch.raw).into_iter();
            let written = written.filter(|id| *id != batch.id);
            let owner = written_by(owner.clone(), &batch.id);
            written.map(|id| (owner.clone(), id)).collect::<Vec<_>>()
        };
        let written: Vec<_> = page
            .iter()
            .map(|(one, owner)| (one, owner))
            .flat_map(of_batch)
            .collect();
        let ids = written.iter().map(|(_, id)| id.clone()).collect();
        let Ok(known) = self.state.owners.find_all(ids).await else {
            return;
        };
        let mut new = written;
        new.retain(|(_, id)| !known.contains_key(id));
        // Batches of one key at one deployment together.
        while let Some((owner, _)) = new.first() {
            let owner = owner.clone();
            let (same, others): (Vec<_>, Vec<_>) =
                new.into_iter().partition(|(one, _)| *one == owner);
            let ids = same.into_iter().map(|(_, id)| id).collect();
            self.state.owners.keep(ids, owner).await;
            new = others;
        }
    }

    fn listed(&self, mut answer: Box<Answer>, page: Page, lease: ByteLease) -> Box<Answer> {
        let paging = Paging::of(self.admitted.arrival.endpoint);
        let body = Bytes::from(page.write(paging));
        let mut meter = self.admitted.meter();
        meter.body(&body);
        answer.prelude = Prelude::Whole(body, Box::new(meter));
        answer._lease = lease;
        answer
    }

    /// Where a Message Batch says that its results are is with the gateway: SDKs go there with the
    /// caller's key.
    pub(super) fn name_results(&self, answer: &mut Answer) {
        let is_one = self.admitted.arrival.endpoint == Endpoint::MessageBatches;
        if let (true, Prelude::Whole(body, _)) = (is_one, &mut answer.prelude)
            && let Some(own) = batch::with_own_results(body)
        {
            *body = Bytes::from(own);
        }
    }

    fn is_own(&self, owner: &Owner) -> bool {
        let key = self.admitted.key.as_ref();
        key.is_some_and(|key| owner.is(&key.policy))
    }

    /// From here on the batch is billed, also when its caller leaves while its owner is kept.
    fn note_batch(&self, answer: &Answer) {
        let Prelude::Whole(_, meter) = &answer.prelude else {
            return;
        };
        let id = meter.facts().response_id.clone();
        if let Some(id) = id.filter(|_| self.admitted.makes_batch()) {
            self.state.owners.note_batch(&id);
            // A process that dies from here on has it billed by the next one.
            let call_id = self.admitted.arrival.call_id;
            let progress = Progress {
                at: clock::now(),
                response_id: Some(id.clone()),
                served_by: Some(self.target.named()),
                ..Progress::default()
            };
            if let Err(error) = self.state.journal.append_progress(call_id, &progress) {
                tracing::warn!(%call_id, %error, "a batch is not in the journal yet");
            }
            let _ = self.admitted.made_batch.set(id);
        }
    }

    /// Keeps who owns what an answer says was made: a new file or batch is its caller's, and what
    /// a batch wrote belongs to who owns the batch.
    pub(super) async fn keep_owners(&self, answer: &Answer) {
        self.note_batch(answer);
        let ask = &self.admitted.ask;
        let endpoint = self.admitted.arrival.endpoint;
        if let Some(id) = ask.id.as_ref().filter(|_| ask.method == Method::DELETE) {
            self.state.owners.forget(id).await;
            return;
        }
        let Prelude::Whole(body, _) = &answer.prelude else {
            return;
        };
        let made = match (&ask.id, endpoint) {
            (None, _) => stores(endpoint) && ask.method == Method::POST,
            (Some(_), _) => endpoint.has_batches(),
        };
        if !made {
            let listed = ask.id.is_none() && endpoint.has_batches();
            let page = Page::read(body).filter(|_| listed);
            self.wake(page.iter().flat_map(|page| &page.objects));
            return;
        }
        if let Some(id) = ask.id.as_ref().filter(|_| batch::is_over(body)) {
            // One that finds no place is found by the look at what nobody reads.
            let _ = self.state.batches_over.try_send(id.clone());
        }
        let key = self.admitted.key.as_ref().map(|key| &key.policy);
        let owner = match &ask.id {
            None => Owner {
                key: key.map(|policy| policy.token),
                lineage: key.and_then(|policy| policy.lineage()),
                model_group: self.admitted.group.name.clone(),
                deployment_id: self.target.deployment.id.clone(),
                batch: None,
            },
            Some(batch) => match self.state.owners.find(batch).await {
                Ok(Some(owner)) => written_by(owner, batch),
                Ok(None) | Err(Unknown) => return,
            },
        };
        let ids = object_list::made(body);
        let known = match self.state.owners.find_all(ids.clone()).await {
            Ok(known) => known,
            // What was just made is nobody else's, whatever the store would say.
            Err(Unknown) if ask.id.is_none() => HashMap::new(),
            Err(Unknown) => return,
        };
        let new: Vec<String> = ids
            .into_iter()
            .filter(|id| !known.contains_key(id))
            .collect();
        if !new.is_empty() {
            self.state.owners.keep(new, owner).await;
        }
    }
}

/// The owner of what a batch has written.
fn written_by(owner: Owner, batch: &str) -> Owner {
    Owner {
        batch: Some(batch.to_owned()),
        ..owner
    }
}

fn unreadable() -> GatewayError {
    GatewayError::BadField {
        field: "path".to_owned(),
        message: "the provider's list cannot be read, so the objects of other keys cannot be \
            taken out of it: ask for one object by its id"
            .to_owned(),
    }
}

fn too_long(searched: usize) -> GatewayError {
    GatewayError::BadField {
        field: "after".to_owned(),
        message: format!(
            "the account's list is too long to find this key's objects in it ({searched} were \
             searched): name one of them by `after`, or ask for one by its id"
        ),
    }
}
