SELECT
    cell::text AS id,
    entity AS tag,
    day::text AS date,
    encode(api_key, 'hex') AS api_key,
    model,
    model_group,
    provider AS custom_llm_provider,
    NULL::text AS mcp_namespaced_tool_name,
    endpoint,
    prompt AS prompt_tokens,
    completion AS completion_tokens,
    cache_read AS cache_read_input_tokens,
    cache_write AS cache_creation_input_tokens,
    spend * 0.000000001 AS spend,
    requests AS api_requests,
    requests - failed AS successful_requests,
    failed AS failed_requests
FROM meridian.daily_entity_spend
WHERE kind = 'tag'
