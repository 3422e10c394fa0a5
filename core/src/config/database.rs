//! Where Postgres is, from a URL or from single variables.

mod url;

use std::collections::HashMap;
use std::time::Duration;

use super::environ;
use super::identity::{Reading, chain_of_environment};
use super::problem::{Position, Problems};
use super::section::Area;
use crate::identity::Identity;
use crate::ids::Secret;

/// Port of a server.
const PORT: u16 = 5_432;
/// Connections that a process may hold to one server.
const POOL_LIMIT: u32 = 10;
/// Longest wait for a free one.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// Schema in which LiteLLM's tables are looked for.
const SCHEMA: &str = "public";

/// Variable that turns tokens on.
const IAM_SWITCH: &str = "IAM_TOKEN_DB_AUTH";

/// Postgres, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Reads and writes.
    pub primary: DatabaseServer,
    /// Where reports may be read; `None` reads them from the primary.
    pub replica: Option<DatabaseServer>,
    /// Connections that this process holds at most, to each of them.
    pub pool_limit: u32,
    /// Longest wait for one that is free.
    pub pool_wait: Duration,
    /// Passwords are tokens that are signed with these credentials when a connection is made.
    pub iam: Option<Iam>,
    /// Where views under LiteLLM's names are made.
    pub views_schema: String,
}

/// Who signs database tokens: RDS and Aurora take them for fifteen minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iam {
    /// Who logs in: what AWS's own tools would use.
    pub identity: Identity,
    /// AWS's name of the servers' region.
    pub region: String,
}

/// One server and how to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseServer {
    /// Host name, address, or folder of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password; `None` where the server asks for none, and with IAM tokens.
    pub password: Option<Password>,
    /// Database.
    pub name: String,
    /// TLS.
    pub tls: TlsMode,
    /// File with the certificates that the server's may come from; `None` for the system's.
    pub root_cert: Option<String>,
}

/// A password that can be compared.
#[derive(Clone, Debug)]
pub struct Password(pub Secret);

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.matches(other.0.reveal())
    }
}

impl Eq for Password {}

impl std::fmt::Display for DatabaseServer {
    /// Without anything secret, for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.name)
    }
}

/// How a connection is protected: `sslmode` of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Clear text.
    Disable,
    /// TLS if the server has it, whoever it is.
    Prefer,
    /// TLS, whoever the server is.
    Require,
    /// TLS with a certificate of a known authority.
    VerifyCa,
    /// TLS with a certificate of a known authority for the name of the host.
    VerifyFull,
}

impl TlsMode {
    /// The words of `sslmode`, and the mode that each means.
    const WORDS: [(&'static str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Prefer),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    fn parse(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|&(_, mode)| mode)
    }

    /// Whether a connection without TLS is refused.
    pub fn is_required(self) -> bool {
        !matches!(self, Self::Disable | Self::Prefer)
    }
}

/// Where a URL was written.
struct Written<'a> {
    at: &'a Position,
    path: String,
}

/// `general_settings.database_url`, then `DATABASE_URL`, then the single variables.
pub(super) fn resolve(
    area: &Area<'_>,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<Database> {
    let variable = |name: &'static str| {
        let written = Written {
            at: area.start(),
            path: name.to_owned(),
        };
        environ::variable(env, name).map(|text| (text.to_owned(), written))
    };
    let in_file = area.text("database_url").map(|text| {
        let path = area.path_of("database_url");
        let at = area.at("database_url");
        (text.to_owned(), Written { at, path })
    });
    let (primary, read) = match in_file.or_else(|| variable("DATABASE_URL")) {
        Some((text, written)) => of_url(&text, &written, problems)?,
        None => of_parts(area, env, problems)?,
    };
    let replica = variable("DATABASE_URL_READ_REPLICA")
        .and_then(|(text, written)| of_url(&text, &written, problems));
    let limit = area.count("database_connection_pool_limit");
    let limit = limit.and_then(|limit| u32::try_from(limit).ok());
    let mut database = Database {
        primary,
        replica: replica.map(|(server, _)| server),
        pool_limit: limit.or(read.pool_limit).unwrap_or(POOL_LIMIT).max(1),
        pool_wait: area
            .seconds("database_connection_timeout")
            .or(read.pool_wait)
            .unwrap_or(POOL_WAIT),
        iam: None,
        views_schema: read.schema.unwrap_or_else(|| SCHEMA.to_owned()),
    };
    if environ::switch(env, IAM_SWITCH) {
        database.iam = Some(iam(&database.primary, area.start(), env, problems)?);
        database.require_tls();
    }
    Some(database)
}

