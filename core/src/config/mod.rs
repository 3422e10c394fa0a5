//! LiteLLM's YAML configuration, resolved and validated: every problem at once, with its place.
//!
//! Sources in the order in which they win: a value in the file; for `os.environ/NAME` the file's
//! `environment_variables`, then the process environment; a value's usual variable
//! (`LITELLM_MASTER_KEY`, `OPENAI_API_KEY`, ...); the default. Over all of it lie the records of
//! the management API: [`overlay`].

mod adjustments;
mod audit;
mod base_url;
mod cloud;
mod compatible;
mod credentials;
mod database;
mod deployment;
mod digest;
mod environ;
mod files;
mod general;
mod identity;
pub mod keys;
mod links;
mod meridian;
mod names;
mod new_keys;
pub mod overlay;
pub(crate) mod percent;
pub mod period;
mod problem;
mod proof;
mod provider;
mod redis;
mod response_cache;
mod routed_budgets;
mod router;
mod routing;
mod scalar;
mod section;
mod target;
mod tree;
mod way;
pub mod wildcard;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

pub use base_url::{BadUrl, BaseUrl};
pub use cloud::{BedrockStyle, Cloud, Publisher};
pub use compatible::Compatible;
pub use database::{Database, DatabaseServer, Iam, TlsMode};
pub use deployment::{Deployment, Losses, OwnBudget};
pub use general::{General, GlobalBudget, MasterKey, Retention, Schedule, Settings};
pub use links::{Links, Peer};
pub use meridian::{
    Fsync, Meridian, Network, OnDisconnect, PriceMap, Tls, TrustedProxies, UnknownPrice,
};
pub use names::Alias;
pub use new_keys::NewKeys;
pub use overlay::{Laid, LeftOut, Overlay, Source};
pub use problem::{Position, Problem, Severity};
pub use provider::Provider;
pub use redis::{Place, Redis};
pub use response_cache::{ENTRIES_MIN, ResponseCache};
pub use routed_budgets::RoutedBudget;
pub use router::Router;
pub use target::{AuthStyle, AzureForm, Target};
pub use way::Way;

/// Set by `litellm_settings.enable_azure_ad_token_refresh`: the machine's own identity is used
/// where no other credential of Azure is configured.
const MANAGED_IDENTITY: &str = "ENABLE_AZURE_AD_TOKEN_REFRESH";

use crate::price::AdjustmentRules;
use crate::routing::policy::RoutingPolicy;
use deployment::Defaults;
use files::Files;
use keys::Section;
use problem::Problems;
use routing::{Sections, regions};
use section::Area;
use tree::Node;

/// A whole configuration, resolved and immutable.
#[derive(Clone, Debug)]
pub struct Config {
    /// `model_list`, in its order.
    pub models: Vec<Deployment>,
    /// Other names of models.
    pub aliases: BTreeMap<String, Alias>,
    /// `general_settings`.
    pub general: General,
    /// `litellm_settings`.
    pub settings: Settings,
    /// What keys get by default, and at most.
    pub new_keys: NewKeys,
    /// Discounts and margins on the providers' prices.
    pub adjustments: AdjustmentRules,
    /// Budgets of providers and tags; [`Config::routed_budgets`] has those of deployments too.
    pub routed: Vec<RoutedBudget>,
    /// Deadlines of one attempt.
    pub router: Router,
    /// How a deployment is chosen, and what follows when it fails.
    pub routing: RoutingPolicy,
    /// `meridian`.
    pub meridian: Meridian,
    /// Where Redis is: for times out that the nodes of a region share.
    pub redis: Option<Redis>,
    /// The response cache; `None` is off.
    pub cache: Option<ResponseCache>,
    /// Other regions.
    pub links: Links,
    /// Postgres; without one the embedded store is used.
    pub database: Option<Database>,
}

impl Config {
    /// The `model_name` whose deployments serve a client that asks for `name`: that of an alias,
    /// else the name itself, else the pattern with the most letters that matches it.
    pub fn group_of<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let name = self.aliases.get(name).map_or(name, |alias| &alias.model);
        let names = || self.models.iter().map(|model| model.model_name.as_str());
        if let Some(exact) = names().find(|known| *known == name) {
            return Some(exact);
        }
        let patterns = names().filter(|known| wildcard::capture(known, name).is_some());
        patterns.max_by_key(|pattern| pattern.len())
    }
}

/// What loading gave.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; `None` when there is an error among the problems.
    pub config: Option<Config>,
    /// Every problem, by file, line and column.
    pub problems: Vec<Problem>,
    /// Every file that was read or should have been, the root first: what to watch.
    pub files: Vec<PathBuf>,
    /// The files as they were read, for records to be laid over; `None` when they cannot be read.
    pub source: Option<Source>,
}

