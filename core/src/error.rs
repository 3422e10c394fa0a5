//! Every error a client can see, and the one table that turns it into HTTP.
//!
//! Status, `type`, `param` and message are LiteLLM 1.87.1's; routes of the Anthropic dialect get
//! the same facts in Anthropic's envelope.

mod budget;
mod denied;
mod ledger;
mod python;
mod reply;
mod upstream;

pub use budget::BudgetScope;
pub use reply::{ErrorReply, anthropic_kind, exception_class};
pub use upstream::UpstreamError;

use crate::money::NanoUsd;
use crate::time::WallMs;
use denied::{model_denied, model_denied_kind};
pub use python::python_list;
use python::{iso_space, python_seconds};

/// What went wrong, from the client's point of view. Holds no secret and no prompt text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GatewayError {
    /// No credential in any accepted header.
    #[error("Authentication Error, No api key passed in.")]
    NoKey,
    /// `Authorization` without a scheme.
    #[error("Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.")]
    MalformedKey,
    /// The credential is not a virtual key. `masked` is `abcd****wxyz`.
    #[error(
        "Authentication Error, LiteLLM Virtual Key expected. Received={masked}, \
         expected to start with 'sk-'."
    )]
    NotAVirtualKey {
        /// First and last four characters.
        masked: String,
    },
    /// No such key. `masked` is `sk-...wxyz`.
    #[error(
        "Authentication Error, Invalid proxy server token passed. Received API Key = {masked}, \
         Key Hash (Token) ={hash}. Unable to find token in cache or \
         `LiteLLM_VerificationTokenTable`"
    )]
    UnknownKey {
        /// `sk-...` and the last four characters.
        masked: String,
        /// Digest of the key.
        hash: String,
    },
    /// Nobody can say now whether there is such a key: the store cannot be asked.
    #[error(
        "Authentication is not possible at the moment: the store of keys cannot be asked. Try \
         again in {retry_after_s} seconds."
    )]
    KeysUnavailable {
        /// Seconds.
        retry_after_s: u64,
    },
    /// The key's home region was not heard of for longer than is allowed: it may be revoked there.
    #[error(
        "Authentication is not possible at the moment: region {home} was not heard of for too \
         long. Try again in {retry_after_s} seconds."
    )]
    StaleAuth {
        /// The home region of the key.
        home: String,
        /// Seconds.
        retry_after_s: u64,
    },
    /// The key is blocked.
    #[error("Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin.")]
    KeyBlocked,
    /// A scope of the key is blocked.
    #[error(
        "Authentication Error, {scope}={id} is blocked. Update via `{lifted_by}` if you're an \
         admin."
    )]
    ScopeBlocked {
        /// `Team`, `User`, ...
        scope: &'static str,
        /// Which one.
        id: String,
        /// Route that lifts it.
        lifted_by: &'static str,
    },
    /// A scope of the key was deleted; the key may not outlive its limits.
    #[error("Authentication Error, {scope}={id} does not exist any more.")]
    ScopeDeleted {
        /// `Team`, `User`, ...
        scope: &'static str,
        /// Which one.
        id: String,
    },
    /// A scope of the key is not known here yet: nobody can say what it may.
    #[error(
        "{scope}={id} of this key is not known here yet. Try again in {retry_after_s} seconds."
    )]
    ScopeUnknown {
        /// `Team`, `User`, ...
        scope: &'static str,
        /// Which one.
        id: String,
        /// Seconds.
        retry_after_s: u64,
    },
    /// The key's time is over.
    #[error(
        "Authentication Error - Expired Key. Key Expiry time {expired} and current time {now}",
        expired = expired.to_iso(), now = now.to_iso()
    )]
    KeyExpired {
        /// `sk-...` and the last four characters.
        masked: String,
        /// When it expired.
        expired: WallMs,
        /// When it was used.
        now: WallMs,
    },
    /// A scope's model list forbids the model.
    #[error("{}", model_denied(scope, models, model))]
    ModelNotAllowed {
        /// `key`, `team`, `user`, `org`, `team_member`, ...
        scope: &'static str,
        /// What it may use.
        models: Vec<String>,
        /// What was asked for.
        model: String,
    },
    /// The key's `allowed_routes` forbid the route.
    #[error(
        "Virtual key is not allowed to call this route. Only allowed to call routes: \
         {routes}. Tried to call route: {route}", routes = python_list(routes)
    )]
    RouteNotAllowed {
        /// What it may call.
        routes: Vec<String>,
        /// What it called.
        route: String,
    },
    /// The key's `allowed_cache_controls` forbid what the request asks of the cache.
    #[error(
        "Not allowed to set {control} as a cache control. Contact admin to change permissions."
    )]
    CacheControlNotAllowed {
        /// Its name.
        control: &'static str,
    },
    /// A management route for administrators.
    #[error(
        "Authentication Error, Only proxy admin can be used to generate, delete, update info \
         for new keys/users/teams. Route={route}. Your role={role}. Your user_id={user_id}"
    )]
    AdminOnly {
        /// The route.
        route: String,
        /// The caller's role.
        role: String,
        /// The caller's user, masked.
        user_id: String,
    },
    /// A route for the master key alone.
    #[error("Authentication Error, Tried to access route={route}, which is only for MASTER KEY")]
    MasterKeyOnly {
        /// The route.
        route: String,
    },
    /// A hard budget is used up.
    #[error("{}", scope.exceeded_message(*spent, *limit, *resets_at))]
    BudgetExceeded {
        /// Whose budget.
        scope: BudgetScope,
        /// Settled and reserved so far.
        spent: NanoUsd,
        /// The budget.
        limit: NanoUsd,
        /// When the period ends; `None` is never.
        resets_at: Option<WallMs>,
    },
    /// A rate or parallelism limit refuses the request.
    #[error(
        "Rate limit exceeded for {scope}: {id}. Limit type: {what}. Current limit: {limit}, \
         Remaining: {remaining}. Limit resets at: {} UTC", iso_space(*resets_at)
    )]
    RateLimited {
        /// `api_key`, `team`, `user`, ...
        scope: &'static str,
        /// Who, never in clear for a key: its digest.
        id: String,
        /// `requests`, `tokens` or `max_parallel_requests`.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What was left.
        remaining: u64,
        /// When the window ends.
        resets_at: WallMs,
        /// Seconds until then, at least one.
        retry_after_s: u64,
    },
    /// No deployment carries this name.
    #[error(
        "{route}: Invalid model name passed in model={model}. Call `/v1/models` to view \
         available models for your key."
    )]
    UnknownModel {
        /// The canonical path, e.g. `/chat/completions`.
        route: &'static str,
        /// What was asked for.
        model: String,
    },
    /// The model exists, but no deployment of it speaks this endpoint.
    #[error("{route} is not served by any deployment of model={model}")]
    EndpointNotServed {
        /// The canonical path.
        route: &'static str,
        /// What was asked for.
        model: String,
    },
    /// Every deployment is cooling down or saturated.
    #[error(
        "No deployments available for selected model, Try again in {retry_after_s} seconds. \
         Passed model={model}. pre-call-checks=False, cooldown_list={cooling}",
        cooling = python_list(cooling)
    )]
    NoDeployment {
        /// What was asked for.
        model: String,
        /// Deployments left out.
        cooling: Vec<String>,
        /// Seconds until the first of them is back.
        retry_after_s: u64,
    },
    /// No deployment is in a region that the key, the team and the model allow.
    #[error(
        "No deployment of model={model} is in an allowed region. Allowed: {}",
        python_list(allowed)
    )]
    RegionNotAllowed {
        /// What was asked for.
        model: String,
        /// Regions that are allowed.
        allowed: Vec<String>,
    },
    /// No deployment carries a tag of the request.
    #[error(
        "Not allowed to access model due to tags configuration. Passed model={model} and \
         tags={}",
        python_list(tags)
    )]
    TagsNotAllowed {
        /// What was asked for.
        model: String,
        /// Tags of the request.
        tags: Vec<String>,
    },
    /// The body is not JSON.
    #[error("Invalid JSON payload: {detail}")]
    InvalidJson {
        /// What the reader stumbled on.
        detail: String,
    },
    /// A required field is absent.
    #[error("{route}: Missing required parameter: '{field}'.")]
    MissingField {
        /// The canonical path.
        route: &'static str,
        /// Its name.
        field: &'static str,
    },
    /// A field has a value that cannot be used.
    #[error("{message}")]
    BadField {
        /// Its name.
        field: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A field that callers may not set.
    #[error(
        "Authentication Error, Rejected Request: {field} is not allowed in request body. Enable \
         with `general_settings::allow_client_side_credentials` on proxy config.yaml"
    )]
    BannedField {
        /// Its name.
        field: String,
    },
    /// The body is over the limit.
    #[error("Request body is too large. Limit is {limit_bytes} bytes.")]
    BodyTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The client sent its body too slowly.
    #[error("Request body was not received in time.")]
    BodyTimeout,
    /// The gateway is at its own limits: buffered bytes, journal, draining.
    #[error("{what}. Try again in {retry_after_s} seconds.")]
    Overloaded {
        /// Which limit.
        what: &'static str,
        /// Seconds.
        retry_after_s: u64,
    },
    /// The journal cannot take the record of this request.
    #[error("Spend journal is not writable. Try again in {retry_after_s} seconds.")]
    JournalUnavailable {
        /// Seconds.
        retry_after_s: u64,
    },
    /// No such route.
    #[error("Not Found")]
    RouteNotFound,
    /// The route exists, the method does not.
    #[error("Method Not Allowed")]
    MethodNotAllowed,
    /// An object that does not exist, or not for this caller.
    #[error("{what} not found: {id}")]
    ObjectNotFound {
        /// `Response`, `File`, ...
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// What tells what a batch used may not go before that is billed.
    #[error(
        "{what} {id} cannot be deleted yet: it tells what batch {batch} used, and that is not \
         billed. A read of the batch bills it as soon as it is over. Try again in {retry_after_s} \
         seconds."
    )]
    NotBilledYet {
        /// `File`, `Batch`.
        what: &'static str,
        /// Its id.
        id: String,
        /// The batch.
        batch: String,
        /// Seconds.
        retry_after_s: u64,
    },
    /// A file that a body names and that does not exist, or not for this caller.
    #[error("File not found: {id} ('{field}')")]
    FileNotFound {
        /// Where the body names it.
        field: String,
        /// Its id.
        id: String,
    },
    /// A WebSocket upgrade; clients fall back to HTTP on 426.
    #[error("WebSocket is not supported here, use HTTP.")]
    UpgradeRequired,
    /// The upstream did not answer in time.
    #[error(
        "litellm.Timeout: APITimeoutError - Request timed out. Error_str: Request timed out. - \
         timeout value={limit_s:?}, time taken={taken_s:.2} seconds\n\nDeployment Info: \
         request_timeout: None\ntimeout: {}", python_seconds(*deployment_s)
    )]
    UpstreamTimeout {
        /// The timeout that fired, in seconds.
        limit_s: f64,
        /// Time since the request was sent.
        taken_s: f64,
        /// The deployment's own `timeout`, in seconds.
        deployment_s: Option<f64>,
    },
    /// The upstream could not be reached or broke before an answer.
    #[error("litellm.InternalServerError: InternalServerError: {provider} - Connection error.")]
    UpstreamUnreachable {
        /// `OpenAIException`, `AnthropicException`, ...
        provider: String,
    },
    /// The upstream answered with an error.
    #[error("{0}")]
    Upstream(Box<UpstreamError>),
    /// A defect of the gateway.
    #[error("Internal server error")]
    Internal,
}

