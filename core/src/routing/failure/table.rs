//! The reviewed rows: provider, status and body to a verdict. The first that fits wins.
//!
//! A body may echo what a caller wrote, and a caller must not be able to put a credential out. So
//! a row that has somebody's health at stake goes by the provider's own code words, or by how the
//! message begins.

use std::ops::RangeInclusive;

use super::{Again, Blame, Origin, Verdict};
use crate::config::Provider;
use crate::routing::policy::FailureClass as Class;
use crate::wire::upstream_error::Complaint;

/// One row.
struct Row {
    /// Whose answers it reads.
    who: Who,
    /// Statuses; for an error inside a success, the one that its body implies.
    status: RangeInclusive<u16>,
    /// What it is known by.
    sign: Sign,
    /// What it means.
    means: Verdict,
}

/// Providers that a row is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Anyone,
    Aws,
    Google,
    /// Whoever is not Google: Google says "quota" for limits that pass within a minute.
    NotGoogle,
}

/// What a row knows an answer by. All texts are in lower case.
enum Sign {
    /// `error.code`, `error.type` or AWS's exception is one of these.
    Word(&'static [&'static str]),
    /// The message begins with one of these.
    Begins(&'static [&'static str]),
    /// The message holds one of these: only where nobody's health is at stake.
    Holds(&'static [&'static str]),
}

const ERRORS: RangeInclusive<u16> = 400..=599;

/// A model that the deployment names and the provider does not have: no other request at this
/// deployment will fare better.
const MISSING: Verdict = Verdict {
    class: Class::Server,
    blame: Blame::Deployment,
    again: Again::Elsewhere,
};

/// The account may not use this model or region; others that share the credential may be fine.
const FORBIDDEN: Verdict = Verdict {
    class: Class::Auth,
    blame: Blame::Deployment,
    again: Again::Elsewhere,
};

const fn of(class: Class, blame: Blame, again: Again) -> Verdict {
    Verdict {
        class,
        blame,
        again,
    }
}

const AUTH: Verdict = of(Class::Auth, Blame::Credential, Again::Elsewhere);
const QUOTA: Verdict = of(Class::Quota, Blame::Credential, Again::Elsewhere);
const LIMIT: Verdict = of(Class::RateLimit, Blame::Deployment, Again::Anywhere);
const OVERLOAD: Verdict = of(Class::Overload, Blame::Deployment, Again::Anywhere);
const SERVER: Verdict = of(Class::Server, Blame::Deployment, Again::Anywhere);
const TIMEOUT: Verdict = of(Class::Timeout, Blame::Deployment, Again::Anywhere);
const CLIENT: Verdict = of(Class::Client, Blame::Nobody, Again::Never);

/// Larger than a limit of its own: a smaller deployment's limit says nothing about its health.
const TOO_LARGE_HERE: Verdict = of(Class::RateLimit, Blame::Nobody, Again::Elsewhere);

const fn row(who: Who, status: RangeInclusive<u16>, sign: Sign, means: Verdict) -> Row {
    Row {
        who,
        status,
        sign,
        means,
    }
}

use Sign::{Begins, Holds, Word};
use Who::{Anyone, Aws, Google, NotGoogle};

