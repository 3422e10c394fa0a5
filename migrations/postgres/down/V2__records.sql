DROP TABLE meridian.audit_log;
DROP TABLE meridian.record;
