-- What was asked and answered, as JSON, where it is kept. Last in the row: who does not ask for them
-- does not read their pages. They go with the row.
ALTER TABLE spend_log ADD COLUMN request TEXT;
ALTER TABLE spend_log ADD COLUMN response TEXT;
