SELECT
    r.id AS organization_id,
    r.alias AS organization_alias,
    r.budget_id,
    COALESCE(r.body -> 'metadata', '{}'::jsonb) AS metadata,
    ARRAY(SELECT jsonb_array_elements_text(COALESCE(r.body -> 'models', '[]'::jsonb))) AS models,
    COALESCE((SELECT sum(t.spend) FROM meridian.scope_spend t
        WHERE t.kind = 'organization' AND t.id = r.id), 0) * 0.000000001 AS spend,
    to_timestamp(r.created_at / 1000.0) AT TIME ZONE 'UTC' AS created_at,
    to_timestamp(r.updated_at / 1000.0) AT TIME ZONE 'UTC' AS updated_at
FROM meridian.record r
WHERE r.kind = 'organization' AND NOT r.deleted
