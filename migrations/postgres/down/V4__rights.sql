DROP TABLE meridian.budget_entry;
DROP TABLE meridian.node;