/// The rows.
static ROWS: [Row; 29] = [
    // Caller's own doing, whatever the status says.
    row(Anyone, 403..=404, Begins(&OBJECTS), CLIENT),
    row(Google, 403..=404, Holds(&["cachedcontent"]), CLIENT),
    row(
        Anyone,
        429..=429,
        Begins(&["request too large"]),
        TOO_LARGE_HERE,
    ),
    // Money and quota: OpenAI as 429, Anthropic as 400, OpenRouter and DeepSeek as 402, Azure's
    // API Management as 403, Bedrock as 400.
    row(Anyone, ERRORS, Word(&QUOTA_WORDS), QUOTA),
    row(Anyone, 400..=429, Begins(&QUOTA_BEGINNINGS), QUOTA),
    row(
        NotGoogle,
        429..=429,
        Begins(&["you exceeded your current quota"]),
        QUOTA,
    ),
    row(Google, 400..=403, Begins(&GOOGLE_BILLING), QUOTA),
    // Bedrock's exceptions, in a header, a body or an event of a stream.
    row(Aws, ERRORS, Word(&["servicequotaexceededexception"]), QUOTA),
    row(Aws, ERRORS, Word(&AWS_LIMITS), LIMIT),
    row(Aws, ERRORS, Word(&AWS_OVERLOADS), OVERLOAD),
    row(Aws, ERRORS, Word(&["modeltimeoutexception"]), TIMEOUT),
    row(Aws, ERRORS, Word(&AWS_FAILURES), SERVER),
    row(Aws, ERRORS, Word(&AWS_CREDENTIALS), AUTH),
    row(Aws, ERRORS, Begins(&AWS_CREDENTIAL_BEGINNINGS), AUTH),
    row(Aws, ERRORS, Word(&["accessdeniedexception"]), FORBIDDEN),
    row(Aws, ERRORS, Word(&["resourcenotfoundexception"]), MISSING),
    row(Aws, 400..=404, Begins(&AWS_MISSING), MISSING),
    // Models and deployments that are not there.
    row(Anyone, 404..=404, Word(&MISSING_WORDS), MISSING),
    row(Anyone, 404..=404, Begins(&MISSING_BEGINNINGS), MISSING),
    row(Google, 404..=404, Word(&["not_found"]), MISSING),
    // Credentials that are refused with another status than 401.
    row(
        Google,
        400..=403,
        Begins(&["api key not valid", "api key expired"]),
        AUTH,
    ),
    row(
        Google,
        400..=403,
        Begins(&["user location is not supported"]),
        FORBIDDEN,
    ),
    row(Anyone, 400..=498, Word(&AUTH_WORDS), AUTH),
    row(
        Anyone,
        498..=498,
        Begins(&["invalid api token", "invalid token"]),
        AUTH,
    ),
    // Too much for now.
    row(Anyone, ERRORS, Word(&OVERLOAD_WORDS), OVERLOAD),
    row(
        Anyone,
        429..=429,
        Begins(&["engine is currently overloaded"]),
        OVERLOAD,
    ),
    row(Anyone, ERRORS, Word(&LIMIT_WORDS), LIMIT),
    row(Anyone, 500..=500, Begins(&["overloaded"]), OVERLOAD),
    row(Anyone, ERRORS, Word(&TIMEOUT_WORDS), TIMEOUT),
];

/// Objects that callers name: answers, files, containers.
const OBJECTS: [&str; 11] = [
    "file",
    "no such",
    "response with id",
    "previous response",
    "item with id",
    "container",
    "conversation",
    "vector store",
    "batch",
    "you do not have permission to access the file",
    "you do not have permission to access the cached",
];

const QUOTA_WORDS: [&str; 7] = [
    "insufficient_quota",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_balance",
    "insufficient_credits",
    "usage_limit_reached",
];

const QUOTA_BEGINNINGS: [&str; 9] = [
    "your credit balance is too low",
    "you have reached your specified api usage limits",
    "you have reached your specified workspace api usage limits",
    "this organization has been disabled",
    "billing hard limit has been reached",
    "insufficient credits",
    "insufficient balance",
    "out of call volume quota",
    "you are using a trial key, which is limited to 1000 api calls / month",
];

const GOOGLE_BILLING: [&str; 3] = [
    "this api method requires billing to be enabled",
    "gemini api free tier is not available in your country. please enable billing",
    "billing account",
];

const AWS_LIMITS: [&str; 4] = [
    "throttlingexception",
    "throttledexception",
    "toomanyrequestsexception",
    "requestlimitexceeded",
];

const AWS_OVERLOADS: [&str; 3] = [
    "modelnotreadyexception",
    "serviceunavailableexception",
    "serviceunavailable",
];

const AWS_FAILURES: [&str; 4] = [
    "modelerrorexception",
    "modelstreamerrorexception",
    "internalserverexception",
    "internalfailure",
];

const AWS_CREDENTIALS: [&str; 7] = [
    "unrecognizedclientexception",
    "invalidclienttokenid",
    "expiredtokenexception",
    "expiredtoken",
    "invalidsignatureexception",
    "incompletesignature",
    "missingauthenticationtoken",
];

const AWS_CREDENTIAL_BEGINNINGS: [&str; 3] = [
    "the security token included in the request is",
    "the request signature we calculated does not match",
    "signature expired",
];

const AWS_MISSING: [&str; 3] = [
    "the provided model identifier is invalid",
    "could not resolve the foundation model",
    "this model version has reached the end of its life",
];

