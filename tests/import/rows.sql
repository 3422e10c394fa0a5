-- What a running LiteLLM leaves behind, on a schema of any version. Everything in it can be imported;
-- the rows that cannot are in bad_rows.sql. Clear keys are sk-NAME.

CREATE FUNCTION token(name text) RETURNS text LANGUAGE sql AS
    $$ SELECT encode(sha256(convert_to('sk-' || name, 'UTF8')), 'hex') $$;
CREATE FUNCTION next_month() RETURNS timestamp LANGUAGE sql AS
    $$ SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month' $$;

INSERT INTO "LiteLLM_BudgetTable" (budget_id, max_budget, budget_duration, budget_reset_at, rpm_limit,
        model_max_budget, created_by, updated_by) VALUES
    ('b-month', 50, '30d', next_month(), 100, '{"gpt-4o": {"budget_limit": 5, "time_period": "1d"}}',
        'admin', 'admin'),
    ('b-late', 1, '1d', date_trunc('day', now() AT TIME ZONE 'UTC'), NULL, NULL, 'admin', 'admin'),
    ('b-plain', NULL, NULL, NULL, 7, NULL, 'admin', 'admin');
INSERT INTO "LiteLLM_OrganizationTable" (organization_id, organization_alias, budget_id, metadata,
        models, spend, created_by, updated_by) VALUES
    ('o1', 'ACME', 'b-month', '{"cost_center": 7}', '{}', 21.5, 'admin', 'admin');
INSERT INTO "LiteLLM_ModelTable" (id, aliases, created_by, updated_by) VALUES
    (7, '{"gpt-4": "fake-m1"}', 'admin', 'admin');
INSERT INTO "LiteLLM_AccessGroupTable" (access_group_id, access_group_name, access_model_names) VALUES
    ('g1', 'beta', '{fake-m1,fake-m9}');

INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, organization_id, members_with_roles, metadata,
        max_budget, spend, models, budget_duration, budget_reset_at, blocked, model_id, admins,
        members) VALUES
    ('t1', 'Search', 'o1', '[{"role": "admin", "user_id": "u1"}, {"role": "user", "user_id": "u2"}]',
        '{"team_member_budget_id": "b-month", "note": "größte \"Gruppe\" \\ 🚀"}', 100, 40.125, '{}',
        '30d', next_month(), false, 7, '{}', '{}'),
    ('t-blocked', 'Gone', NULL, '{}', '{}', NULL, 0, '{fake-m1}', NULL, NULL, true, NULL, '{u3}',
        '{u3,u4}');
INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, spend, metadata, router_settings)
    SELECT 'team-' || n, 'Team ' || n, n * 0.25, jsonb_build_object('n', n), NULL
    FROM generate_series(1, 40) AS n;

INSERT INTO "LiteLLM_UserTable" (user_id, user_email, user_role, teams, spend, password, sso_user_id,
        max_budget, budget_duration, budget_reset_at, created_at) VALUES
    ('u1', 'one@example.org', 'proxy_admin', '{t1}', 3.5, 'scrypt:secret-of-u1', 'okta|1', NULL, NULL,
        NULL, '2025-01-01'),
    ('u2', 'two@example.org', 'internal_user', '{t1}', 1.5, NULL, NULL, 20, '1d',
        date_trunc('day', now() AT TIME ZONE 'UTC') + interval '1 day', '2025-01-02'),
    ('u2b', 'two@example.org', 'internal_user_viewer', '{}', 0, NULL, NULL, NULL, NULL, NULL,
        '2025-01-03'),
    ('u3', '', NULL, '{}', 0, '', NULL, NULL, NULL, NULL, NULL),
    ('litellm-proxy-budget', NULL, NULL, '{}', 99, NULL, NULL, 1000, '30d', next_month(), NULL);
INSERT INTO "LiteLLM_UserTable" (user_id, user_email, user_role, spend, metadata)
    SELECT 'user-' || n, 'user' || n || '@example.org', 'internal_user', n * 0.001,
        jsonb_build_object('deep', jsonb_build_object('list', jsonb_build_array(n, NULL, '{}', 1e-7)))
    FROM generate_series(1, 120) AS n;
INSERT INTO "LiteLLM_TeamMembership" (user_id, team_id, spend, total_spend, budget_id) VALUES
    ('u1', 't1', 0.75, 9, 'b-month'), ('u2', 't1', 2, 2, 'b-late'), ('u3', 't-blocked', 0, 0, NULL);
INSERT INTO "LiteLLM_OrganizationMembership" (user_id, organization_id, user_role, spend, budget_id)
    VALUES ('u1', 'o1', 'org_admin', 1, NULL), ('u2', 'o1', NULL, NULL, 'b-month');

