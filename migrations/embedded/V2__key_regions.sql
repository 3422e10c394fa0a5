-- Regions that may serve a key's requests: a JSON list of names, NULL for all. A column, so that an
-- operator finds the keys that are bound to a region; it wins over the record, as the others do.
ALTER TABLE virtual_key ADD COLUMN allowed_regions TEXT;
ALTER TABLE deleted_key ADD COLUMN allowed_regions TEXT;