/// Who signs, and the region: the name of a host says it, else AWS's variables.
fn iam(
    server: &DatabaseServer,
    at: &Position,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<Iam> {
    let of_host = || {
        let before = server.host.strip_suffix(".rds.amazonaws.com")?;
        before.rsplit('.').next().map(str::to_owned)
    };
    let named = environ::first(
        env,
        &["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"],
    );
    let Some(region) = of_host().or_else(|| named.map(str::to_owned)) else {
        let message = "database tokens are signed for the region of the host or `AWS_REGION`, \
            which is not set";
        problems.error(at, IAM_SWITCH, message);
        return None;
    };
    let has = |name| environ::variable(env, name).is_some();
    if has("AWS_ACCESS_KEY_ID") != has("AWS_SECRET_ACCESS_KEY") {
        let message = "of `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` one is not set";
        problems.error(at, IAM_SWITCH, message);
        return None;
    }
    let identity = chain_of_environment(Reading::new(None, env), &region);
    Some(Iam { identity, region })
}

impl Database {
    /// The database of a URL alone, with the defaults of everything else, and the parameters of
    /// the URL that nothing reads.
    ///
    /// # Errors
    /// What is wrong with the URL, without showing it.
    pub fn of_url(text: &str) -> Result<(Self, Vec<String>), String> {
        let url = url::parse(text).map_err(|bad| bad.to_string())?;
        let database = Self {
            primary: url.server,
            replica: None,
            pool_limit: url.read.pool_limit.unwrap_or(POOL_LIMIT).max(1),
            pool_wait: url.read.pool_wait.unwrap_or(POOL_WAIT),
            iam: None,
            views_schema: url.read.schema.unwrap_or_else(|| SCHEMA.to_owned()),
        };
        Ok((database, url.unread))
    }

    /// A token is a password: it is not sent in the clear.
    fn require_tls(&mut self) {
        for server in [Some(&mut self.primary), self.replica.as_mut()] {
            let Some(server) = server else { continue };
            if !server.tls.is_required() {
                server.tls = TlsMode::Require;
            }
        }
    }
}

/// What a URL says beside the server.
#[derive(Default)]
struct Read {
    schema: Option<String>,
    pool_limit: Option<u32>,
    pool_wait: Option<Duration>,
}

fn of_url(
    text: &str,
    written: &Written<'_>,
    problems: &mut Problems,
) -> Option<(DatabaseServer, Read)> {
    match url::parse(text) {
        Ok(url) => {
            for name in &url.unread {
                let message = format!("the parameter `{name}` is not read");
                problems.warning(written.at, &written.path, message);
            }
            Some((url.server, url.read))
        }
        Err(bad) => {
            problems.error(written.at, &written.path, bad.to_string());
            None
        }
    }
}

/// As LiteLLM assembles them: without one of host, user and name there is no database.
fn of_parts(
    area: &Area<'_>,
    env: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<(DatabaseServer, Read)> {
    let part = |name| environ::variable(env, name).map(str::to_owned);
    let host = part("DATABASE_HOST")?;
    let user = part("DATABASE_USERNAME").or_else(|| part("DATABASE_USER"))?;
    let name = part("DATABASE_NAME")?;
    let port = match part("DATABASE_PORT").map(|port| port.parse::<u16>()) {
        None => PORT,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => {
            let message = "expected a port from 1 to 65535";
            problems.error(area.start(), "DATABASE_PORT", message);
            return None;
        }
    };
    let server = DatabaseServer {
        host,
        port,
        user,
        password: part("DATABASE_PASSWORD").map(|text| Password(Secret::new(text))),
        name,
        tls: TlsMode::Prefer,
        root_cert: None,
    };
    let read = Read {
        schema: part("DATABASE_SCHEMA"),
        ..Read::default()
    };
    Some((server, read))
}
