//! The data plane: the life of one request, read from top to bottom.

mod admit;
mod body;
mod early;
mod forward;
mod front;
mod lookup;
mod management;
mod outgoing;
mod patience;
mod relay;
mod reply;
mod request;
mod settle;
mod source;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use meridian_core::auth::KeyView;
use meridian_core::endpoint::Dialect;
use meridian_core::error::GatewayError;
use meridian_core::ids::CallId;
use meridian_core::money::NanoUsd;
use meridian_core::routes::{self, Access, Match, Target};
use meridian_core::spend::EndReason;
use meridian_core::wire::edit::UsageChunk;
use pingora_core::ErrorType;
use pingora_core::apps::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream,
};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::RequestHeader;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::front::Front;

use self::admit::{Admitted, Arrival};
use self::forward::{Failed, NoAnswer};
use self::lookup::Looked;
use self::management::PassError;
use self::relay::Delivered;
use self::reply::Gone;
use self::request::{is_smuggling, path_of, wants_upgrade};
use self::settle::Outcome;
use crate::clock;
use crate::path_guard;
use crate::state::State;
use crate::telemetry::metrics::RequestLabels;

/// Seconds after which another process should listen here.
const CLOSED_RETRY_S: u64 = 1;

/// Longest wait of a management call for a new process to take this one's place.
const MANAGEMENT_WAIT_MAX: Duration = Duration::from_secs(30);

/// The data plane: one call per request. With `--role admin` it has no requests for models.
pub struct Plane {
    state: Arc<State>,
    options: HttpServerOptions,
    late: Option<Late>,
}

/// A connection that was opened while the process leaves. It has a plane of its own.
struct Late {
    /// Its requests are turned away.
    closed: bool,
    /// Set with its first request: a client of HTTP/2 that hears GOAWAY before it has asked
    /// anything takes the connection for a broken one.
    goodbye: watch::Sender<bool>,
}

#[async_trait]
impl HttpServerApp for Plane {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _leaving: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.prepare(&mut session);
        match patience::before(&self.state, self.head_timeout(), session.read_request()).await? {
            Ok(true) => {}
            Err(error) if error.etype() == &ErrorType::InvalidHTTPHeader => {
                self.refuse_head(&mut session).await;
                return None;
            }
            Ok(false) | Err(_) => return None,
        }
        if let Some(late) = &self.late {
            late.goodbye.send_replace(true);
            if late.closed {
                self.turn_away(&mut session).await;
                return None;
            }
        }
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        // A defect in one request must not take the others with it.
        let served = AssertUnwindSafe(self.serve(&mut session))
            .catch_unwind()
            .await;
        self.state.in_flight.fetch_sub(1, Ordering::Relaxed);
        match served {
            // Boxed: they are larger than all that a running request needs.
            Ok(Delivered::Whole) => Box::pin(finish(session)).await,
            Ok(Delivered::Gone) => None,
            Err(_) => Box::pin(self.fail(session)).await,
        }
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

impl Plane {
    /// A data plane over shared state; `h2c` expects HTTP/2 on connections without TLS.
    fn new(state: Arc<State>, h2c: bool, late: Option<Late>) -> Self {
        let idle = state.rules.load().config.meridian.downstream_idle;
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        options.h2_idle_timeout = Some(idle);
        Self {
            state,
            options,
            late,
        }
    }

    fn prepare(&self, session: &mut ServerSession) {
        let rules = self.state.rules.load();
        let limits = &rules.config.meridian;
        session.set_read_timeout(Some(limits.body_timeout));
        session.set_write_timeout(Some(limits.write_timeout));
        session.set_keepalive(Some(limits.downstream_idle.as_secs()));
        // Bytes behind a request are the next request, not a client that went away.
        session.set_pipelining_enabled(true);
    }

    /// Longest wait for a whole request head, the idle time before it included: Pingora's own
    /// limit starts anew with every byte.
    fn head_timeout(&self) -> Duration {
        let rules = self.state.rules.load();
        let limits = &rules.config.meridian;
        limits.downstream_idle + limits.body_timeout
    }

    /// Answers a request that came too late: the process is about to end.
    async fn turn_away(&self, session: &mut ServerSession) {
        let dialect = dialect_of(session.req_header());
        let error = GatewayError::Overloaded {
            what: "The gateway is shutting down",
            retry_after_s: CLOSED_RETRY_S,
        };
        self.refuse(session, Refusal::of(&error), dialect, clock::new_call_id())
            .await;
    }

