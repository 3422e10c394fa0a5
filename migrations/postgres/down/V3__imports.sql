DROP TABLE meridian.import_history;
DROP TABLE meridian.import_mark;
