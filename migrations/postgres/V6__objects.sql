-- Who made the files and batches that lie at providers. It outlives the log: a file may be used long
-- after its row was dropped, and a batch's output was never made by a request of its own.
CREATE TABLE meridian.stored_object (
    id              text PRIMARY KEY,
    api_key         bytea NOT NULL,
    model_group     text NOT NULL,
    deployment_id   text NOT NULL
);
