//! Where Redis is, from every place in which people write it.
//!
//! In this version it carries times out and changes between the nodes of a region, and cached
//! answers. For the former `router_settings.redis_*`, LiteLLM's place for what its router keeps,
//! comes first, for the latter `cache_params`.

mod nodes;
mod url;

use std::collections::HashMap;

use super::environ;
use super::problem::{Position, Problems};
use super::section::Area;
use crate::ids::Secret;
use nodes::{Nodes, Written};

/// Port of a server and of a cluster's nodes.
const PORT: u16 = 6_379;
/// Port of a Sentinel.
const SENTINEL_PORT: u16 = 26_379;

/// A Redis server, Sentinel group or cluster, and how to log in.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where it is.
    pub place: Place,
    /// User of the access list.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// TLS, to Sentinels too.
    pub tls: bool,
    /// Number of the database; a cluster has only 0.
    pub database: u8,
    /// What every key begins with, before a colon.
    pub namespace: Option<String>,
}

/// One node: host and port.
type Node = (String, u16);

/// Where Redis is.
#[derive(Clone, Debug)]
pub enum Place {
    /// One server, or an address that leads to the one in charge.
    Single(Node),
    /// Whichever server the Sentinels say.
    Sentinel {
        /// Name of the group.
        service: String,
        /// Sentinels; one that answers is enough.
        nodes: Vec<Node>,
        /// Password of the Sentinels themselves.
        password: Option<Secret>,
    },
    /// A cluster; one node that answers is enough.
    Cluster(Vec<Node>),
}

impl Redis {
    /// Whether both lead to the same server in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        let secret = |one: &Option<Secret>, two: &Option<Secret>| match (one, two) {
            (None, None) => true,
            (Some(one), Some(two)) => one.matches(two.reveal()),
            _ => false,
        };
        let place = match (&self.place, &other.place) {
            (Place::Single(one), Place::Single(two)) => one == two,
            (Place::Cluster(one), Place::Cluster(two)) => one == two,
            (
                Place::Sentinel {
                    service,
                    nodes,
                    password,
                },
                Place::Sentinel {
                    service: service_2,
                    nodes: nodes_2,
                    password: password_2,
                },
            ) => service == service_2 && nodes == nodes_2 && secret(password, password_2),
            _ => false,
        };
        place
            && secret(&self.password, &other.password)
            && self.username == other.username
            && (self.tls, self.database) == (other.tls, other.database)
            && self.namespace == other.namespace
    }
}

impl std::fmt::Display for Place {
    /// Without anything secret, for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |nodes: &[Node]| {
            let each = nodes.iter().map(|(host, port)| format!("{host}:{port}"));
            each.collect::<Vec<_>>().join(",")
        };
        match self {
            Self::Single((host, port)) => write!(f, "{host}:{port}"),
            Self::Sentinel { service, nodes, .. } => {
                write!(f, "{service} of sentinels {}", list(nodes))
            }
            Self::Cluster(nodes) => write!(f, "cluster {}", list(nodes)),
        }
    }
}

/// One place in which people write it, before it is known to be whole.
#[derive(Default)]
struct Draft {
    url: Option<Secret>,
    host: Option<String>,
    port: Option<u16>,
    username: Option<String>,
    password: Option<Secret>,
    tls: Option<bool>,
    database: Option<u8>,
    namespace: Option<String>,
    service: Option<String>,
    sentinels: Vec<Node>,
    sentinel_password: Option<Secret>,
    cluster: Vec<Node>,
    /// Where problems with it belong: position and path, and those of the URL and of the group.
    at: Option<Position>,
    path: String,
    url_path: String,
    service_path: String,
}

/// Where people write it.
pub(super) struct Places<'a> {
    /// `litellm_settings.cache_params`.
    pub(super) cache: &'a Area<'a>,
    /// `router_settings`.
    pub(super) router: &'a Area<'a>,
    /// `general_settings`, a common mistake.
    pub(super) general: &'a Area<'a>,
    /// `REDIS_*` variables.
    pub(super) env: &'a HashMap<String, String>,
}