    async fn serve(&self, session: &mut ServerSession) -> Delivered {
        let (at, wall) = (Instant::now(), clock::now());
        let call_id = clock::new_call_id();
        let request = session.req_header();
        let path = path_of(request).to_owned();
        let method = request.method.clone();
        if is_smuggling(session) {
            session.set_keepalive(None);
            let error = GatewayError::BadField {
                field: "transfer-encoding".to_owned(),
                message: "Content-Length and Transfer-Encoding must not come together".to_owned(),
            };
            return self
                .refuse(session, Refusal::of(&error), Dialect::OpenAi, call_id)
                .await;
        }
        if wants_upgrade(session) {
            let refusal = Refusal::of(&GatewayError::UpgradeRequired);
            return self
                .refuse(session, refusal, Dialect::OpenAi, call_id)
                .await;
        }
        let matched = match routes::resolve(method.as_str(), &path) {
            Ok(matched) => matched,
            Err(error) => {
                let refusal = Refusal::of(&error);
                let dialect = dialect_of(session.req_header());
                return self.refuse(session, refusal, dialect, call_id).await;
            }
        };
        match matched.target {
            Target::Inference(_) if !self.state.serves_models => {
                let refusal = Refusal::of(&GatewayError::RouteNotFound);
                let dialect = dialect_of(session.req_header());
                self.refuse(session, refusal, dialect, call_id).await
            }
            Target::Inference(endpoint) => {
                let endpoint = endpoint.spoken(names_anthropic(session.req_header()));
                let arrival = Arrival::new(call_id, at, wall, endpoint, matched.canonical);
                self.infer(session, arrival, &matched).await
            }
            Target::Own(_) => self.own(session, &matched, call_id).await,
        }
    }

    /// A request for a provider: admit, forward, relay, settle.
    async fn infer(
        &self,
        session: &mut ServerSession,
        arrival: Arrival,
        matched: &Match<'_>,
    ) -> Delivered {
        let (dialect, call_id) = (arrival.endpoint.dialect(), arrival.call_id);
        let admission = path_guard::admission(admit::admit(&self.state, session, arrival, matched));
        let mut admitted = match admission.await {
            Ok(admitted) => admitted,
            Err(admit::NotAdmitted::Refused { error, key }) => {
                let refusal = Refusal {
                    error: &error,
                    key: key.as_deref(),
                    route: matched.canonical,
                };
                return self.refuse(session, refusal, dialect, call_id).await;
            }
            Err(admit::NotAdmitted::ClientGone) => return Delivered::Gone,
        };
        if let Some(cache) = &self.state.cache {
            match Box::pin(lookup::look(cache, session, &mut admitted)).await {
                Looked::Hit(entry) => {
                    return relay::replay(&self.state, session, admitted, entry).await;
                }
                Looked::ClientGone => return client_left(admitted),
                Looked::Miss => {}
            }
        }
        // Boxed, so that a stream that is relayed for hours does not carry it.
        let forwarded = Box::pin(forward::forward(&self.state, session, &mut admitted)).await;
        match forwarded {
            Ok(answer) => relay::relay(&self.state, session, admitted, answer).await,
            Err(NoAnswer::ClientGone) => client_left(admitted),
            Err(NoAnswer::Failed(failed)) => self.failed(session, admitted, &failed).await,
        }
    }

    /// No attempt gave an answer: says so, inside the stream if one was begun to bridge silence.
    async fn failed(
        &self,
        session: &mut ServerSession,
        mut admitted: Box<Admitted>,
        failed: &Failed,
    ) -> Delivered {
        if let Some(keeping) = admitted.keeping.take() {
            keeping.alone();
        }
        let (dialect, call_id) = (
            admitted.arrival.endpoint.dialect(),
            admitted.arrival.call_id,
        );
        let reply = failed.error.reply();
        let mut headers = admitted.limit_headers();
        let limit = failed
            .target
            .as_ref()
            .map(|target| admitted.timeout(target));
        let goodbye = early::is_open(session).then(|| {
            let mut relay = admitted.stream_relay(UsageChunk::Asked);
            relay.abort(&reply, &call_id.to_string())
        });
        let reason = match failed.timed_out {
            true => EndReason::Timeout,
            false => EndReason::UpstreamFailed,
        };
        let status = if goodbye.is_some() { 200 } else { reply.status };
        let with_message = admitted.transcript.is_some();
        let text = failed.error.ledger_text(with_message);
        let outcome = Outcome {
            target: failed.target.as_ref(),
            sent_at: failed.billable_since,
            error: Some((failed.error.class(), text)),
            ..Outcome::without_answer(reason, status)
        };
        let settled = settle::settle(admitted, outcome);
        headers.extend(reply::failure_details(settled.cost, limit));
        headers.extend(reply::key_spend(settled.key_spend));
        headers.push(reply::coordination(self.state.link.coordination()));
        delivered(match goodbye {
            Some(goodbye) => reply::send_end(session, goodbye).await,
            None => {
                let state = &self.state;
                reply::send_error(state, session, &reply, dialect, call_id, &headers).await
            }
        })
    }

    /// A route that the gateway answers itself.
    async fn own(
        &self,
        session: &mut ServerSession,
        matched: &Match<'_>,
        call_id: CallId,
    ) -> Delivered {
        let state = &self.state;
        let mut _pass = None;
        if is_management(matched.access) {
            if !state.serves_management {
                let refusal = Refusal::of(&GatewayError::RouteNotFound);
                return self
                    .refuse(session, refusal, Dialect::OpenAi, call_id)
                    .await;
            }
            _pass = Some(state.turnstile.enter(MANAGEMENT_WAIT_MAX).await);
        }
        match management::pass(state, session).await {
            Ok(()) => Delivered::Whole,
            Err(PassError::Refused(error)) => {
                self.refuse(session, Refusal::of(&error), Dialect::OpenAi, call_id)
                    .await
            }
            Err(PassError::ClientGone) => Delivered::Gone,
        }
    }