impl GatewayError {
    /// The table: error -> status, type, param.
    pub fn reply(&self) -> ErrorReply {
        let none = || Some("None".to_owned());
        let (status, kind, param): (u16, &str, Option<String>) = match self {
            Self::NoKey | Self::MalformedKey | Self::NotAVirtualKey { .. } => {
                (401, "auth_error", none())
            }
            Self::ScopeBlocked { .. } | Self::ScopeDeleted { .. } => (401, "auth_error", none()),
            Self::ScopeUnknown { .. } => (503, "overloaded_error", None),
            Self::KeyBlocked | Self::AdminOnly { .. } | Self::MasterKeyOnly { .. } => {
                (401, "auth_error", none())
            }
            Self::UnknownKey { .. } => (401, "token_not_found_in_db", Some("key".into())),
            Self::KeyExpired { masked, .. } => (401, "expired_key", Some(masked.clone())),
            Self::ModelNotAllowed { scope, .. } => {
                (403, model_denied_kind(scope), Some("model".into()))
            }
            Self::RouteNotAllowed { .. } => (403, "auth_error", none()),
            Self::BudgetExceeded { .. } => (429, "budget_exceeded", None),
            Self::RateLimited { .. } => (429, "None", none()),
            Self::CacheControlNotAllowed { .. } => (403, "None", none()),
            Self::UnknownModel { .. } => (400, "None", none()),
            Self::EndpointNotServed { .. } => (400, "invalid_request_error", Some("model".into())),
            Self::NoDeployment { .. } => (429, "None", none()),
            Self::RegionNotAllowed { .. } => (403, "permission_error", Some("model".into())),
            Self::TagsNotAllowed { .. } => (401, "auth_error", none()),
            Self::InvalidJson { .. } => (400, "invalid_request_error", Some("request_body".into())),
            Self::MissingField { field, .. } => {
                (400, "invalid_request_error", Some((*field).into()))
            }
            Self::BadField { field, .. } => (400, "invalid_request_error", Some(field.clone())),
            Self::BannedField { field } => (400, "auth_error", Some(field.clone())),
            Self::BodyTooLarge { .. } => (413, "request_too_large", None),
            Self::BodyTimeout => (408, "timeout_error", None),
            Self::Overloaded { .. } | Self::JournalUnavailable { .. } => {
                (503, "overloaded_error", None)
            }
            Self::KeysUnavailable { .. } => (503, "auth_unavailable", None),
            Self::StaleAuth { .. } => (503, "stale_auth", None),
            Self::RouteNotFound | Self::ObjectNotFound { .. } => (404, "not_found_error", None),
            Self::FileNotFound { field, .. } => (404, "not_found_error", Some(field.clone())),
            Self::NotBilledYet { .. } => (409, "invalid_request_error", None),
            Self::MethodNotAllowed => (405, "invalid_request_error", None),
            Self::UpgradeRequired => (426, "invalid_request_error", None),
            Self::UpstreamTimeout { .. } => (408, "", None),
            Self::UpstreamUnreachable { .. } => (500, "", None),
            Self::Upstream(upstream) => return upstream.reply(),
            Self::Internal => (500, "internal_server_error", None),
        };
        ErrorReply {
            status,
            kind: kind.to_owned(),
            param,
            message: self.to_string(),
            specific: match self {
                Self::UnknownModel { .. } => Some(("error", self.to_string())),
                _ => None,
            },
            retry_after_s: self.retry_after_s(),
        }
    }

    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_s, .. }
            | Self::NoDeployment { retry_after_s, .. }
            | Self::Overloaded { retry_after_s, .. }
            | Self::KeysUnavailable { retry_after_s }
            | Self::StaleAuth { retry_after_s, .. }
            | Self::ScopeUnknown { retry_after_s, .. }
            | Self::NotBilledYet { retry_after_s, .. }
            | Self::JournalUnavailable { retry_after_s } => Some(*retry_after_s),
            _ => None,
        }
    }

    /// Whether LiteLLM says `x-litellm-response-cost: 0` with it: what is refused after the key
    /// was checked, when the request itself is looked at.
    pub fn tells_cost(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::UnknownModel { .. }
                | Self::EndpointNotServed { .. }
                | Self::NoDeployment { .. }
                | Self::MissingField { .. }
        )
    }

    /// Bounded label for metrics: LiteLLM's exception class.
    pub fn class(&self) -> &'static str {
        match self {
            Self::BudgetExceeded { .. } => "BudgetExceededError",
            Self::UpstreamTimeout { .. } => "Timeout",
            Self::UpstreamUnreachable { .. } => "InternalServerError",
            Self::Upstream(upstream) => exception_class(upstream.status),
            _ => "ProxyException",
        }
    }
}

#[cfg(test)]
mod tests;
