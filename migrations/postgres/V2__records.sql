-- Everything that management writes. A record is JSON; the columns beside it are what lists are
-- filtered and ordered by. `version` is a hybrid logical clock (core/src/hlc.rs).

CREATE TABLE meridian.record (
    kind            text COLLATE "C" NOT NULL,
    id              text COLLATE "C" NOT NULL,
    home            text NOT NULL DEFAULT '',
    version         bigint NOT NULL,
    generation      bigint NOT NULL DEFAULT 0,
    deleted         boolean NOT NULL DEFAULT false,  -- a tombstone; it keeps the last body
    alias           text COLLATE "C",
    email           text COLLATE "C",
    user_id         text COLLATE "C",
    team_id         text COLLATE "C",
    organization_id text COLLATE "C",
    budget_id       text COLLATE "C",
    expires         bigint,                          -- milliseconds since 1970
    max_budget      bigint,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    -- Which transaction changed it last: readers go on behind those that they have seen.
    changed_in      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    body            jsonb NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE UNIQUE INDEX record_key_alias ON meridian.record (home, alias)
    WHERE kind = 'key' AND NOT deleted AND alias IS NOT NULL;
CREATE UNIQUE INDEX record_user_email ON meridian.record (home, email)
    WHERE kind = 'user' AND NOT deleted AND email IS NOT NULL;
CREATE INDEX record_alias ON meridian.record (kind, alias) WHERE alias IS NOT NULL;
CREATE INDEX record_user ON meridian.record (kind, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX record_team ON meridian.record (kind, team_id) WHERE team_id IS NOT NULL;
CREATE INDEX record_organization ON meridian.record (kind, organization_id)
    WHERE organization_id IS NOT NULL;
CREATE INDEX record_budget ON meridian.record (budget_id) WHERE budget_id IS NOT NULL;
CREATE INDEX record_changed ON meridian.record (changed_in, kind, id);

CREATE TABLE meridian.audit_log (
    id             uuid PRIMARY KEY,
    at             timestamptz NOT NULL,
    changed_by     text NOT NULL,
    changed_by_key text NOT NULL,
    action         text NOT NULL,
    kind           text NOT NULL,
    object_id      text NOT NULL,
    before         jsonb,
    after          jsonb
);
CREATE INDEX audit_log_at ON meridian.audit_log (at, id);
CREATE INDEX audit_log_object ON meridian.audit_log (object_id, at);
