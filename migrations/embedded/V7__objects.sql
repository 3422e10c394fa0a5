-- Who made the files and batches that lie at providers. It outlives the log: a file may be used long
-- after its row was dropped, and a batch's output was never made by a request of its own.
CREATE TABLE stored_object (
    id              TEXT PRIMARY KEY,
    api_key         TEXT,
    model_group     TEXT NOT NULL,
    deployment_id   TEXT NOT NULL
) WITHOUT ROWID;
