-- What was asked and answered, where it is kept: bounded, last in the row and stored beside it, so
-- that who does not ask for it does not read it. It goes with its day. `json`, because nothing but
-- the view looks into it, and the order of its members is the client's.
ALTER TABLE meridian.spend_log ADD COLUMN request json, ADD COLUMN response json;
