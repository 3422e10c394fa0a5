-- Embedded store (SQLite). Money is integer nano-dollars, time is milliseconds since 1970 UTC,
-- a day is the UTC date of a request's start. '' stands for "none" where a column is in a key.

CREATE TABLE virtual_key (
    id              INTEGER PRIMARY KEY,
    token           TEXT NOT NULL UNIQUE,       -- sha256 of the clear key, hex
    key_alias       TEXT,
    user_id         TEXT,
    team_id         TEXT,
    organization_id TEXT,
    expires         INTEGER,
    max_budget      INTEGER,
    budget_reset_at INTEGER,
    period_start    INTEGER NOT NULL DEFAULT 0, -- requests that started earlier do not count
    spend           INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    record          TEXT NOT NULL               -- JSON of the whole key; the columns above win
);
CREATE UNIQUE INDEX virtual_key_alias ON virtual_key (key_alias) WHERE key_alias IS NOT NULL;
CREATE INDEX virtual_key_user ON virtual_key (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX virtual_key_team ON virtual_key (team_id) WHERE team_id IS NOT NULL;
CREATE INDEX virtual_key_reset ON virtual_key (budget_reset_at) WHERE budget_reset_at IS NOT NULL;

CREATE TABLE deleted_key (
    id              INTEGER PRIMARY KEY,
    token           TEXT NOT NULL,
    key_alias       TEXT,
    user_id         TEXT,
    team_id         TEXT,
    organization_id TEXT,
    expires         INTEGER,
    max_budget      INTEGER,
    budget_reset_at INTEGER,
    period_start    INTEGER NOT NULL,
    spend           INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    record          TEXT NOT NULL,
    deleted_at      INTEGER NOT NULL,
    deleted_by      TEXT NOT NULL
);
CREATE INDEX deleted_key_token ON deleted_key (token);

-- Tokens that a rotation replaced. A row outlives its grace period, so that records which arrive
-- late still find the key they belong to.
CREATE TABLE deprecated_key (
    token     TEXT PRIMARY KEY,
    active    TEXT NOT NULL,
    revoke_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX deprecated_key_active ON deprecated_key (active);

CREATE TABLE journal_cursor (
    consumer TEXT PRIMARY KEY,
    segment  INTEGER NOT NULL,
    "offset" INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE spend_log (
    id              INTEGER PRIMARY KEY,
    call_id         BLOB NOT NULL UNIQUE,       -- 16 bytes of the UUID
    response_id     TEXT,
    started         INTEGER NOT NULL,
    ended           INTEGER NOT NULL,
    first_byte      INTEGER,
    endpoint        TEXT NOT NULL,
    stream          INTEGER NOT NULL,
    api_key         TEXT,
    key_alias       TEXT,
    user_id         TEXT,
    team_id         TEXT,
    organization_id TEXT,
    end_user        TEXT,
    model_group     TEXT NOT NULL,
    deployment_id   TEXT NOT NULL,
    model           TEXT NOT NULL,
    provider        TEXT NOT NULL,
    api_base        TEXT NOT NULL,
    prompt          INTEGER NOT NULL,
    completion      INTEGER NOT NULL,
    cache_read      INTEGER NOT NULL,
    cache_write     INTEGER NOT NULL,
    usage           TEXT,                       -- JSON, only if the four columns do not say it all
    cost            INTEGER NOT NULL,
    price_unknown   INTEGER NOT NULL,
    estimated       INTEGER NOT NULL,
    end_reason      TEXT NOT NULL,
    status          INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    session_id      TEXT,
    context         TEXT,                       -- JSON: tags, address, agent, metadata
    error           TEXT
);
CREATE INDEX spend_log_started ON spend_log (started, id);
CREATE INDEX spend_log_key ON spend_log (api_key, started) WHERE api_key IS NOT NULL;
CREATE INDEX spend_log_user ON spend_log (user_id, started) WHERE user_id IS NOT NULL;
CREATE INDEX spend_log_team ON spend_log (team_id, started) WHERE team_id IS NOT NULL;
CREATE INDEX spend_log_end_user ON spend_log (end_user, started) WHERE end_user IS NOT NULL;
CREATE INDEX spend_log_session ON spend_log (session_id, started) WHERE session_id IS NOT NULL;
CREATE INDEX spend_log_response ON spend_log (response_id) WHERE response_id IS NOT NULL;

-- Every request once: what reports and dashboards read.
CREATE TABLE daily_spend (
    day             TEXT NOT NULL,
    api_key         TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    team_id         TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    model_group     TEXT NOT NULL,
    model           TEXT NOT NULL,
    provider        TEXT NOT NULL,
    deployment_id   TEXT NOT NULL,
    endpoint        TEXT NOT NULL,
    spend           INTEGER NOT NULL,
    prompt          INTEGER NOT NULL,
    completion      INTEGER NOT NULL,
    cache_read      INTEGER NOT NULL,
    cache_write     INTEGER NOT NULL,
    requests        INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    PRIMARY KEY (day, api_key, user_id, team_id, organization_id, model_group, model, provider,
                 deployment_id, endpoint)
) WITHOUT ROWID;

-- Every request once per tag (kind 'tag') and once for its end user (kind 'end_user').
CREATE TABLE daily_entity_spend (
    day         TEXT NOT NULL,
    kind        TEXT NOT NULL,
    entity      TEXT NOT NULL,
    api_key     TEXT NOT NULL,
    model_group TEXT NOT NULL,
    model       TEXT NOT NULL,
    provider    TEXT NOT NULL,
    spend       INTEGER NOT NULL,
    prompt      INTEGER NOT NULL,
    completion  INTEGER NOT NULL,
    cache_read  INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    requests    INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    PRIMARY KEY (kind, day, entity, api_key, model_group, model, provider)
) WITHOUT ROWID;
