-- Whose what a key made is, where it is not the key itself: it lives through rotations of the key.
-- Hex digits, as in the context of a row of the log.
ALTER TABLE stored_object ADD COLUMN lineage TEXT;
