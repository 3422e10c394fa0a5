DROP TABLE meridian.stored_object;
