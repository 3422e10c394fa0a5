-- Batches at providers that were made through the gateway, until what they used is in the ledger.
-- A row comes with the request that made it, in the same transaction.
CREATE TABLE batch (
    id              TEXT NOT NULL,              -- the provider's
    deployment_id   TEXT NOT NULL,
    region          TEXT NOT NULL,              -- of the node that it was made through
    made            TEXT NOT NULL,              -- the request's record: who pays
    look_at         INTEGER NOT NULL,           -- when it is looked at next
    leased_until    INTEGER NOT NULL DEFAULT 0, -- until then somebody is at it
    leased_by       TEXT NOT NULL DEFAULT '',   -- who
    tries           INTEGER NOT NULL DEFAULT 0, -- looks that failed, one after the other
    gone_since      INTEGER,                    -- since then its provider does not have it
    decided         INTEGER NOT NULL DEFAULT 0, -- what it used is known: its bills are written
    done_at         INTEGER,                    -- nothing is left to do
    PRIMARY KEY (id, deployment_id)
) WITHOUT ROWID;
CREATE INDEX batch_due ON batch (look_at) WHERE done_at IS NULL;

-- What batches used of a model each. The transaction that adds a bill to the ledger marks it: one
-- that is marked counts nowhere again.
CREATE TABLE batch_bill (
    call_id         BLOB PRIMARY KEY,
    id              TEXT NOT NULL,
    deployment_id   TEXT NOT NULL,
    record          TEXT NOT NULL,
    billed_at       INTEGER
) WITHOUT ROWID;
CREATE INDEX batch_bill_batch ON batch_bill (id, deployment_id);

-- Days since 1970 on which housekeeping first saw who made an object; 0 before that. Rows that are
-- older than a configured time go.
ALTER TABLE stored_object ADD COLUMN kept_day INTEGER NOT NULL DEFAULT 0;
CREATE INDEX stored_object_day ON stored_object (kept_day);
