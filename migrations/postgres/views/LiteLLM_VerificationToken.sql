SELECT
    r.id AS token,
    r.body ->> 'key_name' AS key_name,
    r.alias AS key_alias,
    COALESCE((SELECT sum(t.spend) FROM meridian.scope_spend t
        WHERE t.kind = 'key' AND t.id = r.id), 0) * 0.000000001 AS spend,
    to_timestamp(r.expires / 1000.0) AT TIME ZONE 'UTC' AS expires,
    ARRAY(SELECT jsonb_array_elements_text(COALESCE(r.body -> 'models', '[]'::jsonb))) AS models,
    COALESCE(r.body -> 'aliases', '{}'::jsonb) AS aliases,
    r.user_id,
    r.team_id,
    r.organization_id,
    (r.body ->> 'max_parallel_requests')::bigint AS max_parallel_requests,
    COALESCE(r.body -> 'metadata', '{}'::jsonb) AS metadata,
    COALESCE((r.body ->> 'blocked')::boolean, false) AS blocked,
    (r.body ->> 'tpm_limit')::bigint AS tpm_limit,
    (r.body ->> 'rpm_limit')::bigint AS rpm_limit,
    r.max_budget * 0.000000001 AS max_budget,
    r.body ->> 'budget_duration' AS budget_duration,
    (SELECT p.period_end AT TIME ZONE 'UTC' FROM meridian.scope_period p
        WHERE p.kind = 'key' AND p.id = r.id) AS budget_reset_at,
    r.budget_id,
    to_timestamp(r.created_at / 1000.0) AT TIME ZONE 'UTC' AS created_at,
    r.body ->> 'created_by' AS created_by,
    to_timestamp(r.updated_at / 1000.0) AT TIME ZONE 'UTC' AS updated_at,
    r.body ->> 'updated_by' AS updated_by
FROM meridian.record r
WHERE r.kind = 'key' AND NOT r.deleted
