-- Part of scope_spend: requests that started after the end of the period that is still shown. The
-- next period begins with them, also where requests are not listed.
CREATE TABLE scope_early (
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    started INTEGER NOT NULL,
    cost    INTEGER NOT NULL
);
CREATE INDEX scope_early_scope ON scope_early (kind, id);
-- From here on scope_early is whole: the end of the period was set at this time.
ALTER TABLE scope_spend ADD COLUMN set_at INTEGER NOT NULL DEFAULT 0;
UPDATE scope_spend SET set_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
