-- What `meridian import` left of each record: what the row said, as a digest, and the version that
-- came of it; and how far the history of a source was taken. `source` is the name of an import.

CREATE TABLE import_mark (
    source  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    digest  TEXT NOT NULL,     -- empty: the row was deleted in the source
    version INTEGER NOT NULL,
    counted INTEGER NOT NULL,  -- spend of the source that is part of scope_spend
    ends    INTEGER,           -- end of the period in which it is
    PRIMARY KEY (source, kind, id)
) WITHOUT ROWID;

CREATE TABLE import_history (
    source    TEXT PRIMARY KEY,
    until     INTEGER,         -- days (from 1970) before it are taken as sums
    logs_from INTEGER,         -- days from it on are taken from the log
    logs_read INTEGER          -- when the log was last read to its end
) WITHOUT ROWID;
