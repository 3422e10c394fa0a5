-- Rows that cannot be enforced as written, one column each.

INSERT INTO "LiteLLM_VerificationToken" (token, key_name, max_budget) VALUES
    (token('nan'), 'sk-...nan', 'NaN'), (token('negative'), 'sk-...tive', -1);
INSERT INTO "LiteLLM_VerificationToken" (token, key_name, budget_duration) VALUES
    (token('yearly'), 'sk-...arly', '1y');
INSERT INTO "LiteLLM_VerificationToken" (token, key_name, metadata) VALUES
    (token('list'), 'sk-...list', '["not an object"]');
INSERT INTO "LiteLLM_VerificationToken" (token, key_name) VALUES ('sk-in-clear', 'sk-...lear');
INSERT INTO "LiteLLM_UserTable" (user_id, user_role) VALUES ('odd', 'superuser');
INSERT INTO "LiteLLM_TeamTable" (team_id, members_with_roles) VALUES ('odd', '[{"role": "owner"}]');