INSERT INTO "LiteLLM_VerificationToken" (token, key_name, key_alias, models, user_id, team_id, spend,
        max_budget, budget_duration, budget_reset_at, expires, blocked, metadata, created_at,
        router_settings, budget_id, access_group_ids) VALUES
    (token('works'), 'sk-...orks', 'works', '{fake-m1}', 'u1', 't1', 1.25, 10, '30d', next_month(), NULL,
        NULL, '{"tags": ["prod"]}', '2025-02-01', '{"timeout": 30, "allowed_fails": 3}', NULL, '{g1}'),
    (token('spent'), 'sk-...pent', 'spent', '{}', 'u1', NULL, 2.5, 2, '30d', next_month(), NULL, false,
        '{}', '2025-02-02', '{}', NULL, '{}'),
    (token('reset'), 'sk-...eset', 'reset', '{}', 'u1', NULL, 9, 2, '1d',
        date_trunc('day', now() AT TIME ZONE 'UTC'), NULL, false, '{}', '2025-02-02', '{}', NULL, '{}'),
    (token('blocked'), 'sk-...cked', 'blocked', '{}', NULL, NULL, 0, NULL, NULL, NULL, NULL, true, '{}',
        '2025-02-03', NULL, NULL, '{}'),
    (token('expired'), 'sk-...ired', 'expired', '{}', NULL, NULL, 0, NULL, NULL, NULL, '2025-06-01',
        false, '{}', '2025-02-04', '{}', NULL, '{}'),
    (token('shared'), NULL, 'works', '{fake-m1}', NULL, 't1', 0.5, NULL, NULL, NULL, NULL, false,
        '"{\"written\": \"twice\"}"', '2025-03-01', '{}', 'b-month', NULL),
    (token('session-1'), 'sk-...ui', NULL, '{}', 'u1', 'litellm-dashboard', 0, 0.25, NULL, NULL,
        now() + interval '1 day', false, '{}', now(), '{}', NULL, '{}'),
    (token('session-2'), 'sk-...ui', NULL, '{}', 'u2', 'litellm-dashboard', 0, 0.25, NULL, NULL,
        now() + interval '1 day', false, '{}', now(), '{}', NULL, '{}');
INSERT INTO "LiteLLM_VerificationToken" (token, key_name, key_alias, models, aliases, user_id, team_id,
        organization_id, spend, max_budget, budget_duration, budget_reset_at, tpm_limit, rpm_limit,
        max_parallel_requests, allowed_routes, metadata, permissions, model_max_budget, last_active,
        updated_at)
    SELECT token('many-' || n), 'sk-...' || lpad(n::text, 4, '0'),
        CASE WHEN n % 3 > 0 THEN 'many-' || n END,
        CASE WHEN n % 4 = 0 THEN '{fake-m1,fake-*}'::text[] ELSE '{}' END,
        CASE WHEN n % 5 = 0 THEN '{"fast": "fake-m1"}'::jsonb ELSE '{}' END,
        CASE WHEN n % 2 = 0 THEN 'user-' || (n % 120 + 1) END,
        CASE WHEN n % 7 > 0 THEN 'team-' || (n % 40 + 1) END, CASE WHEN n % 11 = 0 THEN 'o1' END,
        n * 0.000000001, CASE WHEN n % 2 = 0 THEN n END,
        CASE WHEN n % 2 = 0 THEN (ARRAY['30d', '7d', '1mo', '12h'])[n % 4 + 1] END,
        CASE WHEN n % 6 = 0 THEN next_month() END, CASE WHEN n % 3 = 0 THEN 9007199254740993 END, n,
        n % 50, CASE WHEN n % 13 = 0 THEN '{llm_api_routes}'::text[] ELSE '{}' END,
        jsonb_build_object('n', n, 'model_rpm_limit', jsonb_build_object('fake-m1', n), 'odd',
            jsonb_build_array(NULL, true, 'a "quote"', jsonb_build_object('', ''))),
        '{}', CASE WHEN n % 9 = 0 THEN '{"fake-m1": {"budget_limit": "1.5", "time_period": "1d"}}'::jsonb
            ELSE '{}' END, now(), now()
    FROM generate_series(1, 600) AS n;
INSERT INTO "LiteLLM_DeprecatedVerificationToken" (token, active_token_id, revoke_at) VALUES
    (token('old'), token('works'), now() + interval '1 day'),
    (token('older'), token('works'), now() - interval '1 day');
