-- Everything that management writes in one table, and what every scope has spent in another.
-- Keys move into both. A record is JSON; the columns beside it are what lists are filtered and
-- ordered by. `version` is a hybrid logical clock (core/src/hlc.rs).

CREATE TABLE record (
    kind            TEXT NOT NULL,
    id              TEXT NOT NULL,
    home            TEXT NOT NULL DEFAULT '',
    version         INTEGER NOT NULL,
    generation      INTEGER NOT NULL DEFAULT 0,
    deleted         INTEGER NOT NULL DEFAULT 0,  -- a tombstone; it keeps the last body
    alias           TEXT,
    email           TEXT,
    user_id         TEXT,
    team_id         TEXT,
    organization_id TEXT,
    budget_id       TEXT,
    expires         INTEGER,
    max_budget      INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    body            TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX record_key_alias ON record (home, alias)
    WHERE kind = 'key' AND deleted = 0 AND alias IS NOT NULL;
CREATE UNIQUE INDEX record_user_email ON record (home, email)
    WHERE kind = 'user' AND deleted = 0 AND email IS NOT NULL;
CREATE INDEX record_user ON record (kind, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX record_team ON record (kind, team_id) WHERE team_id IS NOT NULL;
CREATE INDEX record_organization ON record (kind, organization_id)
    WHERE organization_id IS NOT NULL;
CREATE INDEX record_budget ON record (budget_id) WHERE budget_id IS NOT NULL;

-- What a scope has spent in its running period. A row outlives its scope: late records count.
CREATE TABLE scope_spend (
    kind         TEXT NOT NULL,
    id           TEXT NOT NULL,
    spend        INTEGER NOT NULL DEFAULT 0,
    period_start INTEGER NOT NULL DEFAULT 0,  -- requests that started earlier do not count
    period_end   INTEGER,                     -- NULL: the period never ends
    duration     TEXT,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX scope_spend_due ON scope_spend (period_end) WHERE period_end IS NOT NULL;

CREATE TABLE audit_log (
    id             TEXT PRIMARY KEY,
    at             INTEGER NOT NULL,
    changed_by     TEXT NOT NULL,
    changed_by_key TEXT NOT NULL,
    action         TEXT NOT NULL,
    kind           TEXT NOT NULL,
    object_id      TEXT NOT NULL,
    before         TEXT,
    after          TEXT
) WITHOUT ROWID;
CREATE INDEX audit_log_at ON audit_log (at, id);
CREATE INDEX audit_log_object ON audit_log (object_id, at);

INSERT INTO record (kind, id, version, alias, user_id, team_id, organization_id, budget_id, expires,
        max_budget, created_at, updated_at, body)
    SELECT 'key', token, version, key_alias, user_id, team_id, organization_id,
        json_extract(record, '$.extra.budget_id'), expires, max_budget, created_at, updated_at,
        json_set(record, '$.budget_reset_at', budget_reset_at,
            '$.allowed_regions', json(COALESCE(allowed_regions, '[]')))
    FROM virtual_key;
-- A value that was deleted twice keeps its last row; one that lives again keeps none.
INSERT OR IGNORE INTO record (kind, id, version, deleted, alias, user_id, team_id, organization_id,
        budget_id, expires, max_budget, created_at, updated_at, body)
    SELECT 'key', token, version + 1, 1, key_alias, user_id, team_id, organization_id,
        json_extract(record, '$.extra.budget_id'), expires, max_budget, created_at, updated_at,
        json_set(record, '$.budget_reset_at', budget_reset_at,
            '$.allowed_regions', json(COALESCE(allowed_regions, '[]')),
            '$.extra.deleted_at', deleted_at, '$.extra.deleted_by', deleted_by)
    FROM deleted_key ORDER BY id DESC;
INSERT INTO record (kind, id, version, alias, created_at, updated_at, body)
    SELECT 'rotated_key', token, 1, active, 0, 0, json_object('active', active, 'revoke_at', revoke_at)
    FROM deprecated_key;
INSERT INTO scope_spend (kind, id, spend, period_start, period_end, duration)
    SELECT 'key', token, spend, period_start, budget_reset_at,
        json_extract(record, '$.budget_duration')
    FROM virtual_key;
INSERT OR IGNORE INTO scope_spend (kind, id, spend, period_start)
    SELECT 'key', token, spend, period_start FROM deleted_key ORDER BY id DESC;
INSERT INTO scope_spend (kind, id, spend)
    SELECT kind, id, SUM(spend) FROM (
        SELECT 'user' AS kind, user_id AS id, spend FROM daily_spend WHERE user_id <> ''
        UNION ALL SELECT 'team', team_id, spend FROM daily_spend WHERE team_id <> ''
        UNION ALL SELECT 'organization', organization_id, spend FROM daily_spend
            WHERE organization_id <> ''
        UNION ALL SELECT kind, entity, spend FROM daily_entity_spend)
    GROUP BY kind, id;
DROP TABLE virtual_key;
DROP TABLE deleted_key;
DROP TABLE deprecated_key;
