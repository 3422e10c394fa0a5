//! What every route takes and answers: declared once, parsed and documented from the same table.
//!
//! The extractors `JsonBody` and `Query` let through what is declared here and nothing else, and
//! `/openapi.json` is made of it: a field that is read is a field that is documented.

mod cache;
mod config;
mod health;
mod keys;
mod models;
mod pages;
mod spend;

use axum::http::Extensions;
use meridian_core::routes::Route;
use serde_json::{Map, Value, json};

/// One operation: what it is for, what it takes, what it gives.
pub(super) struct Operation {
    /// One line for people.
    pub(super) summary: &'static str,
    /// Parameters of the query string.
    pub(super) query: &'static [Field],
    /// The body.
    pub(super) body: Body,
    /// The answer with status 200.
    pub(super) answer: Answer,
}

/// What a request's body may hold.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// There is none, or it is not read.
    None,
    /// An object with these fields; others are ignored, as in LiteLLM.
    Fields(&'static [Field]),
    /// Several tables together make one object.
    Joined(&'static [&'static [Field]]),
    /// Any JSON, described by these words.
    Free(&'static str),
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// An object with these fields and no others.
    Object(&'static [Field]),
    /// An object with at least these fields among others.
    Open(&'static [Field]),
    /// A list of objects with at least these fields.
    List(&'static [Field]),
    /// Any JSON, described by these words.
    Free(&'static str),
    /// No JSON: this content type.
    Other(&'static str),
}

/// A field of a body, a parameter of a query, or a field of an answer.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// Whether it has to be there.
    pub(super) required: bool,
    /// What it means.
    pub(super) what: &'static str,
}

/// What a field holds. Bodies and queries are read leniently, as pydantic reads them: numbers and
/// booleans may be text.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// A date or a moment in ISO 8601.
    Moment,
    /// A whole number, zero or more.
    Whole,
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of anything.
    List,
    /// A list of objects with these fields.
    Rows(&'static [Field]),
    /// An object with these fields.
    Fields(&'static [Field]),
    /// An object.
    Object,
    /// An object of texts.
    TextMap,
    /// Anything.
    Any,
}

impl Field {
    const fn new(name: &'static str, kind: Kind, what: &'static str) -> Self {
        Self {
            name,
            kind,
            required: false,
            what,
        }
    }

    /// The same, and it has to be there.
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Its JSON Schema.
    fn schema(&self) -> Value {
        let mut schema = self.kind.schema();
        if let (Value::Object(schema), false) = (&mut schema, self.what.is_empty()) {
            schema.insert("description".to_owned(), json!(self.what));
        }
        schema
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {
        $(
            $(#[$doc])*
            pub(super) const fn $name(name: &'static str, what: &'static str) -> Field {
                Field::new(name, Kind::$kind, what)
            }
        )*
    };
}

kinds! {
    /// Text.
    text: Text;
    /// A date or a moment.
    moment: Moment;
    /// A whole number.
    whole: Whole;
    /// A number.
    number: Number;
    /// `true` or `false`.
    flag: Flag;
    /// A list of texts.
    texts: Texts;
    /// A list of anything.
    list: List;
    /// An object.
    object: Object;
    /// An object of texts.
    text_map: TextMap;
    /// Anything.
    any: Any;
}

/// One of some words.
pub(super) const fn word(
    name: &'static str,
    words: &'static [&'static str],
    what: &'static str,
) -> Field {
    Field::new(name, Kind::Word(words), what)
}

/// A list of objects.
pub(super) const fn rows(
    name: &'static str,
    fields: &'static [Field],
    what: &'static str,
) -> Field {
    Field::new(name, Kind::Rows(fields), what)
}

/// An object with known fields.
pub(super) const fn fields(
    name: &'static str,
    fields: &'static [Field],
    what: &'static str,
) -> Field {
    Field::new(name, Kind::Fields(fields), what)
}

impl Kind {
    /// Its JSON Schema.
    fn schema(self) -> Value {
        let nullable = |kind: &str| json!({"type": [kind, "null"]});
        match self {
            Self::Text => nullable("string"),
            Self::Moment => json!({"type": ["string", "null"], "format": "date-time"}),
            Self::Whole => json!({"type": ["integer", "null"], "minimum": 0}),
            Self::Number => nullable("number"),
            Self::Flag => nullable("boolean"),
            Self::Word(words) => json!({"type": "string", "enum": words}),
            Self::Texts => json!({"type": ["array", "null"], "items": {"type": "string"}}),
            Self::List => nullable("array"),
            Self::Rows(fields) => json!({"type": "array", "items": object_schema(&[fields], true)}),
            Self::Fields(fields) => object_schema(&[fields], true),
            Self::Object => nullable("object"),
            Self::TextMap => json!({
                "type": ["object", "null"], "additionalProperties": {"type": "string"},
            }),
            Self::Any => json!({}),
        }
    }
}

/// JSON Schema of an object with the fields of these tables.
pub(super) fn object_schema(tables: &[&[Field]], open: bool) -> Value {
    let every = || tables.iter().copied().flatten();
    let properties: Map<String, Value> = every()
        .map(|field| (field.name.to_owned(), field.schema()))
        .collect();
    let required: Vec<&str> = every()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !open {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

impl Body {
    /// Its tables; empty where it is not read as fields.
    pub(super) fn tables(&self) -> &[&'static [Field]] {
        match self {
            Self::Fields(fields) => std::slice::from_ref(fields),
            Self::Joined(tables) => tables,
            Self::None | Self::Free(_) => &[],
        }
    }
}

impl Operation {
    const fn get(summary: &'static str, query: &'static [Field], answer: Answer) -> Self {
        Self {
            summary,
            query,
            body: Body::None,
            answer,
        }
    }

    const fn post(summary: &'static str, body: &'static [Field], answer: Answer) -> Self {
        Self {
            summary,
            query: &[],
            body: Body::Fields(body),
            answer,
        }
    }

    const fn with(summary: &'static str, body: Body, answer: Answer) -> Self {
        Self {
            summary,
            query: &[],
            body,
            answer,
        }
    }

    /// Keeps the declared fields of an object.
    pub(super) fn keep_fields(&self, object: &mut Map<String, Value>) {
        if matches!(self.body, Body::Free(_)) {
            return;
        }
        let tables = self.body.tables();
        object.retain(|name, _| {
            tables
                .iter()
                .copied()
                .flatten()
                .any(|field| field.name == name)
        });
    }

    /// Whether a parameter of the query is declared.
    pub(super) fn takes(&self, parameter: &str) -> bool {
        self.query.iter().any(|field| field.name == parameter)
    }
}

/// What the route of a request declares; `None` where no route was found.
pub(super) fn of_request(extensions: &Extensions) -> Option<&'static Operation> {
    extensions.get::<Route>().map(|route| operation(*route))
}

/// What a route takes and answers. A route that declares nothing does not compile.
pub(super) fn operation(route: Route) -> &'static Operation {
    use Route as R;
    match route {
        R::Home => &pages::HOME,
        R::Routes => &pages::ROUTES,
        R::RobotsTxt => &pages::ROBOTS,
        R::Docs => &pages::DOCS,
        R::OpenApi => &pages::OPENAPI,
        R::Test => &pages::TEST,
        R::TokenCounter => &pages::TOKEN_COUNTER,
        R::TransformRequest => &pages::TRANSFORM,
        R::SupportedParams => &pages::SUPPORTED_PARAMS,
        R::EventLogging => &pages::EVENTS,
        R::RouterState => &pages::ROUTER_STATE,
        R::RouterExplain => &pages::ROUTER_EXPLAIN,
        R::Liveness => &health::LIVENESS,
        R::Readiness => &health::READINESS,
        R::ReadinessDetails => &health::DETAILS,
        R::Health => &health::HEALTH,
        R::HealthBacklog => &health::BACKLOG,
        R::Metrics => &health::METRICS,
        R::CachePing => &cache::PING,
        R::CacheDelete => &cache::DELETE,
        R::CacheFlushAll => &cache::FLUSH_ALL,
        R::CacheRedisInfo => &cache::REDIS_INFO,
        R::Models => &models::LIST,
        R::Model => &models::ONE,
        R::ModelInfo => &models::INFO,
        R::ModelInfoV2 => &models::INFO_V2,
        R::ModelGroupInfo => &models::GROUP_INFO,
        R::ReloadModelCostMap => &models::RELOAD_PRICES,
        R::ModelNew => &models::NEW,
        R::ModelUpdate => &models::UPDATE,
        R::ModelPatch => &models::PATCH,
        R::ModelDelete => &models::DELETE,
        R::HealthTestConnection => &models::TEST_CONNECTION,
        R::HealthServices => &health::SERVICES,
        R::HealthHistory => &health::HISTORY,
        R::HealthLatest => &health::LATEST,
        R::HealthLicense => &health::LICENSE,
        R::HealthSharedStatus => &health::SHARED_STATUS,
        R::CredentialNew => &config::CREDENTIAL_NEW,
        R::CredentialList => &config::CREDENTIAL_LIST,
        R::CredentialByName => &config::CREDENTIAL_BY_NAME,
        R::CredentialByModel => &config::CREDENTIAL_BY_MODEL,
        R::CredentialUpdate => &config::CREDENTIAL_UPDATE,
        R::CredentialDelete => &config::CREDENTIAL_DELETE,
        R::ConfigUpdate => &config::CONFIG_UPDATE,
        R::ConfigList => &config::CONFIG_LIST,
        R::ConfigFieldInfo => &config::CONFIG_FIELD_INFO,
        R::ConfigFieldUpdate => &config::CONFIG_FIELD_UPDATE,
        R::ConfigFieldDelete => &config::CONFIG_FIELD_DELETE,
        R::ConfigCallbacks => &config::CONFIG_CALLBACKS,
        R::FallbackNew => &config::FALLBACK_NEW,
        R::FallbackInfo => &config::FALLBACK_INFO,
        R::FallbackDelete => &config::FALLBACK_DELETE,
        R::Audit => &config::AUDIT,
        R::AuditEntry => &config::AUDIT_ONE,
        R::UserDailyActivity => &spend::DAILY_USER,
        R::UserDailyAggregated => &spend::DAILY_USER_ALL,
        R::TeamDailyActivity => &spend::DAILY_TEAM,
        R::OrganizationDailyActivity => &spend::DAILY_ORGANIZATION,
        R::CustomerDailyActivity => &spend::DAILY_CUSTOMER,
        R::TagDailyActivity => &spend::DAILY_TAG,
        R::SpendLogsUi => &spend::LOGS_V2,
        R::SpendLogsUiOne => &spend::LOGS_ONE,
        R::SpendLogsSession => &spend::LOGS_SESSION,
        R::GlobalExceptions => &spend::EXCEPTIONS,
        R::GlobalExceptionsDeployment => &spend::EXCEPTIONS_DEPLOYMENT,
        R::GlobalCacheHits => &spend::CACHE_HITS,
        R::GlobalTagNames => &spend::TAG_NAMES,
        R::GlobalSpendRefresh => &spend::REFRESH,
        R::ProviderBudgets => &spend::PROVIDER_BUDGETS,
        R::KeyGenerate => &keys::GENERATE,
        R::KeyServiceAccount => &keys::SERVICE_ACCOUNT,
        R::KeyUpdate => &keys::UPDATE,
        R::KeyBulkUpdate => &keys::BULK_UPDATE,
        R::KeyDelete => &keys::DELETE,
        R::KeyBlock => &keys::BLOCK,
        R::KeyUnblock => &keys::UNBLOCK,
        R::KeyRegenerate => &keys::REGENERATE,
        R::KeyResetSpend => &keys::RESET_SPEND,
        R::KeyInfo => &keys::INFO,
        R::KeyInfoV2 => &keys::INFO_V2,
        R::KeyList => &keys::LIST,
        R::KeyAliases => &keys::ALIASES,
        R::KeyHealth => &keys::HEALTH,
        R::SpendLogs => &spend::LOGS,
        R::SpendLogsV2 => &spend::LOGS_V2,
        R::SpendCalculate => &spend::CALCULATE,
        R::SpendKeys => &spend::KEYS,
        R::SpendUsers => &spend::USERS,
        R::SpendTags => &spend::TAGS,
        R::GlobalSpend => &spend::GLOBAL,
        R::GlobalSpendLogs => &spend::GLOBAL_LOGS,
        R::GlobalSpendKeys => &spend::GLOBAL_KEYS,
        R::GlobalSpendModels => &spend::GLOBAL_MODELS,
        R::GlobalSpendTeams => &spend::GLOBAL_TEAMS,
        R::GlobalSpendTags => &spend::GLOBAL_TAGS,
        R::GlobalSpendProvider => &spend::GLOBAL_PROVIDER,
        R::GlobalSpendEndUsers => &spend::GLOBAL_END_USERS,
        R::GlobalSpendReport => &spend::REPORT,
        R::GlobalSpendReset => &spend::RESET,
        R::GlobalActivity => &spend::ACTIVITY,
        R::GlobalActivityModel => &spend::ACTIVITY_MODEL,
    }
}

#[cfg(test)]
pub(super) mod tests;
