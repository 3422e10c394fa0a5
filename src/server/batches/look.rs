//! What a batch used, asked of the provider that has it, with the credentials that made it.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use meridian_core::batch::{
    Batch, Cut, LINE_BYTES_MAX, Line, Lines, MessageBatch, Output, Part, Priced, Tally, is_plain,
};
use meridian_core::endpoint::Endpoint;
use meridian_core::price::ModelPrice;
use meridian_core::spend::SpendRecord;
use meridian_core::usage::ServiceTier;

use crate::byte_budget::ByteLease;
use crate::rules::{AccountPrice, Door, Rules, Target};
use crate::server::call::{can_prove, headers};
use crate::state::State;
use crate::upstream::{Exchange, RequestHead, SendError};

/// Longest object of a batch that is read.
const OBJECT_BYTES_MAX: usize = 1 << 20;
/// Longest silence of a provider in the middle of an answer, or before it.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How a batch stands.
pub(super) enum Seen {
    /// It may use more.
    Running,
    /// This is all that it used.
    Over(Vec<Part>),
}

/// Why nobody knows what a batch used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No configured deployment holds it.
    #[error("its deployment is not configured any more")]
    NoDeployment,
    /// There are no credentials now.
    #[error("there are no credentials for its deployment")]
    NoCredentials,
    /// The provider cannot be reached or broke off.
    #[error("{0}")]
    Send(#[from] SendError),
    /// It does not know the batch or its output (any more).
    #[error("the provider does not have {0}")]
    Gone(&'static str),
    /// It refuses.
    #[error("the provider answers {0}")]
    Status(u16),
    /// Its answer is none.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// It took too long.
    #[error("the provider is too slow")]
    Late,
    /// The gateway holds as many bytes as it may.
    #[error("the gateway holds as many bytes as it may")]
    Memory,
    /// A defect of the gateway.
    #[error("the look at it broke off")]
    Broken,
}

impl Trouble {
    /// Whether the provider says that there is nothing to read.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Gone(_))
    }

    /// Label of metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::NoDeployment => "no_deployment",
            Self::NoCredentials => "no_credentials",
            Self::Send(_) => "unreachable",
            Self::Gone(_) => "gone",
            Self::Status(_) => "status",
            Self::Unreadable(_) => "unreadable",
            Self::Late => "late",
            Self::Memory => "memory",
            Self::Broken => "broken",
        }
    }
}

/// Looks at the batch that a request made.
pub(super) async fn at(state: &State, made: &SpendRecord) -> Result<Seen, Trouble> {
    let rules = state.rules.load_full();
    let own = rules.deployment(&made.deployment_id, &made.model_group);
    let is_own = own.is_some();
    // One that was edited has another id.
    let target = own.or_else(|| rules.deployment_at(&made.provider, &made.api_base));
    let target = target.ok_or(Trouble::NoDeployment)?;
    let door = target.door.as_ref().ok_or(Trouble::NoDeployment)?;
    let account = Account {
        state,
        rules: &rules,
        target: &target,
        door,
        prices: HashMap::new(),
    };
    let id = made.response_id.as_deref().unwrap_or_default();
    let seen = match made.endpoint {
        Endpoint::MessageBatches => account.look_at_messages(id).await,
        _ => account.look(id).await,
    };
    match seen {
        // Of another account it says nothing.
        Err(Trouble::Gone(_)) if !is_own => Err(Trouble::NoDeployment),
        seen => seen,
    }
}

/// Where a batch lies.
struct Account<'a> {
    state: &'a State,
    rules: &'a Rules,
    target: &'a Target,
    door: &'a Door,
    /// What the models of the batch cost.
    prices: HashMap<String, AccountPrice>,
}

