-- What `meridian import` left of each record: what the row said, as a digest, and the version that
-- came of it; and how far the history of a source was taken. `source` is the name of an import.

CREATE TABLE meridian.import_mark (
    source  text COLLATE "C" NOT NULL,
    kind    text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    digest  text NOT NULL,    -- empty: the row was deleted in the source
    version bigint NOT NULL,
    counted bigint NOT NULL,  -- spend of the source that is part of scope_spend
    ends    bigint,           -- end of the period in which it is, milliseconds since 1970
    PRIMARY KEY (source, kind, id)
);

CREATE TABLE meridian.import_history (
    source    text PRIMARY KEY,
    until     bigint,         -- days (from 1970) before it are taken as sums
    logs_from bigint,         -- days from it on are taken from the log
    logs_read bigint          -- when the log was last read to its end, milliseconds since 1970
);
