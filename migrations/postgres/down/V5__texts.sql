ALTER TABLE meridian.spend_log DROP COLUMN request, DROP COLUMN response;
