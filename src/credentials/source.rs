//! One source of credentials: what is held, what went wrong, who waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use meridian_core::identity::{AwsSource, Identity, IdentityKind, Refresh};
use meridian_core::time::WallMs;
use tokio::sync::{Notify, watch};

use super::Due;
use super::fetch::{Credential, FetchError, Fetcher, Token};
use crate::clock;

/// Longest wait of a request for a credential that is not there yet.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Least time between two fetches that a provider's 401 asks for.
const DISTRUST_PAUSE_MS: i64 = 10_000;

/// No usable credential.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no credentials from {source_name}: {reason}")]
pub struct Unavailable {
    /// The source, without secrets.
    pub source_name: String,
    /// What went wrong last.
    pub reason: String,
    /// When they are fetched again.
    pub retry_after: Duration,
}

/// A source as readiness and metrics show it.
#[derive(Clone, Debug)]
pub struct SourceReport {
    /// Its name, without secrets.
    pub name: String,
    /// A usable credential is held.
    pub usable: bool,
    /// When what is held ends; `None`: never, or nothing is held.
    pub expires_at: Option<WallMs>,
    /// What went wrong since the last fetch that worked.
    pub error: Option<String>,
}

/// One source.
pub struct Source {
    identity: Identity,
    held: ArcSwapOption<Token>,
    state: Mutex<Progress>,
    /// Fetches that ended.
    ended: watch::Sender<u64>,
    poke: Arc<Notify>,
}

struct Progress {
    refresh: Refresh,
    running: bool,
    error: Option<FetchError>,
    distrusted_at: Option<WallMs>,
}

impl Source {
    /// Keys that are written down are held at once; everything else is due now.
    pub(super) fn new(identity: Identity, poke: Arc<Notify>, now: WallMs) -> Self {
        let fixed = fixed(&identity);
        let refresh = match &fixed {
            Some(_) => Refresh::fetched(now, None, 0.0),
            None => Refresh::first(now),
        };
        Self {
            identity,
            held: ArcSwapOption::from(fixed.map(Arc::new)),
            state: Mutex::new(Progress {
                refresh,
                running: false,
                error: None,
                distrusted_at: None,
            }),
            ended: watch::Sender::new(0),
            poke,
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// What is held, if it may still be used. No wait.
    pub fn held(&self) -> Option<Arc<Token>> {
        let token = self.held.load_full()?;
        let usable = token.usable_until.is_none_or(|until| clock::now() < until);
        usable.then_some(token)
    }

    /// What is held; else what the fetch on its way brings.
    ///
    /// # Errors
    /// It failed, or takes too long.
    pub async fn token(&self) -> Result<Arc<Token>, Unavailable> {
        if let Some(token) = self.held() {
            return Ok(token);
        }
        let mut ended = self.ended.subscribe();
        let waiting = async {
            loop {
                if let Some(token) = self.held() {
                    return Ok(token);
                }
                // A source that failed a moment ago is not asked again for each request.
                if let Some(known) = self.failed_lately() {
                    return Err(known);
                }
                self.poke.notify_one();
                if ended.changed().await.is_err() {
                    return Err(self.unavailable("the gateway stops"));
                }
            }
        };
        match tokio::time::timeout(WAIT_MAX, waiting).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.unavailable("no answer in time")),
        }
    }

    /// A provider refused what is held: it is replaced soon, and used until then.
    pub fn distrust(&self, token: &Token) {
        let held = self.held.load();
        let is_held = held
            .as_deref()
            .is_some_and(|held| std::ptr::eq(held, token));
        let now = clock::now();
        let mut state = self.state();
        let lately = state
            .distrusted_at
            .is_some_and(|at| now.0 - at.0 < DISTRUST_PAUSE_MS);
        if !is_held || lately || state.refresh.due.is_none() {
            return;
        }
        state.distrusted_at = Some(now);
        state.refresh.due = Some(now);
        drop(state);
        self.poke.notify_one();
    }

    pub(super) fn due(&self, now: WallMs) -> Due {
        let mut state = self.state();
        match state.refresh.due {
            _ if state.running => Due::Never,
            None => Due::Never,
            Some(at) if at <= now => {
                state.running = true;
                Due::Now
            }
            Some(at) => Due::At(at),
        }
    }

    /// Fetches once and tells whoever waits.
    pub(super) async fn fetch(self: Arc<Self>, fetcher: &Fetcher) {
        let fetched = fetcher.fetch(&self.identity).await;
        let now = clock::now();
        let mut state = self.state();
        state.running = false;
        match fetched {
            Ok(fetched) => {
                let refresh = Refresh::fetched(now, fetched.expires_at, clock::dice());
                let token = Token {
                    usable_until: refresh.usable_until,
                    ..fetched
                };
                if state.error.take().is_some() {
                    tracing::info!(source = self.name(), "credentials are there again");
                }
                state.refresh = refresh;
                self.held.store(Some(Arc::new(token)));
            }
            Err(error) => {
                state.refresh = state.refresh.failed(now, clock::dice());
                let usable = self.held().is_some();
                tracing::warn!(source = self.name(), %error, usable, "no new credentials");
                state.error = Some(error);
            }
        }
        drop(state);
        self.ended.send_modify(|ended| *ended += 1);
    }

    pub(super) fn report(&self, now: WallMs) -> SourceReport {
        let held = self.held.load_full();
        let state = self.state();
        SourceReport {
            name: self.identity.name.clone(),
            usable: held.is_some() && state.refresh.is_usable(now),
            expires_at: held.and_then(|held| held.expires_at),
            error: state.error.as_ref().map(ToString::to_string),
        }
    }

    fn failed_lately(&self) -> Option<Unavailable> {
        let state = self.state();
        let due = state.refresh.due.filter(|due| clock::now() < *due);
        let error = state.error.as_ref().filter(|_| !state.running)?;
        due.map(|due| Unavailable {
            source_name: self.identity.name.clone(),
            reason: error.to_string(),
            retry_after: Duration::from_millis(
                u64::try_from(due.0 - clock::now().0).unwrap_or_default(),
            ),
        })
    }

    fn unavailable(&self, otherwise: &str) -> Unavailable {
        let state = self.state();
        let reason = state.error.as_ref().map(ToString::to_string);
        Unavailable {
            source_name: self.identity.name.clone(),
            reason: reason.unwrap_or_else(|| otherwise.to_owned()),
            retry_after: Duration::from_secs(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys in the configuration or the environment need no fetch.
fn fixed(identity: &Identity) -> Option<Token> {
    let IdentityKind::Aws(aws) = &identity.kind else {
        return None;
    };
    let keys = match &aws.source {
        AwsSource::Keys(keys) => Some(keys),
        AwsSource::Chain(chain) => chain.keys.as_ref(),
        AwsSource::Profile(_) | AwsSource::WebIdentity(_) => None,
    };
    let keys = keys.filter(|_| aws.assume.is_none())?;
    Some(Token::fixed(Credential::Aws(keys.clone())))
}
