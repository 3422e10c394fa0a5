-- Batches at providers that were made through the gateway, until what they used is in the ledger.
-- A row comes with the request that made it, in the same transaction. Times are milliseconds since
-- 1970.
CREATE TABLE meridian.batch (
    id              text NOT NULL,              -- the provider's
    deployment_id   text NOT NULL,
    region          text NOT NULL,              -- of the node that it was made through
    made            text NOT NULL,              -- the request's record: who pays
    look_at         bigint NOT NULL,            -- when it is looked at next
    leased_until    bigint NOT NULL DEFAULT 0,  -- until then somebody is at it
    leased_by       text NOT NULL DEFAULT '',   -- who
    tries           integer NOT NULL DEFAULT 0, -- looks that failed, one after the other
    gone_since      bigint,                     -- since then its provider does not have it
    decided         boolean NOT NULL DEFAULT false, -- what it used is known: its bills are written
    done_at         bigint,                     -- nothing is left to do
    PRIMARY KEY (id, deployment_id)
);
CREATE INDEX batch_due ON meridian.batch (look_at) WHERE done_at IS NULL;

-- What batches used of a model each. The transaction that adds a bill to the ledger marks it: one
-- that is marked counts nowhere again.
CREATE TABLE meridian.batch_bill (
    call_id         uuid PRIMARY KEY,
    id              text NOT NULL,
    deployment_id   text NOT NULL,
    record          text NOT NULL,
    billed_at       bigint
);
CREATE INDEX batch_bill_batch ON meridian.batch_bill (id, deployment_id);

-- Days since 1970 on which housekeeping first saw who made an object; 0 before that. Rows that are
-- older than a configured time go.
ALTER TABLE meridian.stored_object ADD COLUMN kept_day integer NOT NULL DEFAULT 0;
CREATE INDEX stored_object_day ON meridian.stored_object (kept_day);
