ALTER TABLE meridian.stored_object DROP COLUMN kept_day;
DROP TABLE meridian.batch_bill;
DROP TABLE meridian.batch;
