ALTER TABLE meridian.stored_object DROP COLUMN batch;