const MISSING_WORDS: [&str; 3] = ["model_not_found", "deploymentnotfound", "notfounderror"];

const MISSING_BEGINNINGS: [&str; 6] = [
    "model:",
    "the model `",
    "model '",
    "models/",
    "publisher model",
    "the api deployment for this resource does not exist",
];

const AUTH_WORDS: [&str; 5] = [
    "authentication_error",
    "invalid_api_key",
    "unauthenticated",
    "api_key_invalid",
    "account_deactivated",
];

const OVERLOAD_WORDS: [&str; 7] = [
    "overloaded_error",
    "overloaded",
    "engine_overloaded",
    "model_overloaded",
    "server_overloaded",
    "unavailable",
    "service_unavailable",
];

const LIMIT_WORDS: [&str; 5] = [
    "rate_limit_error",
    "rate_limit_exceeded",
    "too_many_requests",
    "toomanyrequests",
    "resource_exhausted",
];

const TIMEOUT_WORDS: [&str; 2] = ["timeout_error", "deadline_exceeded"];

/// The verdict of the first row that fits.
pub(super) fn by_row(
    origin: Origin,
    complaint: &Complaint,
    status: u16,
    exception: Option<&str>,
) -> Option<Verdict> {
    let answer = Answer {
        code: lower(complaint.code.as_deref()),
        kind: lower(complaint.kind.as_deref()),
        exception: exception.map_or_else(String::new, exception_word),
        text: complaint.message.trim().to_lowercase(),
    };
    let fits = |row: &&Row| {
        row.who.is(origin.provider) && row.status.contains(&status) && answer.shows(&row.sign)
    };
    let means = ROWS.iter().find(fits)?.means;
    let named = origin.named_by_client && means == MISSING;
    Some(if named { CLIENT } else { means })
}

/// The verdict where no row fits.
pub(super) fn by_status(status: u16) -> Verdict {
    match status {
        401 | 498 => AUTH,
        402 => QUOTA,
        403 => FORBIDDEN,
        // Perhaps a path that this server does not have: callers choose among paths.
        404 | 405 | 501 => of(Class::Client, Blame::Nobody, Again::Elsewhere),
        408 | 504 => TIMEOUT,
        409 | 425 => of(Class::Server, Blame::Nobody, Again::Anywhere),
        424 => SERVER,
        429 => LIMIT,
        499 => SERVER,
        400..=497 => CLIENT,
        503 | 529 => OVERLOAD,
        _ => SERVER,
    }
}

/// The status that an exception of an AWS event stream stands for.
pub(super) fn status_of_exception(exception: Option<&str>) -> Option<u16> {
    let word = exception.map(exception_word)?;
    let status = match word.as_str() {
        "validationexception" | "servicequotaexceededexception" => 400,
        "accessdeniedexception" => 403,
        "resourcenotfoundexception" => 404,
        "modeltimeoutexception" => 408,
        "modelerrorexception" | "modelstreamerrorexception" => 424,
        "throttlingexception" | "modelnotreadyexception" => 429,
        "serviceunavailableexception" => 503,
        "internalserverexception" => 500,
        _ => return None,
    };
    Some(status)
}

/// An answer, ready to be compared.
struct Answer {
    code: String,
    kind: String,
    exception: String,
    text: String,
}

impl Answer {
    fn shows(&self, sign: &Sign) -> bool {
        match sign {
            Word(words) => {
                let mut own = [&self.code, &self.kind, &self.exception].into_iter();
                own.any(|own| words.contains(&own.as_str()))
            }
            Begins(texts) => {
                // "NAME: Extra inputs are not permitted" begins with what the caller wrote.
                let echo = self.text.ends_with("not permitted");
                !echo && texts.iter().any(|text| self.text.starts_with(text))
            }
            Holds(texts) => texts.iter().any(|text| self.text.contains(text)),
        }
    }
}

impl Who {
    fn is(self, provider: Provider) -> bool {
        let google = matches!(provider, Provider::VertexAi | Provider::Gemini);
        match self {
            Anyone => true,
            Aws => provider == Provider::Bedrock,
            Google => google,
            NotGoogle => !google,
        }
    }
}

/// `ThrottlingException:http://..` and `throttlingException` are the same.
fn exception_word(exception: &str) -> String {
    let name = exception.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

fn lower(word: Option<&str>) -> String {
    word.unwrap_or_default().to_ascii_lowercase()
}