    /// Answers with an error; a body that was not read is not waited for.
    async fn refuse(
        &self,
        session: &mut ServerSession,
        refusal: Refusal<'_>,
        dialect: Dialect,
        call_id: CallId,
    ) -> Delivered {
        let Refusal { error, key, route } = refusal;
        let labels = RequestLabels {
            route,
            ..RequestLabels::default()
        };
        self.state
            .metrics
            .rejected(&admit::payer_of(key), &labels, error);
        let unread = !session.is_body_done();
        if unread {
            session.set_keepalive(None);
        }
        let mut reply = error.reply();
        if matches!(error, GatewayError::BudgetExceeded { .. }) {
            reply.status = self
                .state
                .rules
                .load()
                .config
                .settings
                .budget_exceeded_status;
        }
        let mut headers = admit::limit_headers(key, clock::now());
        headers.extend(reply::limit_details(error));
        headers.push(reply::coordination(self.state.link.coordination()));
        if error.tells_cost() {
            headers.extend(reply::failure_details(NanoUsd::ZERO, None));
        }
        let state = &self.state;
        let sent = reply::send_error(state, session, &reply, dialect, call_id, &headers).await;
        if unread && sent.is_ok() {
            body::linger(session).await;
        }
        delivered(sent)
    }

    /// Answers what is no HTTP request, without a word of it; nothing after it can be understood.
    async fn refuse_head(&self, session: &mut ServerSession) {
        let error = GatewayError::BadField {
            field: "request".to_owned(),
            message: "The head of the request is not valid HTTP.".to_owned(),
        };
        self.last_words(session, &error).await;
    }

    /// After a panic: say so if nothing was said yet, and end the connection.
    async fn fail(&self, mut session: ServerSession) -> Option<ReusedHttpStream> {
        match early::is_open(&session) {
            true => session.shutdown().await,
            false => self.last_words(&mut session, &GatewayError::Internal).await,
        }
        None
    }

    /// An error, and the end of the connection.
    async fn last_words(&self, session: &mut ServerSession, error: &GatewayError) {
        session.set_keepalive(None);
        let (reply, call_id) = (error.reply(), clock::new_call_id());
        let (state, dialect) = (&self.state, Dialect::OpenAi);
        let _ = reply::send_error(state, session, &reply, dialect, call_id, &[]).await;
        session.shutdown().await;
    }
}

/// A request that is not served.
#[derive(Clone, Copy)]
struct Refusal<'a> {
    error: &'a GatewayError,
    key: Option<&'a KeyView>,
    route: &'static str,
}

impl<'a> Refusal<'a> {
    /// Before it is known whose request it is.
    fn of(error: &'a GatewayError) -> Self {
        Self {
            error,
            key: None,
            route: "",
        }
    }
}

/// The client left before there was an answer.
fn client_left(mut admitted: Box<Admitted>) -> Delivered {
    let dispatched = admitted.dispatched.take();
    let reason = EndReason::ClientGoneBeforeFirstByte;
    let outcome = Outcome {
        target: dispatched.as_ref().map(|(target, _)| target),
        sent_at: dispatched.as_ref().map(|(_, at)| *at),
        ..Outcome::without_answer(reason, 499)
    };
    settle::settle(admitted, outcome);
    Delivered::Gone
}

fn delivered(sent: Result<(), Gone>) -> Delivered {
    match sent {
        Ok(()) => Delivered::Whole,
        Err(Gone) => Delivered::Gone,
    }
}

/// Returns when the client has left; for ever pending while it is there.
async fn client_gone(session: &mut ServerSession) {
    loop {
        if session.read_body_or_idle(true).await.is_err() {
            return;
        }
    }
}

async fn finish(session: ServerSession) -> Option<ReusedHttpStream> {
    let settings = HttpPersistentSettings::for_session(&session);
    let reusable = session.finish().await.ok()??;
    Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
}

/// Dialect for errors of requests that reach no endpoint.
fn dialect_of(request: &RequestHeader) -> Dialect {
    let path = request.uri.path();
    let is_files = path.starts_with("/v1/files") || path.starts_with("/files");
    match path.starts_with("/v1/messages") || is_files && names_anthropic(request) {
        true => Dialect::Anthropic,
        false => Dialect::OpenAi,
    }
}

/// Whether a client says that it speaks to Anthropic's API: its libraries always do.
fn names_anthropic(request: &RequestHeader) -> bool {
    let names = ["anthropic-version", "anthropic-beta"];
    names.iter().any(|name| request.headers.contains_key(*name))
}

/// Routes that belong to the management plane, which `--role gateway` leaves to another process.
fn is_management(access: Access) -> bool {
    match access {
        Access::Public | Access::Inference | Access::AnyKey => false,
        Access::OwnKeyOrAdmin
        | Access::Delegated
        | Access::AdminViewer
        | Access::Admin
        | Access::MasterKey => true,
    }
}
