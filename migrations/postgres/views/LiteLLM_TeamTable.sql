-- Without columns named `spend` or `created_at`: a query that joins it to LiteLLM_SpendLogs and
-- names them bare means those of the logs.
SELECT
    r.id AS team_id,
    r.alias AS team_alias,
    r.organization_id,
    COALESCE(r.body -> 'members_with_roles', '[]'::jsonb) AS members_with_roles,
    COALESCE(r.body -> 'metadata', '{}'::jsonb) AS metadata,
    (r.body ->> 'max_budget')::numeric * 0.000000001 AS max_budget,
    (r.body ->> 'soft_budget')::numeric * 0.000000001 AS soft_budget,
    ARRAY(SELECT jsonb_array_elements_text(COALESCE(r.body -> 'models', '[]'::jsonb))) AS models,
    (r.body ->> 'max_parallel_requests')::bigint AS max_parallel_requests,
    (r.body ->> 'tpm_limit')::bigint AS tpm_limit,
    (r.body ->> 'rpm_limit')::bigint AS rpm_limit,
    r.body ->> 'budget_duration' AS budget_duration,
    (SELECT p.period_end AT TIME ZONE 'UTC' FROM meridian.scope_period p
        WHERE p.kind = 'team' AND p.id = r.id) AS budget_reset_at,
    COALESCE((r.body ->> 'blocked')::boolean, false) AS blocked,
    COALESCE((SELECT sum(t.spend) FROM meridian.scope_spend t
        WHERE t.kind = 'team' AND t.id = r.id), 0) * 0.000000001 AS team_spend,
    to_timestamp(r.created_at / 1000.0) AS team_created_at,
    to_timestamp(r.updated_at / 1000.0) AS team_updated_at
FROM meridian.record r
WHERE r.kind = 'team' AND NOT r.deleted