INSERT INTO "LiteLLM_DeletedVerificationToken" (token, key_name, key_alias, team_id, spend, deleted_at,
        deleted_by) VALUES
    (token('deleted'), 'sk-...eted', 'deleted', 't1', 3, '2025-05-01', 'u1'),
    (token('deleted'), 'sk-...eted', 'deleted twice', 't1', 4, '2025-06-01', 'u2'),
    (token('works'), 'sk-...orks', 'lives again', NULL, 0, '2025-01-01', 'u1'),
    (token('session-0'), 'sk-...ui', NULL, 'litellm-dashboard', 0, '2025-01-01', 'u1');

INSERT INTO "LiteLLM_EndUserTable" (user_id, alias, spend, allowed_model_region, budget_id, blocked)
    VALUES ('customer-1', 'One', 5, 'eu', 'b-month', false), ('customer-2', NULL, 0, NULL, NULL, true);
INSERT INTO "LiteLLM_TagTable" (tag_name, description, models, spend, budget_id) VALUES
    ('prod', 'Production', '{}', 6, 'b-month'), ('batch', NULL, '{m-db}', 0, NULL);
INSERT INTO "LiteLLM_Config" (param_name, param_value) VALUES
    ('router_settings', '{"num_retries": 2, "a_setting_of_nobody": true}'),
    ('model_cost_map_reload_config', '{"interval_hours": 6}');

-- What has no counterpart.
INSERT INTO "LiteLLM_ProjectTable" (project_id, team_id, created_by, updated_by) VALUES
    ('p1', 't1', 'admin', 'admin');
INSERT INTO "LiteLLM_InvitationLink" (user_id, expires_at, created_at, created_by, updated_at, updated_by)
    SELECT 'u3', now(), now(), 'u1', now(), 'u1' FROM generate_series(1, 3);
INSERT INTO "LiteLLM_GuardrailsTable" (guardrail_name, litellm_params) VALUES ('pii', '{}');
INSERT INTO "LiteLLM_CronJob" (cronjob_id, pod_id, ttl) VALUES ('c', 'p', now());

-- Three days of requests, 0.01 dollars each; the log of the first was cut at noon.
CREATE TEMP TABLE request AS
    SELECT n, date_trunc('day', now() AT TIME ZONE 'UTC') - day * interval '1 day'
            + n * (now() AT TIME ZONE 'UTC' - date_trunc('day', now() AT TIME ZONE 'UTC')) / 101 AS at,
        day
    FROM generate_series(1, 100) AS n, generate_series(0, 2) AS day;
INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, api_key, spend, total_tokens, prompt_tokens,
        completion_tokens, "startTime", "endTime", model, model_id, model_group, custom_llm_provider,
        "user", metadata, request_tags, team_id, end_user, status, messages, response)
    SELECT 'chatcmpl-' || day || '-' || n, CASE WHEN n = 100 THEN 'call_mcp_tool' ELSE 'acompletion' END,
        token('works'), 0.01, 30, 20, 10, at, at + interval '1 second', 'gpt-4o-2024-11-20', 'm-db',
        'gpt-4o', 'openai', 'u1', '{"user_api_key_alias": "works"}', '["prod"]', 't1',
        CASE WHEN n % 2 = 0 THEN 'customer-1' END, CASE WHEN n = 1 THEN 'failure' ELSE 'success' END,
        '{"a": "prompt that stays where it is"}', '{}'
    FROM request WHERE day < 2 OR n > 50;
INSERT INTO "LiteLLM_DailyUserSpend" (user_id, date, api_key, model, model_group, custom_llm_provider,
        endpoint, prompt_tokens, completion_tokens, spend, api_requests, successful_requests,
        failed_requests)
    SELECT 'u1', to_char(at, 'YYYY-MM-DD'), token('works'), 'gpt-4o-2024-11-20', 'gpt-4o', 'openai',
        '/chat/completions', sum(20), sum(10), sum(0.01), count(*), count(*) - 1, 1
    FROM request GROUP BY 2;
INSERT INTO "LiteLLM_DailyTagSpend" (tag, date, api_key, model, model_group, custom_llm_provider, spend,
        api_requests) SELECT 'prod', to_char(at, 'YYYY-MM-DD'), token('works'), 'gpt-4o-2024-11-20',
        'gpt-4o', 'openai', sum(0.01), count(*) FROM request GROUP BY 2;
INSERT INTO "LiteLLM_DailyTeamSpend" (team_id, date, api_key, spend, api_requests)
    SELECT 't1', to_char(at, 'YYYY-MM-DD'), token('works'), sum(0.01), count(*) FROM request GROUP BY 2;