/// Loads a configuration. `read` gives the text of a file or says why it cannot; `env` is the
/// process environment. A master key is required.
pub fn load(
    read: &mut impl FnMut(&Path) -> Result<String, String>,
    root: &Path,
    env: &HashMap<String, String>,
) -> Loaded {
    load_with(read, root, env, MasterKey::Required)
}

/// Loads a configuration, with or without the need for a master key.
pub fn load_with(
    read: &mut impl FnMut(&Path) -> Result<String, String>,
    root: &Path,
    env: &HashMap<String, String>,
    needed: MasterKey,
) -> Loaded {
    let mut problems = Problems::default();
    let mut files = Files::new(read);
    let tree = files.tree(root, None, &mut problems);
    let files = files.seen;
    let source = tree.map(|root| Source {
        root,
        env: env.clone(),
        needed,
        files: files.clone(),
    });
    let root = source.as_ref().map(|source| source.root.clone());
    let config = root.map(|root| resolve(root, env, needed, &mut problems));
    let config = config.filter(|_| !problems.any_error());
    let problems = problems.sorted(&files);
    Loaded {
        config,
        problems,
        files,
        source,
    }
}

fn sections<'a>(top: &Area<'a>) -> Sections<'a> {
    Sections {
        router: top.child("router_settings"),
        litellm: top.child("litellm_settings"),
        general: top.child("general_settings"),
        meridian: top.child("meridian"),
    }
}

/// The entries of `model_list`.
fn listed<'a>(top: &Area<'a>, problems: &mut Problems) -> &'a [Node] {
    let list = top.get("model_list").map_or(&[][..], Node::items);
    if list.is_empty() {
        let message = "no models: every request gets 400; list at least one deployment";
        problems.warning(top.at("model_list"), "model_list", message);
    }
    list
}

/// What `--region` becomes: the name of this node's region.
pub const REGION_VARIABLE: &str = "MERIDIAN_REGION";

/// Digests of the listed deployments, as they were written.
fn digests(root: &Node) -> Vec<String> {
    let list = root.get("model_list").map_or(&[][..], Node::items);
    list.iter().map(digest::of_entry).collect()
}

fn resolve(
    mut root: Node,
    env: &HashMap<String, String>,
    needed: MasterKey,
    problems: &mut Problems,
) -> Config {
    // A file that several nodes share does not say where they are.
    let own_region = environ::variable(env, REGION_VARIABLE);
    let mut exported = environ::exported(&root, env, problems);
    let env = &exported.clone();
    let digests = digests(&root);
    credentials::fill(&mut root, problems);
    environ::resolve(&mut root, env, &mut String::new(), problems);
    audit::section(Section::Top, &root, "", problems);

    let top = Area::new(Some(&root), &root.at, "");
    let sections = sections(&top);
    if sections.litellm.bool("enable_azure_ad_token_refresh") == Some(true) {
        exported.insert(MANAGED_IDENTITY.to_owned(), "true".to_owned());
    }
    let env = &exported;
    let list = listed(&top, problems);
    let defaults = Defaults {
        region: regions::default_region(&sections.meridian, problems),
        max_parallel_requests: sections.router.count("default_max_parallel_requests"),
    };
    let models = deployment::resolve_all(list, &digests, &defaults, env, problems);
    let known = names::Models::new(&models);
    let aliases = names::aliases(&sections.router, &sections.litellm, &known, problems);
    let names = names::Names {
        aliases: &aliases,
        models: &known,
    };
    let routing = routing::resolve(&sections, own_region, &models, &names, problems);
    let Sections {
        router,
        litellm,
        general,
        meridian,
    } = &sections;
    let settings = general::settings(litellm, general, env, problems);
    let (redis, cache) = redis_and_cache(&sections, env, problems);
    let database = database::resolve(general, env, problems);
    let given = links::Given {
        own: routing.regions.own.as_deref(),
        database: database.is_some(),
        redis: redis.is_some(),
    };
    let links = links::resolve(&meridian.child("regions"), given, problems);
    let has_links = !links.peers.is_empty();
    Config {
        router: router::resolve(router, &settings),
        routing,
        general: general::general(general, litellm, env, needed, problems),
        meridian: meridian::resolve(meridian, general, env, problems),
        cache,
        database,
        links,
        redis,
        settings,
        models,
        aliases,
        new_keys: new_keys::resolve(litellm, general, has_links, problems),
        routed: routed_budgets::resolve(router, litellm, problems),
        adjustments: adjustments::resolve(litellm, problems),
    }
}

fn redis_and_cache(
    sections: &Sections<'_>,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> (Option<Redis>, Option<ResponseCache>) {
    let (litellm, meridian) = (&sections.litellm, &sections.meridian);
    let places = redis::Places {
        cache: &litellm.child("cache_params"),
        router: &sections.router,
        general: &sections.general,
        env,
    };
    let redis = places.shared(problems);
    let for_answers = |problems: &mut Problems| places.for_answers(redis.as_ref(), problems);
    let cache = response_cache::resolve(litellm, meridian, for_answers, problems);
    (redis, cache)
}