impl Places<'_> {
    /// Where nodes of a region meet. First match wins: `router_settings.redis_*`, `cache_params`,
    /// `general_settings.redis_*`, `REDIS_*` variables. A login that the file leaves out is taken
    /// from the variables, as LiteLLM does.
    pub(super) fn shared(&self, problems: &mut Problems) -> Option<Redis> {
        let from_file = of_prefixed(self.router, problems)
            .or_else(|| of_cache(self.cache, problems))
            .or_else(|| of_prefixed(self.general, problems));
        let draft = match from_file {
            Some(draft) => draft.with_login_of(self.env),
            None => of_variables(self.env, self.general.start(), problems),
        };
        self.finished(draft, problems)
    }

    /// Where answers are kept: `cache_params` and the variables come before what the router has
    /// for itself. `shared` is what was found there, whose problems are known.
    pub(super) fn for_answers(
        &self,
        shared: Option<&Redis>,
        problems: &mut Problems,
    ) -> Option<Redis> {
        // What `shared` has looked at is not reported twice.
        if of_prefixed(self.router, &mut Problems::default()).is_none() {
            return shared.cloned();
        }
        let draft = match of_cache(self.cache, problems) {
            Some(draft) => draft.with_login_of(self.env),
            None => of_variables(self.env, self.general.start(), problems),
        };
        self.finished(draft, problems).or_else(|| shared.cloned())
    }

    fn finished(&self, draft: Draft, problems: &mut Problems) -> Option<Redis> {
        draft
            .names_a_place()
            .then(|| draft.finish(self.general.start(), problems))
            .flatten()
    }
}

/// The Redis of another region.
pub(super) fn of_link(area: &Area<'_>, problems: &mut Problems) -> Option<Redis> {
    let url = area.text("url");
    let url = url.map(url::parse).unwrap_or(Err(url::BadRedisUrl::Scheme));
    let url = match url {
        Ok(url) => url,
        Err(bad) => {
            problems.error(area.at("url"), &area.path_of("url"), bad.to_string());
            return None;
        }
    };
    Some(Redis {
        place: Place::Single((url.host, url.port.unwrap_or(PORT))),
        username: url.username.or_else(|| owned(area.text("username"))),
        password: url.password.or_else(|| area.secret("password")),
        tls: url.tls || area.bool("tls") == Some(true),
        database: url.database.unwrap_or(0),
        namespace: owned(area.text("namespace")),
    })
}

fn of_cache(area: &Area<'_>, problems: &mut Problems) -> Option<Draft> {
    let kind = area.text("type");
    if kind.is_some_and(|kind| !kind.starts_with("redis")) {
        return None;
    }
    let mut nodes = |key: &str, port| nodes::of_list(area, key, port, problems);
    let sentinels = nodes("sentinel_nodes", SENTINEL_PORT);
    let mut cluster = nodes("redis_startup_nodes", PORT);
    cluster.extend(nodes("startup_nodes", PORT));
    let draft = Draft {
        url: area.secret("url"),
        host: owned(area.text("host")),
        port: port(area.count("port")),
        username: owned(area.text("username")),
        password: area.secret("password"),
        tls: area.bool("ssl"),
        database: database(area.count("db")),
        namespace: owned(area.text("namespace")),
        service: owned(area.text("service_name")),
        sentinels,
        sentinel_password: area.secret("sentinel_password"),
        cluster,
        at: Some(area.start().clone()),
        path: area.path().to_owned(),
        url_path: area.path_of("url"),
        service_path: area.path_of("service_name"),
    };
    draft.names_a_place().then_some(draft)
}

/// With `redis_use_sentinel` the host is a Sentinel, not the server.
fn of_prefixed(area: &Area<'_>, problems: &mut Problems) -> Option<Draft> {
    let more = area.child("cache_kwargs");
    let mut draft = Draft {
        url: area.secret("redis_url"),
        host: owned(area.text("redis_host")),
        port: port(area.count("redis_port")),
        username: owned(area.text("redis_username").or(more.text("username"))),
        password: area.secret("redis_password"),
        tls: area.bool("redis_ssl").or(more.bool("ssl")),
        database: database(area.count("redis_db").or(more.count("db"))),
        namespace: owned(more.text("namespace")),
        service: owned(area.text("redis_sentinel_master_name")),
        sentinels: nodes::of_list(area, "redis_sentinel_nodes", SENTINEL_PORT, problems),
        sentinel_password: area.secret("redis_sentinel_password"),
        at: Some(area.start().clone()),
        path: area.path().to_owned(),
        url_path: area.path_of("redis_url"),
        service_path: area.path_of("redis_sentinel_master_name"),
        ..Draft::default()
    };
    if area.bool("redis_use_sentinel") == Some(true) || draft.service.is_some() {
        let port = draft.port.take().unwrap_or(SENTINEL_PORT);
        draft
            .sentinels
            .extend(draft.host.take().map(|host| (host, port)));
    }
    draft.names_a_place().then_some(draft)
}

