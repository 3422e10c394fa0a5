//! What a good configuration resolves to.

use super::*;

#[test]
fn aliases_lead_to_models_and_never_in_circles() {
    let (config, problems) = good(
        &format!(
            "{KEY}model_list:\n  - {{model_name: m, litellm_params: {{model: mock/m}}}}\n  \
             - {{model_name: w/*, litellm_params: {{model: mock/*}}}}\n\
             litellm_settings: {{model_group_alias: {{a: other, c: m}}}}\n\
             router_settings: {{model_group_alias: {{a: b, b: {{model: m, hidden: true}}, \
             d: w/x}}}}\n"
        ),
        &[],
    );
    assert_eq!(problems, Vec::<String>::new());
    let leads = |name: &str| {
        (
            config.aliases[name].model.as_str(),
            config.aliases[name].hidden,
        )
    };
    assert_eq!((leads("a"), leads("b")), (("m", false), ("m", true)));
    assert_eq!((leads("c"), leads("d")), (("m", false), ("w/x", false)));
    let circle = problems_of("router_settings: {model_group_alias: {a: b, b: c, c: a}}");
    assert_eq!(circle.len(), 3);
    assert!(
        circle[0].contains("model_group_alias.a: leads back to itself"),
        "{circle:#?}"
    );
}

#[test]
fn deployments_keep_their_identity_and_never_share_one() {
    let list = |params: &str| format!("{KEY}model_list:\n{params}");
    let entry = |rest: &str| {
        format!(
            "  - {{model_name: m, litellm_params: {{model: openai/x, \
             api_key: os.environ/K{rest}}}}}\n"
        )
    };
    let id = |text: &str, key: &str| good(text, &[("K", key)]).0.models[0].id.clone();
    let first = id(&list(&entry("")), "one");
    assert_eq!(first.len(), 64);
    assert_eq!(first, id(&list(&entry("")), "rotated"));
    assert_ne!(first, id(&list(&entry(", weight: 2")), "one"));
    let swapped = "  - {litellm_params: {api_key: os.environ/K, model: openai/x}, model_name: m}\n";
    assert_eq!(first, id(&list(swapped), "one"));

    let (config, problems) = good(&list(&entry("").repeat(3)), &[("K", "k")]);
    let ids: Vec<_> = config.models.iter().map(|model| model.id.clone()).collect();
    assert_eq!(
        ids,
        [first.clone(), format!("{first}-2"), format!("{first}-3")]
    );
    assert!(problems[0].contains("c.yaml:4:5: warning: model_list[1]: the same as another entry"));

    let named = "  - {model_name: m, litellm_params: {model: mock/m}, model_info: {id: one}}\n";
    let loaded = load_text(&list(&named.repeat(2)));
    assert!(loaded.config.is_none());
    assert!(shown(&loaded)[0].contains("model_list[1].model_info.id: `one` is used by another"));
}

#[test]
fn wildcards_carry_the_clients_name_to_the_provider() {
    let text = format!(
        "{KEY}model_list:\n  - {{model_name: team/*, \
         litellm_params: {{model: openai/*, api_key: k}}}}\n  \
         - {{model_name: '*', litellm_params: {{model: '*', api_key: k}}}}\n  \
         - {{model_name: all-*, litellm_params: {{model: openai/gpt-4o, api_key: k}}}}\n"
    );
    let (config, problems) = good(&text, &[]);
    let [team, any, fixed] = &config.models[..] else {
        panic!()
    };
    assert_eq!(team.upstream_model("team/gpt-4o"), "gpt-4o");
    assert!(team.is_wildcard() && !team.matches("gpt-4o"));
    assert_eq!(any.upstream_model("some/thing"), "some/thing");
    assert_eq!(fixed.upstream_model("all-mine"), "gpt-4o");
    assert!(
        problems[0].contains("no provider; `openai/*` is used"),
        "{problems:?}"
    );
    let bad = shown(&load_text(
        &text.replace("team/*", "team").replace("all-*", "a*l-*"),
    ));
    assert!(
        bad.iter()
            .any(|p| p.contains("`*` needs a `*` in the model name `team`"))
    );
    assert!(bad.iter().any(|p| p.contains("only one `*` is possible")));
}