impl Account<'_> {
    async fn look(mut self, id: &str) -> Result<Seen, Trouble> {
        if !is_plain(id) {
            return Err(Trouble::Unreadable("the batch's id"));
        }
        let tail = format!("/batches/{id}");
        let body = self.object(&tail).await?;
        let batch = Batch::read(&body).ok_or(Trouble::Unreadable("the batch"))?;
        if !batch.is_final {
            return Ok(Seen::Running);
        }
        let told = self.told(&batch);
        if batch.output == Output::None {
            return Ok(Seen::Over(told.unwrap_or_default().parts()));
        }
        // The sum of all lines is the bill, unless a price asks for the size of each.
        let is_enough = told.as_ref().is_some_and(|tally| !tally.is_estimate());
        if let Some(tally) = told.clone().filter(|_| is_enough) {
            return Ok(Seen::Over(tally.parts()));
        }
        let Output::File(output) = &batch.output else {
            return Err(Trouble::Unreadable("the id of its output"));
        };
        let content = format!("/files/{output}/content");
        let line = |cut: Cut<'_>| line_of(cut, |line| Line::read(line, batch.endpoint));
        match (self.output(&content, line).await, told) {
            (Ok(tally), _) => Ok(Seen::Over(tally.parts())),
            (Err(Trouble::Gone(_)), Some(tally)) => Ok(Seen::Over(tally.parts())),
            (Err(trouble), _) => Err(trouble),
        }
    }

    /// The same of Anthropic's: only its results say what it used.
    async fn look_at_messages(mut self, id: &str) -> Result<Seen, Trouble> {
        if !is_plain(id) {
            return Err(Trouble::Unreadable("the batch's id"));
        }
        let tail = format!("/messages/batches/{id}");
        let body = self.object(&tail).await?;
        let batch = MessageBatch::read(&body).ok_or(Trouble::Unreadable("the batch"))?;
        match (batch.is_over, batch.was_used) {
            (false, _) => Ok(Seen::Running),
            (true, false) => Ok(Seen::Over(Vec::new())),
            (true, true) => {
                let line = |cut: Cut<'_>| line_of(cut, Line::read_message);
                let tally = self.output(&format!("{tail}/results"), line).await?;
                Ok(Seen::Over(tally.parts()))
            }
        }
    }

    /// What the batch itself says that it used.
    fn told(&mut self, batch: &Batch) -> Option<Tally> {
        let mut usage = batch.usage.clone()?;
        usage.tier = ServiceTier::Batch;
        let model = batch.model.clone();
        let model = model.unwrap_or_else(|| self.target.model.clone());
        let price = self.price(&model).price.clone();
        let by_request = price.as_deref().is_some_and(ModelPrice::is_by_request);
        let line = Line::Used {
            model,
            usage,
            // Without the model's name nobody knows that it is one.
            estimated: by_request || batch.model.is_none(),
        };
        let mut tally = Tally::default();
        self.add(&mut tally, line);
        Some(tally)
    }

    fn add(&mut self, tally: &mut Tally, line: Line) {
        tally.add(line, |model| {
            let known = self.price(model);
            Priced {
                model_group: &known.model_group,
                price: known.price.as_deref(),
                place: known.place,
            }
        });
    }

    fn price(&mut self, model: &str) -> &AccountPrice {
        if !self.prices.contains_key(model) {
            let name = if model.is_empty() {
                &self.target.model
            } else {
                model
            };
            let price = self.rules.price_in_account(self.target, name);
            self.prices.insert(model.to_owned(), price);
        }
        let of_map = self.prices.entry(model.to_owned());
        of_map.or_insert_with(|| self.rules.price_in_account(self.target, model))
    }

    /// Reads the output line by line: one line is held at most.
    async fn output(
        &mut self,
        tail: &str,
        line: impl Fn(Cut<'_>) -> Line,
    ) -> Result<Tally, Trouble> {
        let mut exchange = self.ask(tail, "its output").await?;
        let mut lease = ByteLease::new(&self.state.bytes);
        let mut leased = 0;
        let mut lines = Lines::new(LINE_BYTES_MAX);
        let mut tally = Tally::default();
        while let Some(piece) = self.next(&mut exchange).await? {
            lines.push(&piece, |cut| self.add(&mut tally, line(cut)));
            let more = lines.held().saturating_sub(leased);
            if !lease.grow(more as u64) {
                return Err(Trouble::Memory);
            }
            leased += more;
        }
        lines.end(|cut| self.add(&mut tally, line(cut)));
        exchange.finish(&self.state.upstreams).await;
        if tally.unread() > 0 {
            let (deployment, lines) = (&self.target.deployment.id, tally.unread());
            tracing::error!(
                deployment,
                output = tail,
                lines,
                "lines of a batch's output are not billed"
            );
        }
        Ok(tally)
    }

    async fn object(&self, tail: &str) -> Result<Vec<u8>, Trouble> {
        let mut exchange = self.ask(tail, "the batch").await?;
        let mut body = Vec::new();
        while let Some(piece) = self.next(&mut exchange).await? {
            body.extend_from_slice(&piece);
            if body.len() > OBJECT_BYTES_MAX {
                return Err(Trouble::Unreadable("the batch"));
            }
        }
        exchange.finish(&self.state.upstreams).await;
        Ok(body)
    }

    /// Asks for something of the account, until its answer begins.
    async fn ask(&self, tail: &str, what: &'static str) -> Result<Exchange, Trouble> {
        if !can_prove(self.door) {
            return Err(Trouble::NoCredentials);
        }
        let target = self.target;
        let head = RequestHead {
            method: Method::GET,
            path: self.door.paths.path(Endpoint::Batches, tail, &target.model),
            authority: self.door.authority.clone(),
            headers: headers(target, self.door),
        };
        let asked = async {
            let connection = self.state.upstreams.connect(&self.door.origin).await?;
            let mut exchange = Exchange::send(connection, &head, &[]).await?;
            let head = exchange.read_head().await?;
            Ok::<_, SendError>((exchange, head))
        };
        let asked = tokio::time::timeout(SILENCE_MAX, asked).await;
        let (exchange, head) = asked.map_err(|_| Trouble::Late)??;
        match head.status.as_u16() {
            200 if is_plain_text(&head.headers) => Ok(exchange),
            200 => Err(Trouble::Unreadable(what)),
            404 | 410 => Err(Trouble::Gone(what)),
            status => Err(Trouble::Status(status)),
        }
    }

    async fn next(&self, exchange: &mut Exchange) -> Result<Option<Bytes>, Trouble> {
        let read = tokio::time::timeout(SILENCE_MAX, exchange.read_body()).await;
        Ok(read.map_err(|_| Trouble::Late)??)
    }
}

/// It was asked for without a compression.
fn is_plain_text(headers: &HeaderMap) -> bool {
    let coding = headers.get(http::header::CONTENT_ENCODING);
    coding.is_none_or(|coding| coding == "identity")
}

fn line_of(cut: Cut<'_>, read: impl FnOnce(&[u8]) -> Line) -> Line {
    match cut {
        Cut::Whole(line) => read(line),
        Cut::TooLong => Line::Unreadable,
    }
}