fn of_variables(env: &HashMap<String, String>, start: &Position, problems: &mut Problems) -> Draft {
    let mut nodes = |name: &'static str, port| {
        let written = environ::variable(env, name);
        nodes::of_variable(&Written { name, at: start }, written, port, problems)
    };
    let sentinels = nodes("REDIS_SENTINEL_NODES", SENTINEL_PORT);
    let cluster = nodes("REDIS_CLUSTER_NODES", PORT);
    let mut number = |name: &'static str, max: u16| {
        // Kubernetes sets REDIS_PORT to a URL when there is a service of that name.
        let written = environ::variable(env, name).filter(|it| !it.starts_with("tcp://"))?;
        let number = written.parse().ok().filter(|number| *number <= max);
        if number.is_none() {
            let message = format!("expected a whole number from 0 to {max}");
            problems.error(start, name, message);
        }
        number
    };
    let draft = Draft {
        url: text_of(env, "REDIS_URL").map(Secret::new),
        host: text_of(env, "REDIS_HOST"),
        port: number("REDIS_PORT", u16::MAX),
        database: number("REDIS_DB", u16::from(u8::MAX)).and_then(|it| u8::try_from(it).ok()),
        service: text_of(env, "REDIS_SERVICE_NAME"),
        sentinels,
        cluster,
        url_path: "REDIS_URL".to_owned(),
        service_path: "REDIS_SERVICE_NAME".to_owned(),
        ..Draft::default()
    };
    draft.with_login_of(env)
}

fn text_of(env: &HashMap<String, String>, name: &str) -> Option<String> {
    environ::variable(env, name).map(str::to_owned)
}

impl Draft {
    fn names_a_place(&self) -> bool {
        let nodes: [&Nodes; 2] = [&self.sentinels, &self.cluster];
        self.url.is_some() || self.host.is_some() || nodes.iter().any(|list| !list.is_empty())
    }

    /// Not for a URL, which holds its own.
    fn with_login_of(mut self, env: &HashMap<String, String>) -> Self {
        if self.url.is_some() {
            return self;
        }
        let secret = |name| text_of(env, name).map(Secret::new);
        let tls = || {
            let written = environ::variable(env, "REDIS_SSL");
            written.map(|_| environ::switch(env, "REDIS_SSL"))
        };
        self.username = self.username.or_else(|| text_of(env, "REDIS_USERNAME"));
        self.password = self.password.or_else(|| secret("REDIS_PASSWORD"));
        self.tls = self.tls.or_else(tls);
        let of_sentinels = || secret("REDIS_SENTINEL_PASSWORD");
        self.sentinel_password = self.sentinel_password.or_else(of_sentinels);
        self
    }

    /// A URL wins over nodes of a cluster, those over Sentinels, those over a host, as in LiteLLM.
    fn finish(mut self, start: &Position, problems: &mut Problems) -> Option<Redis> {
        let written = self.at.take();
        let at = written.as_ref().unwrap_or(start);
        let place = if let Some(text) = &self.url {
            let url = match url::parse(text.reveal()) {
                Ok(url) => url,
                Err(bad) => {
                    problems.error(at, &self.url_path, bad.to_string());
                    return None;
                }
            };
            self.username = url.username.or(self.username);
            self.password = url.password.or(self.password);
            self.tls = Some(url.tls || self.tls == Some(true));
            self.database = url.database.or(self.database);
            Place::Single((url.host, url.port.unwrap_or(PORT)))
        } else if !self.cluster.is_empty() {
            Place::Cluster(self.cluster)
        } else if !self.sentinels.is_empty() {
            let Some(service) = self.service else {
                let message = "Sentinels are listed, but not the name of their group";
                problems.error(at, &self.service_path, message);
                return None;
            };
            Place::Sentinel {
                service,
                nodes: self.sentinels,
                password: self.sentinel_password,
            }
        } else {
            Place::Single((self.host?, self.port.unwrap_or(PORT)))
        };
        // Variables may be set for other programs too.
        if written.is_some() {
            let message = format!(
                "Redis ({place}) is used for cooldowns, for cached answers, and for what nodes \
                 that have one `database_url` tell each other of changes, budgets and limits; \
                 without a `database_url` each node has the whole of every budget and limit"
            );
            problems.notice(at, &self.path, message);
        }
        Some(Redis {
            place,
            username: self.username,
            password: self.password,
            tls: self.tls.unwrap_or(false),
            database: self.database.unwrap_or(0),
            namespace: self.namespace,
        })
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn port(count: Option<u64>) -> Option<u16> {
    count.and_then(|count| u16::try_from(count).ok())
}

fn database(count: Option<u64>) -> Option<u8> {
    count.and_then(|count| u8::try_from(count).ok())
}
