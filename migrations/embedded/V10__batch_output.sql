-- The batch that wrote a file: the file stays until what the batch used is billed.
ALTER TABLE stored_object ADD COLUMN batch TEXT;