#[test]
fn a_deployment_holds_defaults_prices_and_limits() {
    let text = format!(
        "{KEY}model_list:\n  - model_name: m\n    rpm: 5\n    litellm_params: {{model: gpt-4o, \
         api_key: k, temperature: 0.5, min_p: '0.1', odd: [1], extra_body: {{a: null}}, \
         weight: 0.5, timeout: '30', \
         max_retries: 4, tags: [x], input_cost_per_token: '3e-7', extra_headers: {{X-A: b}}, \
         organization: org}}\n    model_info: {{mode: chat, base_model: gpt-4o, \
         output_cost_per_token: 1e-6, \
         input_cost_per_token: 9, access_groups: [g], owner: me, \
         search_context_cost_per_query: {{search_context_size_low: '0.01'}}}}\n"
    );
    let (config, problems) = good(&text, &[]);
    let model = &config.models[0];
    let json = |map: &serde_json::Map<String, serde_json::Value>| serde_json::json!(map);
    let defaults = serde_json::json!({"temperature": 0.5, "min_p": "0.1", "odd": [1]});
    assert_eq!(json(&model.default_params), defaults);
    assert_eq!(json(&model.extra_body), serde_json::json!({"a": null}));
    let prices = serde_json::json!({"input_cost_per_token": 3e-7, "output_cost_per_token": 1e-6,
        "search_context_cost_per_query": {"search_context_size_low": 0.01}});
    assert_eq!(json(&model.prices), prices);
    assert_eq!((model.weight, model.num_retries), (Some(0.5), Some(4)));
    assert_eq!(model.timeout, Some(Duration::from_secs(30)));
    assert_eq!((model.rpm, &*model.tags), (Some(5), &["x".to_owned()][..]));
    assert_eq!(model.extra_headers[0].0, "x-a");
    assert_eq!(model.model_info["owner"], "me");
    assert_eq!((model.position.line, model.position.column), (3, 5));
    let odd = "notice: model_list[0].litellm_params.odd: not a known setting: sent to the provider";
    assert!(
        problems.iter().any(|problem| problem.contains(odd)),
        "{problems:#?}"
    );
}

#[test]
fn a_model_that_can_never_be_chosen_is_an_error() {
    let entry = |weight: &str| {
        format!("  - {{model_name: z, litellm_params: {{model: mock/m, weight: {weight}}}}}\n")
    };
    let text = format!("{KEY}model_list:\n{}{}", entry("0"), entry("0.0"));
    let found = shown(&load_text(&text)).join("\n");
    assert!(
        found.contains("every deployment of `z` has weight 0"),
        "{found}"
    );
    let text = format!("{KEY}model_list:\n{}{}", entry("0"), entry("1"));
    assert!(load_text(&text).config.is_some());
}

#[test]
fn meridians_own_settings_have_exact_defaults() {
    let (config, _) = good(&format!("{KEY}model_list: []"), &[]);
    let own = &config.meridian;
    assert_eq!(
        (own.body_bytes_max, own.buffered_bytes_max),
        (33_554_432, 1 << 30)
    );
    assert_eq!(own.journal_bytes_max, 8 << 30);
    let seconds = [
        own.body_timeout,
        own.keepalive,
        own.stall_timeout,
        own.drain_timeout,
    ];
    assert_eq!(seconds.map(|time| time.as_secs()), [60, 15, 300, 900]);
    let idle = [
        own.downstream_idle,
        own.upstream_idle,
        own.connect_timeout,
        own.dns_ttl,
    ];
    assert_eq!(idle.map(|time| time.as_secs()), [75, 60, 10, 30]);
    assert_eq!(
        (own.fsync, own.response_on_disconnect),
        (Fsync::Interval, OnDisconnect::Cancel)
    );
    assert_eq!(own.trusted_proxies, TrustedProxies::Count(0));
    assert_eq!(own.admin_bind.to_string(), "0.0.0.0:4001");
    assert_eq!((&own.tls, own.price_map.url.is_some()), (&None, false));
    assert_eq!(
        (
            config.routing.retries.retries,
            config.settings.budget_exceeded_status
        ),
        (2, 429)
    );
    assert_eq!(config.router.stream_timeout, Duration::from_secs(6_000));
    let theirs = "general_settings: {master_key: sk-0123456789abcdef, max_request_size_mb: 0.5}\n";
    assert_eq!(good(theirs, &[]).0.meridian.body_bytes_max, 524_288);
}

#[test]
fn a_clients_name_leads_to_an_alias_then_a_model_then_the_closest_pattern() {
    let entry =
        |name: &str| format!("  - {{model_name: '{name}', litellm_params: {{model: mock/m}}}}\n");
    let list: String = ["*", "gpt-*", "gpt-4*", "gpt-4o"].map(entry).concat();
    let aliases = "router_settings: {model_group_alias: {best: gpt-4o, gpt-3: claude}}\n";
    let (config, _) = good(&format!("{KEY}model_list:\n{list}{aliases}"), &[]);
    assert_eq!(config.group_of("best"), Some("gpt-4o"));
    assert_eq!(config.group_of("gpt-4o"), Some("gpt-4o"));
    assert_eq!(config.group_of("gpt-4o-mini"), Some("gpt-4*"));
    assert_eq!(config.group_of("gpt-5"), Some("gpt-*"));
    assert_eq!(config.group_of("gpt-3"), Some("*"));
}
