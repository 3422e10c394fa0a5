-- Budgets that nodes share: who a node is, and what was decided about a period of a budget. Both
-- are only added to; rights themselves lie in the journals of nodes.

CREATE TABLE meridian.node (
    number  integer PRIMARY KEY CHECK (number BETWEEN 1 AND 65535),
    journal text NOT NULL UNIQUE,              -- identity of the node's journal
    address text,                              -- where other nodes of the region reach it
    seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE meridian.budget_entry (
    scope      text COLLATE "C" NOT NULL,      -- digest of kind, id and window
    period     bigint NOT NULL,                -- end, milliseconds since 1970; the largest is never
    generation integer NOT NULL,               -- grows with every reset
    number     integer NOT NULL,               -- from 0, without gaps
    amount     bigint NOT NULL,                -- rights in nano-dollars; below zero are destroyed
    base       bigint NOT NULL,                -- spent before the first entry
    actor      text COLLATE "C" NOT NULL,      -- who makes or destroys them
    made_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, period, generation, number)
);

CREATE INDEX budget_entry_actor ON meridian.budget_entry (actor, period);
