-- Postgres. Money is integer nano-dollars, a day is the UTC date of a request's start. '' stands
-- for "none" where a column is part of what a roll-up counts by. Everything lies in the schema
-- `meridian`, which `meridian migrate` makes.

-- Oldest schema version that a running gateway may have been built for (migrations/README.md).
CREATE TABLE meridian.compatibility (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    since integer NOT NULL
);
INSERT INTO meridian.compatibility (since) VALUES (1);

-- A writer is the journal of one node. Its cursor moves in the transaction that adds the records.
CREATE TABLE meridian.journal_cursor (
    writer     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    segment    bigint NOT NULL,
    "offset"   bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- One row per request; one partition per UTC day (meridian.add_day). A row of usual length takes
-- some 500 bytes.
CREATE TABLE meridian.spend_log (
    started         timestamptz NOT NULL,
    ended           timestamptz NOT NULL,
    first_byte      timestamptz,
    prompt          bigint NOT NULL,
    completion      bigint NOT NULL,
    cache_read      bigint NOT NULL,
    cache_write     bigint NOT NULL,
    cost            bigint NOT NULL,
    call_id         uuid NOT NULL,
    writer          integer NOT NULL,
    status          integer NOT NULL,
    attempts        integer NOT NULL,
    stream          boolean NOT NULL,
    price_unknown   boolean NOT NULL,
    estimated       boolean NOT NULL,
    failed          boolean NOT NULL,
    api_key         bytea,                      -- sha256 of the clear key; none for the master key
    response_id     text,
    endpoint        text NOT NULL,
    end_reason      text NOT NULL,
    key_alias       text,
    user_id         text,
    team_id         text,
    organization_id text,
    end_user        text,
    model_group     text NOT NULL,
    deployment_id   text NOT NULL,
    model           text NOT NULL,
    provider        text NOT NULL,
    api_base        text NOT NULL,
    region          text NOT NULL,
    session_id      text,
    usage           jsonb,                      -- only if the four columns do not say it all
    context         jsonb,                      -- tags, address, agent, metadata
    error           text,
    PRIMARY KEY (started, call_id)
) PARTITION BY RANGE (started);
-- Rows come nearly in the order of their start: a few pages say where a time lies.
CREATE INDEX spend_log_brin ON meridian.spend_log USING brin (started) WITH (pages_per_range = 32);
CREATE INDEX spend_log_key ON meridian.spend_log (api_key, started) WHERE api_key IS NOT NULL;
CREATE INDEX spend_log_team ON meridian.spend_log (team_id, started) WHERE team_id IS NOT NULL;
CREATE INDEX spend_log_user ON meridian.spend_log (user_id, started) WHERE user_id IS NOT NULL;
CREATE INDEX spend_log_end_user ON meridian.spend_log (end_user, started)
    WHERE end_user IS NOT NULL;
CREATE INDEX spend_log_session ON meridian.spend_log (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX spend_log_response ON meridian.spend_log USING hash (response_id)
    WHERE response_id IS NOT NULL;

-- Every request once: what reports and dashboards read. `cell` is a digest of what a row counts
-- by, so that the key stays short.
CREATE TABLE meridian.daily_spend (
    day             date NOT NULL,
    cell            uuid NOT NULL,
    spend           bigint NOT NULL,
    prompt          bigint NOT NULL,
    completion      bigint NOT NULL,
    cache_read      bigint NOT NULL,
    cache_write     bigint NOT NULL,
    requests        bigint NOT NULL,
    failed          bigint NOT NULL,
    api_key         bytea NOT NULL,
    user_id         text NOT NULL,
    team_id         text NOT NULL,
    organization_id text NOT NULL,
    model_group     text NOT NULL,
    model           text NOT NULL,
    provider        text NOT NULL,
    deployment_id   text NOT NULL,
    endpoint        text NOT NULL,
    region          text NOT NULL,
    PRIMARY KEY (day, cell)
) WITH (fillfactor = 70);
CREATE INDEX daily_spend_key ON meridian.daily_spend (api_key, day);
CREATE INDEX daily_spend_user ON meridian.daily_spend (user_id, day) WHERE user_id <> '';
CREATE INDEX daily_spend_team ON meridian.daily_spend (team_id, day) WHERE team_id <> '';
CREATE INDEX daily_spend_organization ON meridian.daily_spend (organization_id, day)
    WHERE organization_id <> '';

-- Every request once per tag (kind 'tag') and once for its end user (kind 'end_user').
CREATE TABLE meridian.daily_entity_spend (
    day         date NOT NULL,
    cell        uuid NOT NULL,
    spend       bigint NOT NULL,
    prompt      bigint NOT NULL,
    completion  bigint NOT NULL,
    cache_read  bigint NOT NULL,
    cache_write bigint NOT NULL,
    requests    bigint NOT NULL,
    failed      bigint NOT NULL,
    kind        text NOT NULL,
    entity      text NOT NULL,
    api_key     bytea NOT NULL,
    model_group text NOT NULL,
    model       text NOT NULL,
    provider    text NOT NULL,
    endpoint    text NOT NULL,
    region      text NOT NULL,
    PRIMARY KEY (day, cell)
) WITH (fillfactor = 70);
CREATE INDEX daily_entity_spend_entity ON meridian.daily_entity_spend (kind, entity, day);

-- What a scope has spent in its running period, one row per writer: no two nodes write the same.
CREATE TABLE meridian.scope_spend (
    kind   text NOT NULL,
    id     text NOT NULL,
    writer integer NOT NULL,
    spend  bigint NOT NULL,
    PRIMARY KEY (kind, id, writer)
) WITH (fillfactor = 70);

-- Requests that started before the period do not count. Scopes without a row have counted for ever.
CREATE TABLE meridian.scope_period (
    kind         text NOT NULL,
    id           text NOT NULL,
    period_start timestamptz NOT NULL DEFAULT 'epoch',
    period_end   timestamptz,
    duration     text,
    -- From here on scope_early is whole: the end of the period was set at this time.
    set_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, id)
);
CREATE INDEX scope_period_end ON meridian.scope_period (period_end) WHERE period_end IS NOT NULL;

-- Part of scope_spend: requests that started after the end of the period that is still shown. The
-- next period begins with them.
CREATE TABLE meridian.scope_early (
    kind    text NOT NULL,
    id      text NOT NULL,
    writer  integer NOT NULL,
    started timestamptz NOT NULL,
    cost    bigint NOT NULL
);
CREATE INDEX scope_early_scope ON meridian.scope_early (kind, id);

-- The partition of a day. Attached, not made in place: requests go on meanwhile. With the rights of
-- whoever migrated, so that the gateway's own user needs none to change the schema.
CREATE FUNCTION meridian.add_day(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text := 'spend_log_' || to_char(day, 'YYYYMMDD');
    low  timestamptz := day::timestamp AT TIME ZONE 'UTC';
    high timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    PERFORM pg_advisory_xact_lock(7310027, 2);
    IF to_regclass('meridian.' || part) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE meridian.%I (LIKE meridian.spend_log INCLUDING DEFAULTS,
        CHECK (started >= %L AND started < %L))', part, low, high);
    EXECUTE format('ALTER TABLE meridian.spend_log ATTACH PARTITION meridian.%I
        FOR VALUES FROM (%L) TO (%L)', part, low, high);
    RETURN true;
END $$;

-- Drops the days before one, as whole tables; gives how many rows the planner thought they had.
CREATE FUNCTION meridian.drop_days_before(keep date) RETURNS TABLE (day date, estimate bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
BEGIN
    PERFORM pg_advisory_xact_lock(7310027, 2);
    FOR part IN
        SELECT c.relname, greatest(c.reltuples, 0)::bigint AS tuples FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'meridian.spend_log'::regclass
            AND c.relname < 'spend_log_' || to_char(keep, 'YYYYMMDD') ORDER BY 1
    LOOP
        EXECUTE format('DROP TABLE meridian.%I', part.relname);
        day := to_date(right(part.relname, 8), 'YYYYMMDD');
        estimate := part.tuples;
        RETURN NEXT;
    END LOOP;
END $$;
