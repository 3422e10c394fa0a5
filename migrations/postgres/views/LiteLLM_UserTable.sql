SELECT
    r.id AS user_id,
    r.alias AS user_alias,
    ARRAY(SELECT jsonb_array_elements_text(COALESCE(r.body -> 'teams', '[]'::jsonb))) AS teams,
    r.organization_id,
    r.body ->> 'user_role' AS user_role,
    (r.body ->> 'max_budget')::numeric * 0.000000001 AS max_budget,
    COALESCE((SELECT sum(t.spend) FROM meridian.scope_spend t
        WHERE t.kind = 'user' AND t.id = r.id), 0) * 0.000000001 AS spend,
    r.email AS user_email,
    ARRAY(SELECT jsonb_array_elements_text(COALESCE(r.body -> 'models', '[]'::jsonb))) AS models,
    COALESCE(r.body -> 'metadata', '{}'::jsonb) AS metadata,
    (r.body ->> 'tpm_limit')::bigint AS tpm_limit,
    (r.body ->> 'rpm_limit')::bigint AS rpm_limit,
    r.body ->> 'budget_duration' AS budget_duration,
    to_timestamp(r.created_at / 1000.0) AT TIME ZONE 'UTC' AS created_at,
    to_timestamp(r.updated_at / 1000.0) AT TIME ZONE 'UTC' AS updated_at
FROM meridian.record r
WHERE r.kind = 'user' AND NOT r.deleted
